"""Which input of a graph is which: by its usual names, else by what it must be."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compressor.errors import UsageError
from compressor.graph.tensors import Array, TensorSpec
from compressor.pipelines.calls import GraphCall


@dataclass(frozen=True)
class Role:
    """An input that a loop can feed.

    Attributes:
        name: What it is.
        names: What it is usually called, in any case.
        fits: Whether an input of that type and shape can be it.
        needed: Whether the loop cannot do without it.
    """

    name: str
    names: tuple[str, ...]
    fits: Callable[[TensorSpec], bool] = lambda one: False
    needed: bool = True


def wired(
    graph: GraphCall, roles: Sequence[Role], *, beside: Iterable[str] = (), what: str
) -> dict[str, str]:
    """Role → input. What has none of the usual names is found by elimination.

    Args:
        graph: Whose inputs.
        roles: What the loop can feed it.
        beside: Inputs that are fed otherwise.
        what: The loop, for messages.

    Raises:
        UsageError: An input has no role, or a role no input.
    """
    apart = set(beside)
    known = graph.known
    found: dict[str, str] = {}
    for role in roles:
        named = [one for one in known.names if one.lower() in role.names and one not in apart]
        if named:
            found[role.name] = min(named, key=lambda one: role.names.index(one.lower()))
    open_roles = [role for role in roles if role.name not in found]
    left = [one for one in known.required if one not in {*found.values(), *apart}]
    found |= _eliminated(graph, open_roles, left)
    left = [one for one in left if one not in found.values()]
    if left and known.names:
        raise UsageError(
            f"{what} does not know what graph {graph.name!r} takes as {left[0]!r}",
            hint=f"It feeds {_listed(roles)}; the graph is {graph.signature}.",
        )
    for role in roles:
        if role.needed and role.name not in found:
            if not known.names:  # a module that takes anything: by its usual name
                found[role.name] = role.names[0]
                continue
            raise UsageError(
                f"graph {graph.name!r} has no input that is {what}'s {role.name}",
                hint=f"Call it {' or '.join(map(repr, role.names[:3]))}; the graph is "
                f"{graph.signature}.",
            )
    return _required_only(graph, found, roles)


def _eliminated(graph: GraphCall, roles: Sequence[Role], left: Sequence[str]) -> dict[str, str]:
    """Roles that only one of the inputs that are left can have, and inputs with only one role."""
    found: dict[str, str] = {}
    for role in roles:
        specs = [graph.known.input(one) for one in left]
        fit = [one for one in specs if one is not None and role.fits(one)]
        rivals = [
            other for other in roles if other is not role and any(other.fits(one) for one in fit)
        ]
        if len(fit) == 1 and not rivals:
            found[role.name] = fit[0].name
    needed = [role for role in roles if role.needed and role.name not in found]
    others = [one for one in left if one not in found.values()]
    if len(needed) == 1 and len(others) == 1 and graph.known.input(others[0]) is None:
        found[needed[0].name] = others[0]
    return found


def _required_only(
    graph: GraphCall, found: Mapping[str, str], roles: Sequence[Role]
) -> dict[str, str]:
    """Of a module only what it must have, and what the loop must give: the rest has defaults."""
    needed = {role.name for role in roles if role.needed}
    required = graph.known.required
    return {role: name for role, name in found.items() if role in needed or name in required}


def _listed(roles: Sequence[Role]) -> str:
    return ", ".join(role.names[0] for role in roles)


def cast(array: Array, wanted: TensorSpec | None) -> Array:
    """The array in the type of an input, where that is known."""
    return array if wanted is None else array.astype(wanted.dtype, copy=False)


def is_integer(one: TensorSpec) -> bool:
    """Whether an input takes integers."""
    return one.dtype.kind in "iu"


def is_floating(one: TensorSpec) -> bool:
    """Whether an input takes floating numbers."""
    return np.issubdtype(one.dtype, np.floating)


def rows_fixed(one: TensorSpec | None) -> int | None:
    """How many units a call has, where the graph has that baked in."""
    size = one.shape[0] if one is not None and len(one.shape) else None
    return size if isinstance(size, int) else None


def by_rows(
    graph: GraphCall,
    rows: int | None,
    feeds: Mapping[str, Array],
    whole: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Call a graph on arrays of some units: at once, or so many at a time as it has baked in.

    Args:
        graph: What is called.
        rows: Units of a call; None: any number.
        feeds: TensorSpec → array, a row a unit.
        whole: TensorSpec → array that belongs to every call.
    """
    count = len(next(iter(feeds.values())))
    rest = whole or {}
    if rows in (None, count):
        return graph(**feeds, **rest)
    assert rows is not None, "it was compared"
    parts: list[dict[str, Array]] = []
    for start in range(0, count, rows):
        last = min(start + rows, count)
        at = np.minimum(np.arange(start, start + rows), last - 1)  # what lacks repeats the last
        made = graph(**{name: array[at] for name, array in feeds.items()}, **rest)
        parts.append({name: array[: last - start] for name, array in made.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def output_of(graph: GraphCall, made: Mapping[str, Array], names: Sequence[str]) -> Array:
    """An output by its usual names, or the only one there is.

    Raises:
        UsageError: There are several, and none is called so.
    """
    for name in names:
        if name in made:
            return made[name]
    if len(made) == 1:
        return next(iter(made.values()))
    raise UsageError(
        f"graph {graph.name!r} returns {', '.join(made)}, and none is called {' or '.join(names)}",
        hint=f"Call the output {names[0]!r}, or return it alone.",
    )
