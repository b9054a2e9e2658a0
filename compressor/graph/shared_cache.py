"""A decoder whose cache lies in buffers that the runtime appends to in place, called as any other.

GroupQueryAttention of com.microsoft reads keys and values from a buffer of any capacity, is told
how many of its tokens count, and writes what is new behind them: nothing is copied. Whoever calls
has to bring the buffers, and two inputs more:

    seqlens_k[b] = past + new - 1        total_sequence_length = past + new

`SharedCaches` brings them. A call takes and gives keys and values as long as there are tokens, as
a graph does whose cache grows by copies; what it gives is a view of the buffer, and where that
comes back nothing is copied either. What was given never changes, and cannot be written to: two
texts that part behind the same tokens get buffers of their own, as soon as both are in use.
Capacities grow by half, so that copies into larger ones take a constant time a token.

The graph says which inputs those are: `metadata_props["compressor.shared_cache"]`, a JSON object.
The kernel reads several new tokens behind a cache of one sample alone; samples are then
called one by one.
"""

import json
import operator
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from compressor.errors import CheckpointError, DataError
from compressor.graph.runtime import onnx_runtime
from compressor.graph.session_specs import session_specs
from compressor.graph.tensors import Array, Arrays, TensorSpec

NOTE = "compressor.shared_cache"
"""Key of the note."""
LENGTHS = "seqlens_k"
"""Input: the place of the last token of each sample, int32 [batch]."""
TOTAL = "total_sequence_length"
"""Input: tokens of the longest sample, past and new, int32."""
CAPACITY = "capacity"
"""The size of a buffer, as the graph names it."""
ROOM = 64
"""Tokens that new buffers have room for at least, beside half as many as there are."""
RANK, TOKENS = 4, 2
"""Axes of a cache [batch, heads, tokens, width], and the one that grows."""


@dataclass(frozen=True)
class SharedNote:
    """What a graph says of its buffers.

    Attributes:
        tokens: The input that brings new tokens, and which of its axes counts them.
        outputs: Input → the output that is the same buffer.
        past: What that axis was called in front of a call, for people.
        present: And behind it.
    """

    tokens: tuple[str, int]
    outputs: Mapping[str, str]
    past: str
    present: str


def written(note: SharedNote) -> str:
    """The note of a graph."""
    return json.dumps(asdict(note))


def read(properties: Mapping[str, str]) -> SharedNote | None:
    """The note; None where a model has none.

    Raises:
        CheckpointError: It says something that nothing here wrote.
    """
    if NOTE not in properties:
        return None
    try:
        return _note(**json.loads(properties[NOTE]))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(str(error)) from error


def _note(tokens: Any, outputs: Any, past: Any, present: Any) -> SharedNote:
    """A note as it was written.

    Raises:
        TypeError: It is none.
        ValueError: Likewise.
    """
    name, axis = tokens
    words = (name, past, present, *outputs, *outputs.values())
    if not all(isinstance(word, str) for word in words):
        raise TypeError("expected names of inputs and of outputs")
    return SharedNote((name, operator.index(axis)), dict(outputs), past, present)


def _damaged(reason: str) -> CheckpointError:
    return CheckpointError(
        f"the model's metadata {NOTE!r} is no note of shared buffers: {reason}",
        hint="Compress the original again, or remove that entry.",
    )


class _Lease:
    """What arrays that one call gave stand on: while it lives, one of them can be read."""

    def __init__(self, memory: "_Memory", length: int) -> None:
        self.memory, self.length = memory, length


class _Part:
    """One of these arrays, before NumPy makes it one."""

    __slots__ = ("__array_interface__", "index", "lease", "shape")

    def __init__(self, lease: _Lease, index: int) -> None:
        batch, heads, width, told = lease.memory.told[index]
        self.lease, self.index, self.shape = lease, index, (batch, heads, lease.length, width)
        self.__array_interface__ = {**told, "shape": self.shape}


class _Memory:
    """The tensors of one cache, each [batch, heads, capacity, width], and what is bound to them.

    Attributes:
        arrays: In the order of the inputs.
        told: Samples, heads and width of each, and how NumPy finds it.
        binding: The runtime's, with each of them as input and output, and the lengths.
    """

    def __init__(self, session: Any, note: SharedNote, arrays: Sequence[Array]) -> None:
        runtime = onnx_runtime()
        self.arrays = tuple(arrays)
        self.told = [_told(array) for array in arrays]
        self.binding = session.io_binding()
        self._leases: list[weakref.ref[_Lease]] = []
        for (taken, given), array in zip(note.outputs.items(), arrays, strict=True):
            value = runtime.OrtValue.ortvalue_from_numpy(array)
            self.binding.bind_ortvalue_input(taken, value)
            self.binding.bind_ortvalue_output(given, value)
        self._last = np.zeros(arrays[0].shape[0], np.int32)
        self._total = np.zeros((), np.int32)
        for name, length in ((LENGTHS, self._last), (TOTAL, self._total)):
            value = runtime.OrtValue.ortvalue_from_numpy(length)
            self.binding.bind_ortvalue_input(name, value)

    @property
    def samples(self) -> int:
        """How many texts it holds."""
        return int(self.arrays[0].shape[0])

    @property
    def longest(self) -> int:
        """Tokens of the longest arrays of it that can still be read."""
        self._leases = [one for one in self._leases if one() is not None]
        living = (one() for one in self._leases)
        return max((one.length for one in living if one is not None), default=0)

    def is_told(self, total: int) -> None:
        """Let the next call be of so many tokens, past and new."""
        self._last[...] = total - 1
        self._total[...] = total

    def given(self, length: int) -> list[Array]:
        """The first tokens of all, as arrays."""
        lease = _Lease(self, length)
        self._leases.append(weakref.ref(lease))
        return [np.asarray(_Part(lease, index)) for index in range(len(self.arrays))]


def _told(array: Array) -> tuple[int, int, int, dict[str, object]]:
    batch, heads, _, width = array.shape
    told: dict[str, object] = {
        "version": 3,
        "strides": array.strides,
        "typestr": array.dtype.str,
        "data": (array.ctypes.data, True),  # nobody else may write what others still read
    }
    return batch, heads, width, told


def _lease_of(arrays: Sequence[Array]) -> _Lease | None:
    """What arrays stand on, if they are all that one call gave, whole and in order."""
    lease = None
    for index, array in enumerate(arrays):
        part = array.base
        if not isinstance(part, _Part) or part.index != index or array.shape != part.shape:
            return None
        lease = lease or part.lease
        if part.lease is not lease or array.strides != lease.memory.arrays[index].strides:
            return None
    return lease


class _Expected:
    """Outputs whose sizes are those of inputs by their names: they are written where they stay.

    Asking the runtime for what it made takes as long as a small layer does. A graph may call a size
    as another that it is not, so that names count once a call has shown that they hold.
    """

    def __init__(self, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]) -> None:
        self._inputs, self._outputs = inputs, outputs
        self._holds = False

    def bound(self, feeds: Arrays, binding: Any) -> dict[str, Array] | None:
        """Arrays for the outputs, bound; None where the runtime has to make them."""
        runtime = onnx_runtime()
        shapes = self._shapes(feeds) if self._holds else None
        if shapes is None:
            for name in self._outputs:
                binding.bind_output(name)
            return None
        made: dict[str, Array] = {
            name: np.empty(shape, self._outputs[name].dtype) for name, shape in shapes.items()
        }
        for name, array in made.items():
            value = runtime.OrtValue.ortvalue_from_numpy(array)
            binding.bind_ortvalue_output(name, value)
        return made

    def learn(self, feeds: Arrays, made: Arrays) -> None:
        """See whether names held of a call."""
        shapes = self._shapes(feeds)
        self._holds = shapes is not None and all(
            made[name].shape == shape for name, shape in shapes.items()
        )

    def _shapes(self, feeds: Arrays) -> dict[str, tuple[int, ...]] | None:
        known = {
            name: size
            for one, spec in self._inputs.items()
            for name, size in zip(spec.shape, feeds[one].shape, strict=True)
        }
        found = {
            name: tuple(one if isinstance(one, int) else known.get(one) for one in spec.shape)
            for name, spec in self._outputs.items()
        }
        whole = {name: shape for name, shape in found.items() if None not in shape}
        return whole if len(whole) == len(found) else None  # type: ignore[return-value]


class _Call(NamedTuple):
    """Where a call works.

    Attributes:
        memory: Holds what came before.
        past: Tokens of that.
        new: Tokens behind it.
    """

    memory: _Memory
    past: int
    new: int


class SharedCaches:
    """A session whose caches are buffers, as one whose caches grow."""

    def __init__(
        self,
        session: Any,
        note: SharedNote,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
    ) -> None:
        """Nothing is allocated yet; `of` reads what a session says of itself.

        Args:
            session: The runtime's.
            note: What the graph says.
            inputs: The session's own.
            outputs: Likewise.
        """
        self._session, self._note = session, note
        given = set(note.outputs.values())
        self._names = [one.name for one in outputs]
        self._others = [name for name in self._names if name not in given]
        batch = next(one for one in inputs if one.name in note.outputs).shape[0]
        self._by_sample = {
            one.name
            for one in (*inputs, *outputs)
            if len(one.shape) and one.shape[0] == batch and not isinstance(batch, int)
        }
        hidden = {LENGTHS, TOTAL}
        self._plain = [one.name for one in inputs if one.name not in {*hidden, *note.outputs}]
        self._expected = _Expected(
            {one.name: one for one in inputs if one.name in self._plain},
            {one.name: one for one in outputs if one.name in self._others},
        )
        self.inputs = tuple(_grown(one, note.past) for one in inputs if one.name not in hidden)
        self.outputs = tuple(_grown(one, note.present) for one in outputs)

    @classmethod
    def of(cls, session: Any) -> "SharedCaches | None":
        """Those of a session; None where its caches are no buffers.

        Raises:
            CheckpointError: What the graph says of them is not so.
        """
        note = read(session.get_modelmeta().custom_metadata_map)
        if note is None:
            return None
        inputs, outputs = session_specs(session)
        taken = {one.name: one.shape for one in inputs}
        given = {one.name: one.shape for one in outputs}
        buffers = [taken.get(name, ()) for name in note.outputs]
        buffers += [given.get(name, ()) for name in note.outputs.values()]
        lacking = {note.tokens[0], LENGTHS, TOTAL} - set(taken)
        if lacking or not buffers or any(len(shape) != RANK for shape in buffers):
            raise _damaged(f"the graph has no {', '.join(sorted(lacking)) or 'such buffers'}")
        if not 0 <= note.tokens[1] < len(taken[note.tokens[0]]):
            raise _damaged(f"{note.tokens[0]!r} has no axis {note.tokens[1]}")
        return cls(session, note, inputs, outputs)

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Run once; caches come out as long as there are tokens.

        Raises:
            DataError: The tensors of the cache are of several lengths.
            Exception: Whatever the runtime raises.
        """
        call = self._placed(feeds)
        made = self._called(feeds, call)(True)
        made |= zip(
            self._note.outputs.values(), call.memory.given(call.past + call.new), strict=True
        )
        return {name: made[name] for name in self._names}

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Place the feeds; each call of the result is the same inference."""
        inference = self._called(feeds, self._placed(feeds, own=True))

        def run() -> None:
            inference(False)

        return run

    def whole(self, feeds: Arrays) -> dict[str, Array]:
        """What the session itself is fed for a call: buffers and lengths beside the rest.

        It then writes into buffers of its own, as nothing says that they are the same.
        """
        memory, past, new = self._placed(feeds, own=True)
        lengths = np.full(memory.samples, past + new - 1, np.int32)
        return {
            **{name: feeds[name] for name in self._plain},
            **dict(zip(self._note.outputs, memory.arrays, strict=True)),
            LENGTHS: lengths,
            TOTAL: np.array(past + new, np.int32),
        }

    def _placed(self, feeds: Arrays, *, own: bool = False) -> _Call:
        """Where a call works: on what came before, or `own` on a copy of it."""
        name, axis = self._note.tokens
        new = np.asarray(feeds[name]).shape[axis]
        arrays = [np.asarray(feeds[one]) for one in self._note.outputs]
        past = self._length(arrays)
        lease = None if own else _lease_of(arrays)
        if lease is not None:
            memory = lease.memory
            if memory.arrays[0].shape[TOKENS] >= past + new and memory.longest <= past:
                return _Call(memory, past, new)
        capacity = past + new + max(ROOM, (past + new) // 2)
        memory = _Memory(self._session, self._note, [_copied(one, capacity) for one in arrays])
        return _Call(memory, past, new)

    def _length(self, arrays: Sequence[Array]) -> int:
        """Tokens of the tensors of a cache."""
        lengths = {array.shape[TOKENS] if array.ndim == RANK else None for array in arrays}
        past = lengths.pop() if len(lengths) == 1 else None
        if past is None:
            shapes = (
                f"{n}{list(a.shape)}" for n, a in zip(self._note.outputs, arrays, strict=True)
            )
            raise DataError(
                "the tensors of a cache are [batch, heads, tokens, width], all with as many "
                f"tokens, and these are {', '.join(shapes)}",
                hint="Hand on what the call before gave, or begin with zero tokens.",
            )
        return int(past)

    def _called(self, feeds: Arrays, call: _Call) -> Callable[[bool], dict[str, Array]]:
        """A call with everything in its place; told to, it gives the outputs that are no cache."""
        memory, past, new = call
        if memory.samples == 1 or new == 1 or past == 0:
            return self._bound(feeds, memory, past + new)
        rows = [self._row(feeds, memory, index, past + new) for index in range(memory.samples)]
        return lambda fetch: self._joined([run(fetch) for run in rows])

    def _row(
        self, feeds: Arrays, memory: _Memory, index: int, total: int
    ) -> Callable[[bool], dict[str, Array]]:
        """A call of one sample, in the same memory."""
        here = slice(index, index + 1)
        own = {
            name: np.asarray(feeds[name])[here] if name in self._by_sample else feeds[name]
            for name in self._plain
        }
        part = _Memory(self._session, self._note, [array[here] for array in memory.arrays])
        return self._bound(own, part, total)

    def _bound(
        self, feeds: Arrays, memory: _Memory, total: int
    ) -> Callable[[bool], dict[str, Array]]:
        binding = memory.binding
        plain = {name: np.asarray(feeds[name], order="C") for name in self._plain}
        for name, array in plain.items():
            binding.bind_cpu_input(name, array)
        made = self._expected.bound(plain, binding)
        memory.is_told(total)

        def run(fetch: bool) -> dict[str, Array]:
            self._session.run_with_iobinding(binding)
            if made is not None or not fetch:
                return made or {}
            values = binding.get_outputs()[len(memory.arrays) :]
            arrays = {name: one.numpy() for name, one in zip(self._others, values, strict=True)}
            self._expected.learn(plain, arrays)
            return arrays

        return run

    def _joined(self, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Outputs of samples as one; what does not count samples is that of the first."""
        return {
            name: np.concatenate([one[name] for one in parts]) if name in self._by_sample else first
            for name, first in parts[0].items()
        }


def _copied(past: Array, capacity: int) -> Array:
    """A buffer with the tokens of an array in it."""
    batch, heads, length, width = past.shape
    array = np.zeros((batch, heads, capacity, width), past.dtype)
    array[:, :, :length] = past
    return array


def _grown(spec: TensorSpec, size: str) -> TensorSpec:
    """An input or output as it is called: with the tokens that there are."""
    return replace(spec, shape=tuple(size if one == CAPACITY else one for one in spec.shape))
