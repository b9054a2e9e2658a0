"""Sizes that a shape leaves open, and what they have to do with each other.

A dimension is a size, a name, or an expression over names: `past+seq`, `2*batch`, `batch*heads`. An
expression is a polynomial with integer coefficients, so that equal ones are written equally and an
unknown can be solved for. What is no expression, such as `unk__12.a` or `floor(h/2)`, is a name.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from compressor.errors import DataError
from compressor.graph.tensors import Arrays, Dimension, TensorSpec

Monomial = tuple[str, ...]
"""The names of a product, sorted; () is the constant 1."""

_TOKEN = re.compile(r"\s*(\d+|[A-Za-z_]\w*|[-+*()])")


@dataclass(frozen=True)
class SymbolicSize:
    """A sum of products of names: monomial → coefficient, none of them zero."""

    terms: tuple[tuple[Monomial, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names in it, each once, in order."""
        return tuple(dict.fromkeys(name for names, _ in self.terms for name in names))

    @property
    def constant(self) -> int | None:
        """Its value where no name is in it."""
        return None if self.names else sum(factor for _, factor in self.terms)

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """Its value; a KeyError where a name has no size."""
        return sum(factor * prod(sizes[n] for n in names) for names, factor in self.terms)

    def substitute(self, sizes: Mapping[str, int]) -> "SymbolicSize":
        """The size with numbers for the names that have any."""
        found = Counter[Monomial]()
        for names, factor in self.terms:
            rest = tuple(name for name in names if name not in sizes)
            found[rest] += factor * prod(sizes[name] for name in names if name in sizes)
        return _size(found)

    def root(self, value: int) -> tuple[str, int] | None:
        """The one name and its size at which this is `value`, where it is linear in one name.

        Raises:
            ValueError: No whole number from 0 on is.
        """
        if len(self.names) != 1 or any(len(names) > 1 for names, _ in self.terms):
            return None
        name = self.names[0]
        factor = dict(self.terms)[name,]
        rest = value - dict(self.terms).get((), 0)
        if rest % factor or rest // factor < 0:
            raise ValueError(f"no size of {name} makes {self} {value}")
        return name, rest // factor

    def __str__(self) -> str:
        text = ""
        for names, factor in self.terms:
            size = abs(factor)
            product = "*".join([*([str(size)] if size != 1 or not names else []), *names])
            text += ("-" if factor < 0 else "+" if text else "") + product
        return text or "0"


def parse_size(dim: int | str) -> SymbolicSize:
    """A dimension as an expression; what is none is one name as a whole."""
    if isinstance(dim, int):
        return _size({(): dim})
    found = _parsed(dim)
    return _size({(dim,): 1}) if found is None else found


def is_expression(text: str) -> bool:
    """Whether a text is an expression, rather than a name that merely looks odd."""
    return _parsed(text) is not None


def names_in(specs: Iterable[TensorSpec]) -> tuple[str, ...]:
    """The names that the shapes of specifications leave open, in order of appearance."""
    dims = [dim for spec in specs for dim in spec.shape if isinstance(dim, str)]
    return tuple(dict.fromkeys(name for dim in dims for name in parse_size(dim).names))


def shape_at(spec: TensorSpec, sizes: Mapping[str, int], default: int = 1) -> tuple[int, ...]:
    """The shape of an input at given sizes; `default` for names that have none.

    A name stands for its own value where the whole dimension has one, even if it is an expression.
    """
    return tuple(_at(dim, sizes, default) for dim in spec.shape)


def solve(specs: Sequence[TensorSpec], arrays: Arrays, where: str = "the data") -> dict[str, int]:
    """The sizes at which specifications describe arrays.

    Each axis is an equation, `past+seq = 12`; those with one unknown left give its size, until
    none is left. A name that no equation gives is left out.

    Args:
        specs: What the inputs look like.
        arrays: Name → array; inputs without one are passed over.
        where: What the arrays are, for messages.

    Raises:
        DataError: Ranks differ, or no sizes make the shapes those of the arrays: the message names
            input, axis, and what the other axes say.
    """
    # What one name gives goes first, so that a contradiction is found at the sum that makes it.
    equations = sorted(_equations(specs, arrays, where), key=lambda each: len(each.size.names))
    sizes = dict[str, int]()
    progress = True
    while progress:
        progress = False
        for equation in equations:
            found = equation.root(sizes)
            if found is not None:
                sizes[found[0]] = found[1]
                progress = True
    return sizes


@dataclass(frozen=True)
class _Equation:
    size: SymbolicSize
    value: int
    spec: TensorSpec
    axis: int
    where: str

    def root(self, sizes: Mapping[str, int]) -> tuple[str, int] | None:
        rest = self.size.substitute(sizes)
        known = rest.constant
        if known is not None and known != self.value:
            raise self.contradiction(sizes)
        try:
            return rest.root(self.value)
        except ValueError:
            raise self.contradiction(sizes) from None

    def contradiction(self, sizes: Mapping[str, int]) -> DataError:
        given = ", ".join(f"{name}={sizes[name]}" for name in self.size.names if name in sizes)
        behind = f", where the other axes say {given}" if given else ""
        return DataError(
            f"{self.where}: expected {self.spec}, found size {self.value} along axis {self.axis} "
            f"of {self.spec.name!r}{behind}",
            hint="Correct the arrays, or say how the sizes hang together with --input, as in "
            "--input 'mask:int64[batch,past+seq]'.",
        )


def _equations(specs: Sequence[TensorSpec], arrays: Arrays, where: str) -> Iterable[_Equation]:
    for spec in specs:
        if spec.name not in arrays:
            continue
        found = arrays[spec.name].shape
        if len(found) != len(spec.shape):
            raise DataError(
                f"{where}: expected {spec}, found an array of shape {list(found)}",
                hint=f"{spec.name!r} has {len(spec.shape)} axes.",
            )
        for axis, (dim, value) in enumerate(zip(spec.shape, found, strict=True)):
            if dim is not None:
                yield _Equation(parse_size(dim), int(value), spec, axis, where)


def _at(dim: Dimension, sizes: Mapping[str, int], default: int) -> int:
    if dim is None:
        return default
    if isinstance(dim, str) and dim in sizes:
        return sizes[dim]
    size = parse_size(dim)
    return size.evaluate({name: sizes.get(name, default) for name in size.names})


def _size(terms: Mapping[Monomial, int]) -> SymbolicSize:
    kept = {names: factor for names, factor in terms.items() if factor}
    ordered = sorted(kept.items(), key=lambda term: (not term[0], term[1] < 0))
    return SymbolicSize(tuple(ordered))


def _parsed(text: str) -> SymbolicSize | None:
    tokens = list[str]()
    place = 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        tokens.append(match[1])
        place = match.end()
    try:
        reader = _Reader(tokens)
        found = reader.sum()
    except (IndexError, ValueError):
        return None
    return found if not reader.tokens else None


class _Reader:
    """Sum := Product (± Product)*, Product := Atom (* Atom)*, Atom := number, name or (Sum)."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def sum(self) -> SymbolicSize:
        total = Counter[Monomial]()
        sign = 1
        while True:
            for names, factor in self.product().terms:
                total[names] += sign * factor
            if not self.tokens or self.tokens[0] not in "+-":
                return _size(total)
            sign = 1 if self.tokens.pop(0) == "+" else -1

    def product(self) -> SymbolicSize:
        found = self.atom()
        while self.tokens and self.tokens[0] == "*":
            self.tokens.pop(0)
            found = _product(found, self.atom())
        return found

    def atom(self) -> SymbolicSize:
        token = self.tokens.pop(0)
        if token == "(":
            inner = self.sum()
            if self.tokens.pop(0) != ")":
                raise ValueError("a bracket is not closed")
            return inner
        if token.isdecimal():
            return _size({(): int(token)})
        if not token.isidentifier():
            raise ValueError(f"{token!r} is no size")
        return _size({(token,): 1})


def _product(one: SymbolicSize, other: SymbolicSize) -> SymbolicSize:
    terms = Counter[Monomial]()
    for names, factor in one.terms:
        for more, by in other.terms:
            terms[tuple(sorted((*names, *more)))] += factor * by
    return _size(terms)
