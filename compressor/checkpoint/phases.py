"""A decoder with a cache that grows is timed twice: when it reads a prompt, and when it writes.

Reading is one call on all tokens of the prompt (prefill), writing a call on one token behind the
cache (decode): of one model the first is bound by arithmetic and the second by memory, so that the
figure of one says nothing of the other. A cache grows where a state comes out longer than it went
in, by what other inputs bring: found by running the graph at other sizes. States that keep their
size, of recurrent networks or buffers as long as the longest text, do not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from compressor.capture.inputs import Inputs
from compressor.errors import RecipeError
from compressor.evaluation.roles import roles_of, words
from compressor.graph.session import open_session
from compressor.graph.tensors import Array
from compressor.results.measurements import Phase

CONTEXT = 128
"""Tokens of the prompt, and of the cache behind which one is timed, where nothing tells."""

MORE = 3
"""The amount by which a size is changed to see what follows."""

_MOVING = frozenset({"Identity", "Squeeze", "Unsqueeze", "Reshape", "Cast", "Gather"})
"""Operators that may stand between an input and the condition of an If that it is."""

_CACHES = frozenset({"past", "cache", "kv"})
"""Words of states that grow in some decoders and are buffers in others."""

Shapes = Mapping[str, tuple[int, ...]]
Place = tuple[str, int]
"""An output and one of its axes."""


@dataclass(frozen=True)
class Call:
    """Sizes for some of the names that inputs leave open, and values of flags."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)

    def arrays(self, inputs: Inputs) -> dict[str, Array]:
        """One array an input; samples that are too short repeat."""
        found = inputs.resized(self.sizes).arrays()
        return found | {name: np.full_like(found[name], flag) for name, flag in self.flags.items()}


@dataclass(frozen=True)
class Phases:
    """The calls of a model that are timed.

    Attributes:
        calls: Calls of a decoder with a cache that grows, those that run, the deciding one first.
            Else empty: the one shape of the data is timed.
        notices: What is to be said of them.
        prompt: Tokens of the call that is timed as prefill.
    """

    calls: Mapping[Phase, Call] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    prompt: int = 1

    @property
    def names(self) -> tuple[Phase | None, ...]:
        """The phases to time; None is the shape of the data."""
        return tuple(self.calls) or (None,)


def phases_of(
    model: ir.Model, inputs: Inputs, *, first: Phase = "decode", context: int | None = None
) -> Phases:
    """Find whether a graph is a decoder with a cache that grows, and the calls to time.

    Args:
        model: The captured graph.
        inputs: What it takes, at sizes that it runs at: of the data where there is any.
        first: The phase that decides.
        context: Tokens of the prompt and in the cache; None for as many as cache and input have
            together in the data, else by --input, else for `CONTEXT` or what the graph runs at.

    Raises:
        RecipeError: The graph does not run with so much context.
    """
    states = roles_of(model).states
    places = _open_places(inputs, states)
    growth = None
    if places:
        runner = _Runner(model, inputs, tuple(states))
        growth = _growth(runner, places, _flags(model))
    if growth is None:
        return Phases(notices=_of_buffers(states))
    lengths = _lengths(inputs, growth) if context is None else (context,)
    tried = {"decode": _decoding(growth, lengths), "prefill": _prefilling(growth, lengths)}
    found = {phase: next(filter(runner.runs, calls), None) for phase, calls in tried.items()}
    if context is not None and found["decode"] is None:
        raise RecipeError(
            f"the model does not run with {context} tokens in its cache",
            hint="Give --context (or --tokens) what it takes, or leave it out.",
        )
    notices = tuple(_missing_words(phase, growth) for phase, call in found.items() if call is None)
    order: list[Phase] = ["decode", "prefill"] if first == "decode" else ["prefill", "decode"]
    calls = {phase: call for phase in order if (call := found[phase]) is not None}
    reading = calls.get("prefill")
    read = (reading.sizes[name] for name in growth.sequence) if reading is not None else ()
    return Phases(calls, notices, max(read, default=1))


@dataclass(frozen=True)
class _Growth:
    """The growth of a cache.

    Attributes:
        past: Names of the sizes of the cache.
        sequence: Names of the sizes that are added to it; none where they are fixed.
        cached: Flags with which the cache is read.
        fresh: Flags with which it is not, where the graph has a branch for that.
    """

    past: tuple[str, ...]
    sequence: tuple[str, ...]
    cached: Mapping[str, bool]
    fresh: Mapping[str, bool]


class _Runner:
    """Runs a graph at other sizes, and tells the shapes of its states."""

    def __init__(self, model: ir.Model, inputs: Inputs, outputs: Sequence[str]) -> None:
        self.inputs, self._outputs = inputs.of(1), outputs
        self._session = open_session(model)
        self._wanted = {value.name for value in self._session.get_inputs()}

    def shapes(self, call: Call) -> Shapes | None:
        """Shapes of the outputs; None where it does not run."""
        feeds = call.arrays(self.inputs)
        try:
            found = self._session.run(
                list(self._outputs), {n: a for n, a in feeds.items() if n in self._wanted}
            )
        except Exception:  # the runtime raises its own, unrelated classes
            return None
        return {name: a.shape for name, a in zip(self._outputs, found, strict=True)}

    def runs(self, call: Call) -> bool:
        """Whether it does."""
        return self.shapes(call) is not None


def _open_places(inputs: Inputs, states: Mapping[str, str]) -> dict[str, list[Place]]:
    """Names of sizes that states leave open, but for the batch → where they come out."""
    found: dict[str, list[Place]] = {}
    shapes = {spec.name: spec.shape for spec in inputs.specs}
    for output, source in states.items():
        for axis, dim in enumerate(shapes.get(source, ())):
            if isinstance(dim, str) and dim in inputs.others:
                found.setdefault(dim, []).append((output, axis))
    return found


def _growth(
    runner: _Runner, places: Mapping[str, Sequence[Place]], flags: Sequence[str]
) -> _Growth | None:
    """What makes states come out longer than they went in; None where nothing does."""
    sizes = {name: max(runner.inputs.sizes[name], MORE) for name in places}
    settings = [dict.fromkeys(flags, value) for value in ((True, False) if flags else (True,))]
    for flag in settings:
        here = runner.shapes(Call(sizes, flag))
        if here is None:
            continue
        past = [name for name, at in places.items() if _is_longer(here, at, sizes[name])]
        longer = sizes | {name: sizes[name] + MORE for name in past}
        after = runner.shapes(Call(longer, flag)) if past else None
        past = [name for name in past if after and _growing(here, after, places[name])]
        if past:
            watched = [place for name in past for place in places[name]]
            others = [name for name in runner.inputs.others if name not in past]
            more = {n: Call(sizes | {n: runner.inputs.sizes[n] + MORE}, flag) for n in others}
            sequence = [n for n in others if _growing(here, runner.shapes(more[n]), watched)]
            fresh = [f for f in settings if f != flag and runner.runs(Call(sizes, f))]
            return _Growth(tuple(past), tuple(sequence), flag, fresh[0] if fresh else flag)
    return None


def _is_longer(found: Shapes, at: Iterable[Place], size: int) -> bool:
    return all(axis < len(found[output]) and found[output][axis] > size for output, axis in at)


def _growing(before: Shapes, after: Shapes | None, at: Iterable[Place]) -> bool:
    """Whether these sizes grew as much as another one was made to."""
    return after is not None and all(
        axis < len(after[output]) and after[output][axis] - before[output][axis] == MORE
        for output, axis in at
    )


def _lengths(inputs: Inputs, growth: _Growth) -> tuple[int, ...]:
    """Tokens of context to try, the likeliest first: a size that a relation took away is theirs."""
    new = max((inputs.sizes[name] for name in growth.sequence), default=1)
    own = max(inputs.sizes[name] for name in growth.past) + new
    totals = [inputs.sizes[name] for name in inputs.asked if name not in inputs.symbols]
    if totals and not inputs.real:
        return tuple(totals)
    told = inputs.real or not inputs.asked.isdisjoint((*growth.past, *growth.sequence))
    return (own,) if told else (CONTEXT, own)


def _decoding(growth: _Growth, lengths: Iterable[int]) -> Iterator[Call]:
    """One token behind the context, or as its last where there is no position for more."""
    for length in lengths:
        for past in (length, max(length - 1, 0)):
            sizes = dict.fromkeys(growth.past, past) | dict.fromkeys(growth.sequence, 1)
            yield Call(sizes, growth.cached)


def _prefilling(growth: _Growth, lengths: Iterable[int]) -> Iterator[Call]:
    """The whole context behind an empty cache, or behind what the graph takes for one."""
    for length in lengths if growth.sequence else ():
        for past in (0, 1):
            sizes = dict.fromkeys(growth.past, past) | dict.fromkeys(growth.sequence, length)
            yield Call(sizes, growth.fresh)


def _missing_words(phase: str, growth: _Growth) -> str:
    if phase == "decode":
        return "the decoder does not run on one token behind a cache: that is not timed"
    why = (
        "it does not run on one with an empty cache"
        if growth.sequence
        else "it takes one at a time"
    )
    return f"the decoder is timed for one token behind its cache and for no prompt: {why}"


def _of_buffers(states: Mapping[str, str]) -> tuple[str, ...]:
    """A word where what looks like a cache does not grow."""
    cached = [source for source in states.values() if not _CACHES.isdisjoint(words(source))]
    if not cached:
        return ()
    more = f" and {len(cached) - 1} more" if len(cached) > 1 else ""
    return (
        f"the cache ({cached[0]}{more}) keeps its size, so that one shape is timed: that of the "
        "inputs",
    )


def _flags(model: ir.Model) -> list[str]:
    """Inputs that choose between the branches of an If."""
    found = []
    for node in model.graph:
        value = node.inputs[0] if node.op_type == "If" else None
        while value is not None and not value.is_graph_input():
            made = value.producer()
            value = made.inputs[0] if made is not None and made.op_type in _MOVING else None
        if value is not None and value.dtype == ir.DataType.BOOL:
            found.append(value.name or "")
    return list(dict.fromkeys(found))
