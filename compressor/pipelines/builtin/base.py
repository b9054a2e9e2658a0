"""What a built-in loop declares, and what all of them do alike.

A file of this package ends in `LOOP = ...`, a `BuiltinLoop` with a `LoopOptions` of its own. It is
called as the user's own loop is, `loop(models, seed, count)`. Unit i of a call is the unit of seed
`seed + i`: however many are made at a time, each draws from a generator of its own.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from calibration.preprocess import Preprocess
from compressor.errors import RecipeError, UsageError
from compressor.graph.tensors import Array
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.samples import Samples


class LoopOptions(BaseModel):
    """Base of the options of loops: fields with defaults and descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Chosen = TypeVar("Chosen", bound=LoopOptions)


@dataclass(frozen=True)
class Part:
    """A graph that a loop calls.

    Attributes:
        name: What it is to the loop.
        names: What the user may call it, `name` among them.
        needed: Whether the loop cannot do without it.
    """

    name: str
    names: tuple[str, ...]
    needed: bool = True


class BuiltinLoop(ABC, Generic[Chosen]):
    """A loop over graphs of a known kind.

    Attributes:
        options: What was chosen.
        samples: The data that units are made from, if the loop reads any.
        notices: What the user should know; known once a unit was made.
    """

    name: ClassVar[str]
    """As `--pipeline` has it."""
    Options: type[Chosen]
    parts: ClassVar[tuple[Part, ...]]
    """The graphs; the first is the one that the loop is about."""
    noun: ClassVar[str]
    """What one call of the first graph makes."""
    reads: ClassVar[str | None] = None
    """What `--calib` and `--eval` hold for it; None where it takes no data."""

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        *,
        calibration: object = None,
        evaluation: object = None,
        preprocess: Preprocess | None = None,
        seed: int = 0,
    ) -> None:
        """Read the options; data is read when the first unit is made.

        Args:
            options: Name → value, or text that reads as one.
            calibration: Data for the units that calibrate.
            evaluation: Data for those that judge; default: the same.
            preprocess: How stored values become inputs.
            seed: By which data is drawn.

        Raises:
            RecipeError: An option is unknown, or its value is not valid.
            UsageError: There is data, and the loop reads none.
        """
        self.options = self.read(options or {})
        if self.reads is None and not (calibration is None and evaluation is None):
            raise UsageError(
                f"pipeline {self.name} reads no data",
                hint="Leave out --calib and --eval: it draws what it needs by seed.",
            )
        self.samples = Samples(
            calibration, evaluation, preprocess or Preprocess(), seed, self.files.get("tokenizer")
        )
        self.notices: list[str] = []

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Chosen:
        """Options by name, with the defaults of those that are not given.

        Raises:
            RecipeError: One is unknown, or its value is not valid.
        """
        return _read(cls.Options, cls.name, options)

    @property
    def judged(self) -> str | None:
        """The output that decides where nothing else is asked for; None: the first that fits."""
        return None

    @property
    def continued(self) -> tuple[str, ...]:
        """Outputs that go on by themselves, as texts do."""
        return ()

    @property
    def labelled(self) -> str | None:
        """The option with which it returns what would be right, if there is one."""
        return None

    @property
    def files(self) -> dict[str, Any]:
        """Option → file that it names."""
        from pathlib import Path  # noqa: PLC0415 - of this alone

        return {name: value for name, value in self.options if isinstance(value, Path)}

    def __call__(self, models: Mapping[str, GraphCall], seed: int, count: int) -> dict[str, Array]:
        """Make units.

        Args:
            models: Name → graph.
            seed: That of the first; every next unit has the next.
            count: How many.

        Raises:
            UsageError: A graph is missing, or does not take and give what the loop needs.
        """
        found = self.assigned(models)
        calls = {part: models[name] for part, name in found.items()}
        return self.units(calls, range(seed, seed + count))

    @abstractmethod
    def units(self, graphs: Mapping[str, GraphCall], seeds: Sequence[int]) -> dict[str, Array]:
        """The units of some seeds.

        Args:
            graphs: Part → graph.
            seeds: One a unit.
        """

    @classmethod
    def assigned(cls, names: Iterable[str]) -> dict[str, str]:
        """Part → the user's name for it.

        Raises:
            UsageError: One is missing, there are two for one part, or one is of no use.
        """
        given = list(names)
        found = {part.name: [one for one in given if one in part.names] for part in cls.parts}
        known = [one for some in found.values() for one in some]
        strange = [one for one in given if one not in known]
        if strange:
            raise UsageError(f"pipeline {cls.name} calls no graph {strange[0]!r}", hint=cls.asks())
        for part in cls.parts:
            if len(found[part.name]) > 1:
                told = " and ".join(map(repr, found[part.name]))
                raise UsageError(
                    f"pipeline {cls.name}: graphs {told} are both its {part.name}",
                    hint=cls.asks(),
                )
            if part.needed and not found[part.name]:
                raise UsageError(
                    f"pipeline {cls.name} needs a graph {part.name!r}", hint=cls.asks()
                )
        return {part: some[0] for part, some in found.items() if some}

    @classmethod
    def main(cls, names: Iterable[str]) -> str:
        """The user's name for the graph that the loop is about, whose calls make a `noun` each."""
        return cls.assigned(names)[cls.parts[0].name]

    @classmethod
    def asks(cls) -> str:
        """The graphs of the loop in words, as a hint."""
        told = []
        for part in cls.parts:
            others = [repr(one) for one in part.names if one != part.name]
            name = f"{part.name!r} (or {', '.join(others)})" if others else repr(part.name)
            told.append(name if part.needed else f"{name} if there is one")
        return f"It calls {', '.join(told)}: --graph NAME=MODEL for each."

    def notice(self, text: str) -> None:
        """Say something once."""
        if text not in self.notices:
            self.notices.append(text)


def rng_of(seed: int) -> np.random.Generator:
    """The generator that a unit draws from."""
    return np.random.default_rng(seed)


def stacked(units: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Units, each without a first axis, in arrays of all; shorter ones end in zeros."""
    found: dict[str, Array] = {}
    for name in units[0]:
        parts = [unit[name] for unit in units]
        shape = np.max([part.shape for part in parts], axis=0)
        found[name] = np.zeros((len(parts), *shape), parts[0].dtype)
        for row, part in zip(found[name], parts, strict=True):
            row[tuple(map(slice, part.shape))] = part
    return found


def described(options: type[LoopOptions]) -> Iterator[tuple[str, Any, str]]:
    """Option, default and meaning of each, in the order of the fields."""
    for name, field in options.model_fields.items():
        yield name, field.default, field.description or ""


def _read(options: type[Chosen], name: str, given: Mapping[str, Any]) -> Chosen:
    known = list(options.model_fields)
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            meant = f"Did you mean {close[0]}? " if close else ""
            raise RecipeError(
                f"pipeline {name} has no option {key!r}",
                hint=f"{meant}It has {', '.join(known)}.",
            )
    try:
        return options.model_validate(dict(given))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"]) or "its options"
        said = problem["msg"].removeprefix("Value error, ")
        found = f", found {problem['input']!r}" if problem["loc"] else ""
        raise RecipeError(
            f"pipeline {name}: option {key}: {said}{found}",
            hint=f"`compress recipe --pipeline {name}` prints its options with their meaning.",
        ) from error
