"""A decoder, fed token by token: with a cache, without one, merged, or in two graphs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from compressor.errors import UsageError
from compressor.graph.tensors import Array, TensorSpec
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.inputs import Role, cast, is_floating, is_integer, output_of, wired
from compressor.pipelines.language.caches import (
    Slot,
    empty,
    renewed,
    slots_given,
    slots_taken,
)

Tokens = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]

LOGITS = ("logits", "lm_logits", "output", "prediction_scores")


def _is_tokens(one: TensorSpec) -> bool:
    return is_integer(one) and len(one.shape) == 2


def _is_hidden(one: TensorSpec) -> bool:
    return is_floating(one) and len(one.shape) == 3


TOKENS = Role(
    "tokens",
    ("input_ids", "decoder_input_ids", "tokens", "token_ids", "ids", "idx"),
    _is_tokens,
)
MASK = Role("mask", ("attention_mask", "decoder_attention_mask"), needed=False)
ROLES = (
    TOKENS,
    MASK,
    Role("positions", ("position_ids", "positions"), needed=False),
    Role("cache position", ("cache_position",), needed=False),
    Role("types", ("token_type_ids",), needed=False),
    Role("branch", ("use_cache_branch", "use_cache"), needed=False),
)
"""What a decoder is fed beside its cache."""

CROSS = (
    Role(
        "hidden", ("encoder_hidden_states", "encoder_outputs", "memory"), _is_hidden, needed=False
    ),
    Role("hidden mask", ("encoder_attention_mask", "memory_mask"), needed=False),
)
"""What it is fed of an encoder."""


@dataclass(frozen=True)
class Step:
    """One graph of a decoder, and which of its inputs is which.

    Attributes:
        graph: What is called.
        roles: Role → input.
        taken: TensorSpec → slot of the cache.
    """

    graph: GraphCall
    roles: Mapping[str, str]
    taken: Mapping[str, Slot]

    @classmethod
    def of(cls, graph: GraphCall, what: str, *, crosses: bool) -> "Step":
        """Find out what a graph takes.

        Args:
            graph: A decoder.
            what: The loop, for messages.
            crosses: Whether there is an encoder.

        Raises:
            UsageError: It takes what the loop does not know, or no tokens.
        """
        taken = slots_taken(graph.known.names)
        for name in taken:
            if graph.known.input(name) is None:
                raise UsageError(
                    f"graph {graph.name!r}: the shape of {name!r} is not known of a module",
                    hint=f"Say it by --input '{name}:float32[batch,HEADS,past,SIZE]', likewise the "
                    "other inputs, or export it to ONNX.",
                )
        roles = (*ROLES, *CROSS) if crosses else ROLES
        return cls(graph, wired(graph, roles, beside=taken, what=what), taken)

    @classmethod
    def both(
        cls, first: GraphCall, later: GraphCall | None, what: str, *, crosses: bool
    ) -> tuple["Step", "Step"]:
        """The first call and those after it, of one graph or of two.

        Raises:
            UsageError: As for one; or there is an encoder, and the first takes nothing of it.
        """
        begin = cls.of(first, what, crosses=crosses)
        if crosses and "hidden" not in begin.roles:
            raise UsageError(
                f"graph {first.name!r} takes nothing of what the encoder makes",
                hint=f"Call the input encoder_hidden_states; the graph is {first.signature}.",
            )
        return begin, begin if later is None else cls.of(later, what, crosses=crosses)

    def input(self, role: str) -> TensorSpec | None:
        """Type and shape of a role's input, where they are known."""
        return self.graph.known.input(self.roles[role]) if role in self.roles else None

    @property
    def rows(self) -> int:
        """Units of a call: one, unless the graph has more baked in."""
        size = self._size(0)
        return size if isinstance(size, int) else 1

    @property
    def length(self) -> int | None:
        """Tokens of a call, where the graph has them baked in."""
        size = self._size(1)
        return size if isinstance(size, int) else None

    def _size(self, axis: int) -> object:
        spec = self.input("tokens")
        return spec.shape[axis] if spec is not None and axis < len(spec.shape) else None

    def begin(self) -> dict[Slot, Array]:
        """The cache before the first token."""
        known, batch = self.graph.known, self._size(0)
        found: dict[Slot, Array] = {}
        for name, slot in self.taken.items():
            spec = known.input(name)
            assert spec is not None, "it was looked for"
            found[slot] = empty(self.graph, spec, batch, self.rows)
        return found


@dataclass
class Decoding:
    """One text in the making.

    Attributes:
        first: The graph of the first call.
        later: That of the calls after it; the same where there is one alone.
        constant: Role → what every call is given beside tokens: what an encoder made.
        cache: Keys and values so far.
        tokens: What it was fed so far.
    """

    first: Step
    later: Step
    constant: Mapping[str, Array] = field(default_factory=dict)
    cache: dict[Slot, Array] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        """The first call has an empty cache, if the graph takes one."""
        if not self.cache:
            self.cache = self.first.begin()

    def advance(self, tokens: Tokens) -> Logits:
        """Feed tokens.

        Args:
            tokens: The next ones, of shape (n,).

        Returns:
            The logits behind the last of them, of shape (vocabulary,).
        """
        if not self.later.taken:
            self.tokens = np.concatenate([self.tokens, tokens])
            return self._again()
        step = self.later if len(self.tokens) else self.first
        most = step.length or len(tokens)
        if most > 1 and step.length is not None and len(tokens) != most:
            raise UsageError(
                f"graph {step.graph.name!r} takes {most} tokens a call beside its cache, and gets "
                f"{len(tokens)}",
                hint="Export it with the number of tokens as a dynamic axis, or with one token.",
            )
        logits = np.zeros(0, np.float32)
        for start in range(0, len(tokens), most):
            step = self.later if len(self.tokens) else self.first
            logits = self._cached(step, tokens[start : start + most])
        return logits

    def _cached(self, step: Step, tokens: Tokens) -> Logits:
        """One call that adds to the cache."""
        past = len(self.tokens)
        feeds = self._feeds(step, tokens, past, len(tokens))
        feeds |= {name: self.cache[slot] for name, slot in step.taken.items()}
        made = step.graph(**feeds)
        given = slots_given(made, list(self.later.taken))
        self._require_growth(step, set(given.values()))
        self.cache = renewed(self.cache, made, given)
        self.tokens = np.concatenate([self.tokens, tokens])
        return _last(step, {name: made[name] for name in made if name not in given}, len(tokens))

    def _require_growth(self, step: Step, given: set[Slot]) -> None:
        lacking = [n for n, slot in self.later.taken.items() if slot not in {*given, *self.cache}]
        stale = [n for n, s in self.later.taken.items() if s.side == "self" and s not in given]
        if lacking or stale:
            name = (lacking or stale)[0]
            raise UsageError(
                f"graph {step.graph.name!r} returns nothing that becomes {name!r} of the next call",
                hint="Name them as Optimum does: present.N.key, present.N.value.",
            )

    def _again(self) -> Logits:
        """All tokens so far, without a cache: the last ones where the graph's length is fixed."""
        step, length = self.first, self.first.length
        tokens = self.tokens if length is None else self.tokens[-length:]
        count = len(tokens)
        if length is not None:
            tokens = np.pad(tokens, (0, length - count))
        return _last(step, step.graph(**self._feeds(step, tokens, 0, count)), count)

    def _feeds(self, step: Step, tokens: Tokens, past: int, real: int) -> dict[str, Array]:
        """What a call is fed beside the cache; `real` of the tokens are no padding."""
        positions = np.arange(past, past + len(tokens), dtype=np.int64)
        ones = np.ones(self._mask_length(step, past, len(tokens)), np.int64)
        ones[past + real :] = 0
        rows: dict[str, Array] = {
            "tokens": tokens,
            "positions": positions,
            "types": np.zeros_like(tokens),
            "mask": ones,
        }
        whole = {"cache position": positions, "branch": np.array([past > 0])}
        feeds: dict[str, Array] = {}
        for role, name in step.roles.items():
            if role in rows:
                array = np.tile(rows[role], (step.rows, 1))
            elif role in whole:
                array = whole[role]
            elif role in self.constant:
                array = np.repeat(self.constant[role], step.rows, axis=0)
            else:
                continue
            feeds[name] = cast(array, step.input(role))
        return feeds

    def _mask_length(self, step: Step, past: int, count: int) -> int:
        """A mask is of all tokens, unless its size is that of the tokens of the call."""
        mask, tokens = step.input("mask"), step.input("tokens")
        if mask is None or tokens is None or len(mask.shape) != 2:
            return past + count
        size = mask.shape[1]
        same = isinstance(size, str) and size == tokens.shape[1] and bool(step.taken)
        return count if same else past + count


def _last(step: Step, made: Mapping[str, Array], count: int) -> Logits:
    """The logits behind the last token, of (units, tokens, vocabulary) or (units, vocabulary).

    Raises:
        UsageError: They are of another form.
    """
    logits = output_of(step.graph, made, LOGITS)
    if logits.ndim == 3 and logits.shape[1] >= 1:
        place = count - 1 if logits.shape[1] >= count else logits.shape[1] - 1
        return np.asarray(logits[0, place], np.float32)
    if logits.ndim == 2:
        return np.asarray(logits[0], np.float32)
    raise UsageError(
        f"graph {step.graph.name!r} returns logits of shape {list(logits.shape)}, and not of "
        "[units, tokens, vocabulary]",
        hint="Return the score of every token of the vocabulary.",
    )


def vocabulary_of(step: Step) -> int | None:
    """How many tokens a decoder scores, where its outputs tell."""
    outputs = {one.name: one for one in step.graph.known.outputs}
    named = next((outputs[name] for name in LOGITS if name in outputs), None)
    size = named.shape[-1] if named is not None and len(named.shape) else None
    return size if isinstance(size, int) else None
