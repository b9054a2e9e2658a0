"""The user's loop, run on whatever graphs there are: a `Runner` from seeds to what it generates.

The loop is a function `generate(models, seed, count)`. It calls graphs by their names and returns
named arrays whose first axis counts units. A unit is `generate(models, seed, 1)` with a seed of its
own, so that two runs of one seed can be compared as two models on one sample.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from compressor.errors import CompressorError, UsageError
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.pipelines.builtin.base import BuiltinLoop
from compressor.pipelines.calls import GraphCall, Graphs, Signature, signature_of
from compressor.system.userfile import place_of, user_errors
from exporters.base import Runner

SEED = "seed"
"""The input of a loop: one number a unit."""

Generate = Callable[[Mapping[str, GraphCall], int, int], object]
Opener = Callable[[], Runner]


@dataclass(frozen=True)
class UserLoop:
    """The function, and what to call it in messages.

    Attributes:
        generate: The function.
        name: What it is called.
        defaults: Graph → inputs that a call may leave out, and what they are then.
    """

    generate: Generate
    name: str
    defaults: Mapping[str, Mapping[str, float]] = field(default_factory=dict, kw_only=True)

    @property
    def judged(self) -> str | None:
        """The output that decides where no metric and no output are asked for, if it says one."""
        return None

    @property
    def continued(self) -> tuple[str, ...]:
        """Outputs that go on by themselves, if it says so: there one step decides the next."""
        return ()

    @property
    def labelled(self) -> str | None:
        """The option with which it returns what would be right, if there is one."""
        return None

    def run(self, models: Mapping[str, GraphCall], seed: int, count: int) -> dict[str, Array]:
        """Generate units.

        Args:
            models: Name → graph.
            seed: All randomness follows from it.
            count: How many units.

        Raises:
            UsageError: The function fails, calls a graph wrongly (with its own file and line), or
                returns no arrays of so many units.
        """
        for name, call in models.items():
            call.defaults = self.defaults.get(name, {})
        with user_errors(f"pipeline {self.name}"):
            try:
                made = self.generate(Graphs(models), seed, count)
            except CompressorError as error:  # a call that does not fit: say where it stands
                where = place_of(error)
                told = error.message if where is None else f"{where}: {error.message}"
                raise UsageError(told, hint=error.hint) from error
        return self._checked(made, count)

    def _checked(self, made: object, count: int) -> dict[str, Array]:
        if not isinstance(made, Mapping) or not made:
            raise UsageError(
                f"pipeline {self.name} returned {type(made).__name__}, and not named arrays",
                hint='End it with a dict, such as return {"image": images}.',
            )
        # Copies: a loop may fill the same array for each unit.
        arrays = {str(name): np.array(array) for name, array in made.items()}
        for name, array in arrays.items():
            if array.ndim == 0 or array.shape[0] != count:
                raise UsageError(
                    f"pipeline {self.name} returned {name!r} of shape {list(array.shape)} for "
                    f"{count} unit{'s' if count > 1 else ''}: the first axis counts units",
                    hint="generate(models, seed, count) returns `count` of each.",
                )
        return arrays


@dataclass(frozen=True)
class Builtin(UserLoop):
    """A loop that is already written, which can read data."""

    generate: BuiltinLoop[Any]

    @property
    def judged(self) -> str | None:
        """As the loop has it."""
        return self.generate.judged

    @property
    def continued(self) -> tuple[str, ...]:
        """As the loop has it."""
        return self.generate.continued

    @property
    def labelled(self) -> str | None:
        """As the loop has it."""
        return self.generate.labelled


class Loop:
    """A loop on opened graphs, as a `Runner` that takes seeds."""

    def __init__(self, loop: UserLoop, openers: Mapping[str, Opener]) -> None:
        """Open nothing yet.

        Args:
            loop: The function.
            openers: Name → opens the graph.
        """
        self._loop, self._openers = loop, openers
        self._stack = ExitStack()
        self._calls: dict[str, GraphCall] = {}
        self._on_caller = True
        self._outputs: tuple[TensorSpec, ...] | None = None

    def __enter__(self) -> Self:
        for name, opener in self._openers.items():
            runner = self._stack.enter_context(opener())
            self._on_caller = self._on_caller and runner.on_caller
            call = GraphCall(name, runner.inputs, runner.run, _known(runner))
            call.caches = getattr(runner, "caches", {})
            self._calls[name] = call
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """One seed a unit."""
        return (TensorSpec(SEED, np.dtype(np.int64), ("batch",)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What one unit is made of; generated once to see it."""
        if self._outputs is None:
            made = self._loop.run(self._calls, 0, 1)
            self._outputs = tuple(
                TensorSpec(name, array.dtype, ("batch", *array.shape[1:]))
                for name, array in made.items()
            )
        return self._outputs

    @property
    def on_caller(self) -> bool:
        """Whether all graphs work on the calling thread."""
        return self._on_caller

    @property
    def calls(self) -> dict[str, int]:
        """Graph → how often it was called since it was opened."""
        return {name: call.calls for name, call in self._calls.items()}

    @property
    def seconds(self) -> dict[str, float]:
        """Graph → what its calls took since it was opened."""
        return {name: call.seconds for name, call in self._calls.items()}

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """The units of some seeds, one after the other."""
        seeds = np.asarray(feeds[SEED]).reshape(-1)
        made = [self._loop.run(self._calls, int(seed), 1) for seed in seeds]
        return self._together(made, seeds.tolist())

    def _together(self, made: list[dict[str, Array]], seeds: list[int]) -> dict[str, Array]:
        """The units as arrays of all.

        Raises:
            UsageError: A unit lacks an array that another has, or has it with other axes.
        """
        names = dict.fromkeys(name for one in made for name in one)
        for one, seed in zip(made, seeds, strict=True):
            lacking = [name for name in names if name not in one]
            if lacking:
                raise UsageError(
                    f"pipeline {self._loop.name} returned no {lacking[0]!r} for seed {seed}, and "
                    "did for another",
                    hint="Return the same arrays for every seed.",
                )
        for name in names:
            ranks = {one[name].ndim: seed for one, seed in zip(made, seeds, strict=True)}
            if len(ranks) > 1:
                told = " and ".join(f"{rank} axes for seed {seed}" for rank, seed in ranks.items())
                raise UsageError(
                    f"pipeline {self._loop.name} returned {name!r} with {told}",
                    hint="Return arrays with the same axes for every seed; sizes may differ.",
                )
        return {name: _joined([one[name] for one in made]) for name in names}

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Generate those units, whatever comes out."""

        def run() -> None:
            self.run(feeds)

        return run


class Remembered(Loop):
    """A loop that generates each unit once: what the original makes is asked for again and again.

    What it remembers is bounded; beyond that it generates anew.
    """

    def __init__(self, loop: UserLoop, openers: Mapping[str, Opener], memory: "Memory") -> None:
        """Open nothing yet; `memory` may be shared by loops of the same graphs."""
        super().__init__(loop, openers)
        self._memory = memory

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """The units of some seeds, as they were generated before where they were."""
        made, seeds = [], np.asarray(feeds[SEED]).reshape(-1).tolist()
        for seed in seeds:
            known = self._memory.units.get(seed)
            if known is None:
                known = super().run({SEED: np.array([seed], np.int64)})
                self._memory.keep(seed, known)
            made.append(known)
        return self._together(made, seeds)


MOST_BYTES = 2**28
"""Bytes of the units that are remembered, at most."""


@dataclass
class Memory:
    """Seed → the unit that was generated."""

    units: dict[int, dict[str, Array]] = field(default_factory=dict)
    bytes: int = 0

    def keep(self, seed: int, unit: dict[str, Array]) -> None:
        """Remember a unit, if there is room."""
        size = sum(array.nbytes for array in unit.values())
        if self.bytes + size <= MOST_BYTES:
            self.units[seed] = unit
            self.bytes += size


def _known(runner: Runner) -> Signature:
    """What a runner knows of its graph; a module that is no graph yet tells its own signature."""
    told = getattr(runner, "signature", None)
    if told is None:
        return signature_of(runner.inputs, runner.outputs)
    specs = tuple(one for one in told.specs if one.name in told.names or told.any_more)
    names = (*told.names, *(one.name for one in specs if one.name not in told.names))
    return Signature(specs, (), names, told.names[: told.required])


def _joined(parts: list[Array]) -> Array:
    """Units in one array; those that are shorter than others end in zeros, or in empty texts."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    sizes = np.max([part.shape for part in parts], axis=0)
    return np.concatenate([_filled(part, sizes[1:]) for part in parts])


def _filled(part: Array, sizes: Array) -> Array:
    """A unit in the corner of what is as large as any."""
    whole = np.zeros((len(part), *sizes), part.dtype)
    whole[tuple(slice(size) for size in part.shape)] = part
    return whole
