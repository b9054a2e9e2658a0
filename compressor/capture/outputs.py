"""Nested outputs of a module as a flat list of tensors with stable names.

Dictionary keys, fields of dataclasses and of named tuples are names; positions are numbers:

    tensor                          output
    (a, b)                          output, output_1
    {"logits": a, "hidden": (b, c)} logits, hidden_0, hidden_1
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]


def flatten(result: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """The leaves of nested containers with the path to each, depth first.

    Containers are mappings, sequences, named tuples and dataclass instances. None is left out.
    """
    for key, value in _children(result):
        if value is None:
            continue
        if _children_of_any(value):
            yield from flatten(value, (*path, key))
        else:
            yield (*path, key), value


def leaves(result: object) -> list[tuple[Path, object]]:
    """`flatten`, also for a result that is no container."""
    if _children_of_any(result):
        return list(flatten(result))
    return [] if result is None else [((), result)]


def output_names(paths: Iterable[Path], taken: Iterable[str] = ()) -> list[str]:
    """A unique name for each path, none of them in `taken` (the inputs' names)."""
    used = set(taken)
    names = []
    for path in paths:
        base = _name(path)
        name = base
        count = 1
        while name in used:
            name = f"{base}_out" if name == base else f"{base}_out{count}"
            count += 1
        used.add(name)
        names.append(name)
    return names


def _name(path: Path) -> str:
    words = [str(part) for part in path]
    if all(isinstance(part, int) for part in path):
        words = ["output", *(words if any(path) else [])]
    return "_".join(words)


def _children_of_any(value: object) -> bool:
    container = isinstance(value, Mapping | list | tuple)
    return container or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _children(value: Any) -> list[tuple[str | int, object]]:
    if isinstance(value, Mapping):  # before dataclasses: model outputs of transformers are both
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, list | tuple):
        fields = getattr(value, "_fields", None) or range(len(value))
        return list(zip(fields, value, strict=False))
    if dataclasses.is_dataclass(value):
        fields = [f.name for f in dataclasses.fields(value)]
        return [(name, getattr(value, name)) for name in fields]
    return []
