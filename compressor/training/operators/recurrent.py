"""LSTM, GRU and RNN: by torch's own kernels where those compute the same, else step by step.

Shapes are those of ONNX: x (steps, batch, inputs), w (directions, gates · hidden, inputs), r
(directions, gates · hidden, hidden), b (directions, 2 · gates · hidden).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softsign": functional.softsign,
    "softplus": functional.softplus,
}
State = tuple[Tensor, ...]


def lstm(  # noqa: PLR0913, PLR0917 - as many as the operator has
    node: Attributes,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
    c: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Hidden states of all steps (steps, directions, batch, hidden), and the last of h and c."""
    layer = _Layer.of(node, x, 4)
    start = (layer.state(h), layer.state(c))
    plain = peepholes is None and lengths is None and not node.get("input_forget", 0)
    if plain and layer.is_plain("sigmoid", "tanh", "tanh"):
        order = (0, 2, 3, 1)  # torch has input, forget, cell, output
        made, last_h, last_c = torch.lstm(
            layer.x, start, layer.weights(w, r, b, order), True, 1, 0.0, False, layer.both, False
        )
        return layer.told(made, last_h, last_c)
    acts = layer.activations("sigmoid", "tanh", "tanh")

    def cell(d: int, x_t: Tensor, state: State) -> State:
        f, g, o = acts[3 * d : 3 * d + 3]
        before, old = state
        wb, rb = _biases(b, d, w)
        gates = functional.linear(x_t, w[d], wb) + functional.linear(before, r[d], rb)
        i_, o_, f_, c_ = (layer.clipped(part) for part in gates.chunk(4, -1))
        if peepholes is not None:
            p_i, p_o, p_f = peepholes[d].chunk(3)
            i_, f_ = i_ + p_i * old, f_ + p_f * old
        i_ = f(i_)
        f_ = 1 - i_ if node.get("input_forget", 0) else f(f_)
        new = f_ * old + i_ * g(c_)
        o_ = o_ if peepholes is None else o_ + p_o * new
        return f(o_) * o(new), new

    return layer.unrolled(cell, start, lengths)


def gru(
    node: Attributes,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Hidden states of all steps, and the last."""
    layer = _Layer.of(node, x, 3)
    start, before = layer.state(h), bool(node.get("linear_before_reset", 0))
    if before and lengths is None and layer.is_plain("sigmoid", "tanh"):
        order = (1, 0, 2)  # torch has reset, update, new
        made, last = torch.gru(
            layer.x, start, layer.weights(w, r, b, order), True, 1, 0.0, False, layer.both, False
        )
        return layer.told(made, last)
    acts = layer.activations("sigmoid", "tanh")

    def cell(d: int, x_t: Tensor, state: State) -> State:
        f, g = acts[2 * d : 2 * d + 2]
        (old,) = state
        wb, rb = _biases(b, d, w)
        z_x, r_x, n_x = functional.linear(x_t, w[d], wb).chunk(3, -1)
        size = old.shape[-1]
        recurrent, bias = r[d], torch.zeros_like(r[d, :, 0]) if rb is None else rb
        z_h, r_h = functional.linear(old, recurrent[: 2 * size], bias[: 2 * size]).chunk(2, -1)
        z, reset = f(layer.clipped(z_x + z_h)), f(layer.clipped(r_x + r_h))
        last, shift = recurrent[2 * size :], bias[2 * size :]
        if before:
            n_h = reset * functional.linear(old, last, shift)
        else:
            n_h = functional.linear(reset * old, last, shift)
        new = g(layer.clipped(n_x + n_h))
        return ((1 - z) * new + z * old,)

    return layer.unrolled(cell, (start,), lengths)


def rnn(
    node: Attributes,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Hidden states of all steps, and the last."""
    layer = _Layer.of(node, x, 1)
    acts = layer.activations("tanh")

    def cell(d: int, x_t: Tensor, state: State) -> State:
        wb, rb = _biases(b, d, w)
        total = functional.linear(x_t, w[d], wb) + functional.linear(state[0], r[d], rb)
        return (acts[d](layer.clipped(total)),)

    return layer.unrolled(cell, (layer.state(h),), lengths)


@dataclass(frozen=True)
class _Layer:
    """What the operators have in common.

    Attributes:
        node: The node.
        x: (steps, batch, inputs), turned where the layer runs in reverse alone.
        gates: Of a cell.
    """

    node: Attributes
    x: Tensor
    gates: int

    @classmethod
    def of(cls, node: Attributes, x: Tensor, gates: int) -> "_Layer":
        if node.get("layout", 0):
            x = x.transpose(0, 1)
        return cls(node, x.flip(0) if node.text("direction", "forward") == "reverse" else x, gates)

    @property
    def both(self) -> bool:
        return self.node.text("direction", "forward") == "bidirectional"

    @property
    def directions(self) -> int:
        return 2 if self.both else 1

    def state(self, given: Tensor | None) -> Tensor:
        """(directions, batch, hidden)."""
        if given is not None:
            return given.transpose(0, 1) if self.node.get("layout", 0) else given
        shape = (self.directions, self.x.shape[1], self.node.get("hidden_size"))
        return torch.zeros(shape, dtype=self.x.dtype, device=self.x.device)

    def is_plain(self, *names: str) -> bool:
        """Whether the activations are the usual ones, and nothing is clipped."""
        named = [str(one).lower() for one in self.node.get("activations", ())]
        return named in ([], list(names) * self.directions) and not self.node.get("clip", 0.0)

    def activations(self, *names: str) -> list[Callable[[Tensor], Tensor]]:
        """Those of each direction; unknown ones raise.

        Raises:
            NotImplementedError: There is no such activation here.
        """
        named = [str(one).lower() for one in self.node.get("activations", ())]
        wanted = named or list(names) * self.directions
        for name in wanted:
            if name not in _ACTIVATIONS:
                raise NotImplementedError(f"the activation {name!r}")
        return [_ACTIVATIONS[name] for name in wanted]

    def clipped(self, x: Tensor) -> Tensor:
        bound = self.node.get("clip", 0.0)
        return x.clamp(-bound, bound) if bound else x

    def weights(
        self, w: Tensor, r: Tensor, b: Tensor | None, order: tuple[int, ...]
    ) -> list[Tensor]:
        """As torch has them: gates in its order, of each direction w, r, and both biases."""

        def ordered(part: Tensor) -> Tensor:
            pieces = part.chunk(self.gates, 0)
            return torch.cat([pieces[place] for place in order], 0)

        found = []
        for d in range(self.directions):
            rows = w[d].shape[0]
            own = torch.zeros(2 * rows, dtype=w.dtype, device=w.device) if b is None else b[d]
            found += [ordered(part) for part in (w[d], r[d], own[:rows], own[rows:])]
        return found

    def told(self, made: Tensor, *last: Tensor) -> tuple[Tensor, ...]:
        """Torch's (steps, batch, directions · hidden), and last states, as ONNX has them."""
        steps, batch = made.shape[:2]
        apart = made.reshape(steps, batch, self.directions, -1).transpose(1, 2)
        return self._laid(apart, *last)

    def unrolled(
        self, cell: Callable[[int, Tensor, State], State], start: State, lengths: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Step by step; behind its length a sequence keeps its state and puts out zeros."""
        ways, lasts = [], []
        steps = self.x.shape[0]
        is_reverse = self.node.text("direction", "forward") == "reverse"
        for d in range(self.directions):
            x = self.x.flip(0) if is_reverse else self.x
            if d == 1 or is_reverse:
                x = _turned(x, lengths)
            state, hidden = tuple(one[d] for one in start), []
            for t in range(steps):
                new = cell(d, x[t], state)
                if lengths is None:
                    state = new
                    hidden.append(new[0])
                    continue
                runs = (lengths > t)[:, None]
                state = tuple(torch.where(runs, n, old) for n, old in zip(new, state, strict=True))
                hidden.append(torch.where(runs, new[0], torch.zeros_like(new[0])))
            way = torch.stack(hidden)
            ways.append(_turned(way, lengths) if d == 1 or is_reverse else way)
            lasts.append(state)
        made = torch.stack(ways, 1)
        last = (torch.stack(parts) for parts in zip(*lasts, strict=True))
        if self.node.get("layout", 0):
            return self._laid(made, *last, turned=True)
        return (made, *last)

    def _laid(self, made: Tensor, *last: Tensor, turned: bool = False) -> tuple[Tensor, ...]:
        if self.node.text("direction", "forward") == "reverse" and not turned:
            made = made.flip(0)
        if self.node.get("layout", 0):
            return made.permute(2, 0, 1, 3), *(one.transpose(0, 1) for one in last)
        return made, *last


def _turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(steps, batch, …) from the end of each sequence; what lies behind it stays."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=x.device)[:, None]
    ends = lengths.long()[None, :]
    places = torch.where(steps < ends, ends - 1 - steps, steps)
    shape = (*places.shape, *[1] * (x.ndim - 2))
    return torch.gather(x, 0, places.reshape(shape).expand(x.shape))


def _biases(b: Tensor | None, d: int, w: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if b is None:
        return None, None
    rows = w.shape[1]
    return b[d, :rows], b[d, rows:]
