"""What a recipe search varies: named variables, each with the values that it may take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import isinf, prod
from typing import Any

from compressor.errors import RecipeError, UsageError

Value = str | float | int
Point = Mapping[str, Value]
"""Variable → its value: one recipe of the space."""

LEVELS = 4
"""Values of a number that a grid has, where its step gives more."""
REGION = "region:"
"""What the name of a variable begins with that is of one region of the graph."""
_SLACK = 1e-9


@dataclass(frozen=True)
class Choice:
    """One of several words.

    Attributes:
        name: As `[search.space]` has it.
        values: Those that are searched.
        known: All that mean anything; None where they cannot be listed.
        check: Refuses a word that means nothing, where they cannot be listed.
    """

    name: str
    values: tuple[str, ...]
    known: tuple[str, ...] | None = None
    check: Callable[[str], object] | None = None

    def levels(self, most: int = LEVELS) -> tuple[Value, ...]:
        """All of them, whatever `most` says: words have no order."""
        del most
        return self.values

    def narrowed(self, asked: object) -> "Choice":
        """With the values that are asked for: one, or a list.

        Raises:
            RecipeError: There are none, or one that means nothing.
        """
        listed = list(asked) if isinstance(asked, list | tuple) else [asked]
        texts = [_text(one) for one in listed]
        strange = [one for one in texts if self.known is not None and one not in self.known]
        if not texts or strange:
            found = "no value" if not texts else repr(strange[0])
            known = "one word or more" if self.known is None else ", ".join(self.known)
            raise RecipeError(
                f"[search.space] {self.name}: expected {known}, found {found}",
                hint=f'Write {self.name} = ["{self.values[0]}"], or leave it out.',
            )
        for text in texts if self.check is not None else ():
            self._checked(text)
        return replace(self, values=tuple(dict.fromkeys(texts)))

    def _checked(self, text: str) -> None:
        assert self.check is not None, "words that are listed need none"
        try:
            self.check(text)
        except UsageError as error:
            raise RecipeError(
                f"[search.space] {self.name}: {error.message}", hint=error.hint
            ) from error

    def __str__(self) -> str:
        return f"{self.name}: {', '.join(self.values)}"


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, in steps.

    Attributes:
        name: As `[search.space]` has it.
        low: The least.
        high: The most.
        step: Between two neighbours.
        least: What `low` may not go below.
        most: What `high` may not go above.
        whole: Whether it counts something.
    """

    name: str
    low: float
    high: float
    step: float
    least: float = 0.0
    most: float = 1.0
    whole: bool = False

    @property
    def all(self) -> tuple[Value, ...]:
        """Every value, rising."""
        count = int((self.high - self.low) / self.step + _SLACK) + 1
        values = (self.low + index * self.step for index in range(count))
        return tuple(int(v) if self.whole else round(v, 9) for v in values)

    def levels(self, most: int = LEVELS) -> tuple[Value, ...]:
        """The values of a grid: `most` of them at most, both ends among them."""
        known = self.all
        if len(known) <= most:
            return known
        picked = (known[round(i * (len(known) - 1) / (most - 1))] for i in range(most))
        return tuple(dict.fromkeys(picked))

    def narrowed(self, asked: object) -> "Number":
        """Between other ends: a number, or a table of low, high and step.

        Raises:
            RecipeError: It is neither, or lies outside of what means anything.
        """
        given = asked if isinstance(asked, Mapping) else {"low": asked, "high": asked}
        strange = [key for key in given if key not in ("low", "high", "step")]
        numbers = {"low": self.low, "high": self.high, "step": self.step, **given}
        fits = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers.values())
        if strange or not fits:
            raise self._refused(asked)
        low, high, step = (float(numbers[key]) for key in ("low", "high", "step"))
        found = replace(self, low=low, high=high, step=step)
        broken = found.whole and any(n % 1 for n in (found.low, found.high, found.step))
        inside = self.least <= found.low <= found.high <= self.most and found.step > 0
        if broken or not inside:
            raise self._refused(asked)
        return found

    def _refused(self, asked: object) -> RecipeError:
        kind = "whole numbers" if self.whole else "numbers"
        ends = f"{self.least:g} on" if isinf(self.most) else f"{self.least:g} to {self.most:g}"
        return RecipeError(
            f"[search.space] {self.name}: expected {kind} from {ends}, found {asked}",
            hint=f"Write {self.name} = {{ low = {self.low:g}, high = {self.high:g} }}, or one "
            "number to hold it.",
        )

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.name}: {self.low:g}"
        return f"{self.name}: {self.low:g} to {self.high:g} in steps of {self.step:g}"


Variable = Choice | Number


@dataclass(frozen=True)
class Space:
    """The variables of one search, by name."""

    variables: Mapping[str, Variable]

    @property
    def points(self) -> int:
        """How many recipes it has."""
        return prod(
            len(v.values if isinstance(v, Choice) else v.all) for v in self.variables.values()
        )

    def grid(self, most: int = LEVELS) -> list[dict[str, Value]]:
        """Every combination of levels."""
        levels = [variable.levels(most) for variable in self.variables.values()]
        return [dict(zip(self.variables, values, strict=True)) for values in product(*levels)]

    def has(self, name: str, value: Value) -> bool:
        """Whether a variable may take a value."""
        variable = self.variables.get(name)
        if variable is None:
            return False
        known = variable.values if isinstance(variable, Choice) else variable.all
        return value in known

    def fitted(self, point: Point) -> dict[str, Value]:
        """A point with what the space lacks brought in: the nearest number, the first word."""
        found: dict[str, Value] = {}
        for name, variable in self.variables.items():
            value = point.get(name)
            if isinstance(variable, Choice):
                found[name] = value if value in variable.values else variable.values[0]
            else:
                wanted = variable.low if not isinstance(value, int | float) else float(value)
                found[name] = min(variable.all, key=lambda one: abs(float(one) - wanted))
        return found

    def told(self) -> dict[str, str]:
        """Name → its values in words, for the report and to tell two spaces apart."""
        return {
            name: str(variable).removeprefix(f"{name}: ")
            for name, variable in self.variables.items()
        }


def narrowed(
    defaults: Mapping[str, Variable], known: Mapping[str, Variable], asked: Mapping[str, Any]
) -> Space:
    """The default variables with what `[search.space]` says of them laid over.

    Args:
        defaults: Those of the model's kind.
        known: All that this model and target have.
        asked: Name → value, list of values, or table of low, high and step.

    Raises:
        RecipeError: A variable is not known here or its values mean nothing, or nothing varies.
    """
    space = Space({**defaults, **meant(known, asked)})
    found = space.variables
    if space.points < 2:
        held = ", ".join(map(str, found.values())) or "no variable is left"
        raise RecipeError(
            f"the space of the search is empty: nothing in it varies ({held})",
            hint="Give a variable of [search.space] two values or more, or leave the section out.",
        )
    return space


def meant(known: Mapping[str, Variable], asked: Mapping[str, Any]) -> dict[str, Variable]:
    """The variables that `[search.space]` names, as it says.

    Args:
        known: All that there are; regions have no other values than to be float or integer.
        asked: As for `narrowed`.

    Raises:
        RecipeError: A variable is not known, or its values mean nothing.
    """
    found: dict[str, Variable] = {}
    for name, values in asked.items():
        if name not in known and not name.startswith(REGION):
            raise RecipeError(
                f"[search.space] has no variable {name!r} for this model and target",
                hint=f"There are {', '.join(known)}, and {REGION}NODE.",
            )
        base = known.get(name) or Choice(name, ("float", "int8"), ("float", "int8"))
        found[name] = base.narrowed(values)
    return found


def _text(value: object) -> str:
    """A word; TOML's numbers and booleans are words here."""
    if isinstance(value, bool):
        return str(value).lower()
    return (
        value
        if isinstance(value, str)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
