"""The names in a file brought to those of a module.

Training wrappers leave prefixes on every key: `module.` (DataParallel), `_orig_mod.`
(torch.compile), `model.` (Lightning), also stacked, or within names, where a part of the network
was wrapped. A module may have such a prefix itself that the file lacks. Names are changed only
where more of them fit then.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

WITHIN = ("_orig_mod.", "module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What wrappers put in front of what they wrap, wherever in a name that is."""

_AVERAGED = re.compile(r"ema|averag|swa|shadow|teacher|target|momentum", re.IGNORECASE)
_PROBES, _ROOTS = 5, 32


@dataclass(frozen=True)
class Renamed:
    """A state dict under the names that fit best.

    Attributes:
        state: Name → tensor.
        notices: What was changed, for the user.
    """

    state: dict[str, Any]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Variant:
    state: dict[str, Any]
    notices: tuple[str, ...] = ()
    root: str = field(default="", compare=False)


def is_averaged(name: str) -> bool:
    """Whether a name speaks of a running mean of the weights, which is kept beside them."""
    return _AVERAGED.search(name) is not None


def fit_names(state: Mapping[str, Any], expected: Mapping[str, Any]) -> Renamed:
    """The state dict with prefixes stripped or added so that most names fit.

    Among equals the one that changes least wins. Among parts of a file that fit alike the one that
    is no running mean wins, then the first.

    Args:
        state: State dict of the file.
        expected: State dict of the module: name → tensor.
    """
    if expected.keys() <= state.keys():
        return Renamed(dict(state))
    variants = list(_variants(dict(state), expected))
    scores = [_score(variant.state, expected) for variant in variants]
    most = max(scores)
    best = [v for v, score in zip(variants, scores, strict=True) if score == most]
    if not best[0].root:
        return Renamed(best[0].state, best[0].notices)
    same_kind = [variant for variant in best if len(variant.notices) == len(best[0].notices)]
    chosen = min(same_kind, key=lambda variant: is_averaged(variant.root))
    others = dict.fromkeys(v.root for v in same_kind if v.root not in ("", chosen.root))
    more = tuple(
        f"{other!r} would fit as well: --state-key {other.removesuffix('.')} takes it"
        for other in others
    )
    return Renamed(chosen.state, (*chosen.notices, *more))


def _score(state: Mapping[str, Any], expected: Mapping[str, Any]) -> tuple[int, int]:
    """How many names fit with their shapes, and how many fit."""
    common = state.keys() & expected.keys()
    return sum(_shape(state[key]) == _shape(expected[key]) for key in common), len(common)


def _shape(value: object) -> tuple[int, ...] | None:
    if type(value).__name__ in ("UninitializedParameter", "UninitializedBuffer"):
        return None
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(shape)


def _variants(state: dict[str, Any], expected: Mapping[str, Any]) -> Iterator[_Variant]:
    """Renamed states, those that change least first."""
    bases = [_Variant(state), *_unwrapped(state)]
    yield from bases
    for base in bases:
        yield from _stripped(base, expected)
    for base in bases:
        for prefix in _prefixes(_probes(expected)):
            inner = {k.removeprefix(prefix): v for k, v in expected.items() if k.startswith(prefix)}
            said = f"prefix {prefix!r} added to the state dict's keys"
            for variant in (base, *_stripped(base, inner)):
                renamed = {prefix + k if k in inner else k: v for k, v in variant.state.items()}
                if len(renamed) == len(variant.state):
                    yield _Variant(renamed, (*variant.notices, said), variant.root)


def _unwrapped(state: dict[str, Any]) -> Iterator[_Variant]:
    """Without what wrappers of parts of the network left within the names."""
    renamed, notices = state, tuple[str, ...]()
    for mark in WITHIN:
        shorter = {re.sub(rf"(?<=\.){re.escape(mark)}", "", k): v for k, v in renamed.items()}
        if shorter.keys() == renamed.keys() or len(shorter) < len(renamed):
            continue
        renamed, notices = shorter, (*notices, f"{mark!r} taken out of the state dict's keys")
        yield _Variant(renamed, notices)


def _stripped(base: _Variant, expected: Mapping[str, Any]) -> Iterator[_Variant]:
    """Without what stands in front of the names that the module has."""
    for root in _roots(base.state, _probes(expected)):
        inner = {k.removeprefix(root): v for k, v in base.state.items() if k.startswith(root)}
        rest = {k: v for k, v in base.state.items() if not k.startswith(root) and k not in inner}
        said = f"prefix {root!r} stripped from the state dict's keys"
        yield _Variant({**inner, **rest}, (*base.notices, said), root)


def _roots(state: Iterable[str], probes: list[str]) -> list[str]:
    """Prefixes behind which one of the names is found, in the file's order."""
    endings = tuple(f".{probe}" for probe in probes)
    found: dict[str, None] = {}
    for key in state:
        if key.endswith(endings):
            found |= {key[: -len(e) + 1]: None for e in endings if key.endswith(e)}
    return list(found)[:_ROOTS]


def _probes(expected: Iterable[str]) -> list[str]:
    """A few of the names: the deepest, which say most, from all over the module."""
    names = list(expected)
    deepest = max((name.count(".") for name in names), default=0)
    names = [name for name in names if name.count(".") == deepest]
    return names[:: max(1, len(names) // _PROBES)]


def _prefixes(names: Iterable[str]) -> list[str]:
    """`a.` and `a.b.` of `a.b.c`."""
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        found |= {".".join(parts[:n]) + ".": None for n in range(1, min(len(parts), 4))}
    return list(found)
