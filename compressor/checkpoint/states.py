"""State dicts within what a checkpoint holds: at its top, under `ema`, or deeper.

Training scripts keep epoch, optimizer and settings beside the weights, and often several sets of
weights: running means (`ema`), a generator and its discriminator. The one that fits the module is
taken; of several the plain weights, and the user is told.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compressor.checkpoint.numpy_files import as_tensor, numbers_in
from compressor.checkpoint.renaming import is_averaged
from compressor.checkpoint.statedict import fitted, is_tensor, listed
from compressor.errors import CheckpointError

PLAIN = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "generator",
    "netG",
    "G",
)
"""Keys under which checkpoints keep the weights, those taken first in front."""

_OTHER = ("discriminator", "criterion", "loss")
_BESIDE = ("optim", "sched", "scaler", "rng", "callback", "loops", "random")
"""What belongs to training and may hold tensors, but no weights."""
_DEPTH = 4
_LONG = 64
"""Lists of more entries hold no state dicts, but losses or parameters one by one."""


@dataclass(frozen=True)
class State:
    """A state dict in a checkpoint.

    Attributes:
        key: Where it lies, as a dotted path; empty for the top.
        tensors: Key → tensor, and modules' own extra state.
        left_out: What lies beside them and is no tensor.
    """

    key: str
    tensors: dict[str, Any]
    left_out: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know."""
        if not self.left_out:
            return ()
        return (f"not part of the state dict and left out: {listed(self.left_out)}",)


def find_states(loaded: object, where: str) -> list[State]:
    """All state dicts in what a file holds, the likeliest first.

    Args:
        loaded: What the file holds.
        where: The file's path, for messages.

    Raises:
        CheckpointError: There is none.
    """
    loaded = _named(loaded)
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"{where} holds a {type(loaded).__name__}; expected a state dict",
            hint="Save model.state_dict() with torch.save.",
        )
    found = [_state(key, inner) for key, inner in mappings(loaded) if _tensors(inner)]
    if not found:
        keys = listed([repr(key) for key in loaded]) or "none"
        raise CheckpointError(
            f"{where} holds no state dict; its keys: {keys}",
            hint="Save model.state_dict() with torch.save, alone or under 'state_dict'.",
        )
    found = [state for state in found if not _is_beside(state.key)] or found
    return sorted(found, key=lambda state: preference(state.key))


def find_state(loaded: object, key: str, where: str) -> State:
    """The state dict under a dotted key, or all tensors whose names begin with it.

    Where there is none at the key itself, the only one below it is meant: `ema` of an average that
    keeps its weights as `module` beside a decay.

    Raises:
        CheckpointError: There is nothing of that name, or no state dict; the message lists what
            there is.
    """
    loaded = _named(loaded)
    if isinstance(loaded, Mapping):
        found = _under(loaded, key.split("."))
        if found is None:
            start = key + "."
            found = {k[len(start) :]: v for k, v in loaded.items() if str(k).startswith(start)}
        if isinstance(found, Mapping):
            below = [(at, inner) for at, inner in mappings(found) if _tensors(inner)]
            if len(below) == 1 or (below and not below[0][0]):
                at, inner = below[0]
                return _state(f"{key}.{at}".removesuffix("."), inner)
        if found is not None and not isinstance(found, Mapping):
            raise CheckpointError(
                f"--state-key {key}: {where} has a {type(found).__name__} there, no state dict",
                hint=_choices(loaded, key),
            )
    raise CheckpointError(
        f"--state-key {key}: {where} has no state dict of that name", hint=_choices(loaded, key)
    )


def fitting_state(module: Any, states: list[State]) -> tuple[State, tuple[str, ...]]:
    """The first of several state dicts that fits a module, else the first; and notices."""
    chosen = states[0]
    if len(states) > 1:
        fits = (state for state in states if not fitted(module, state.tensors).mismatch)
        chosen = next(fits, chosen)
    others = [state.key for state in states if state.key and state is not chosen]
    if not others:
        return chosen, chosen.notices
    where = f"under {chosen.key!r}" if chosen.key else "at the top"
    said = (
        f"of several state dicts the one {where} was taken; --state-key chooses another: "
        f"{listed(others)}"
    )
    return chosen, (said, *chosen.notices)


def find_module(loaded: object, kind: type, key: str | None) -> tuple[str, Any] | None:
    """A whole module in a trusted checkpoint, under `key` where one is given, and where it lies."""
    if isinstance(loaded, kind):
        return "", loaded
    if not isinstance(loaded, Mapping):
        return None
    if key is not None:
        found = _under(loaded, key.split("."))
        return (key, found) if isinstance(found, kind) else None
    places = [
        (f"{place}.{name}".removeprefix("."), value)
        for place, mapping in mappings(loaded)
        for name, value in mapping.items()
        if isinstance(name, str) and isinstance(value, kind)
    ]
    return min(places, key=lambda found: preference(found[0]), default=None)


def mappings(loaded: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Dotted key and content of every mapping that strings lead to, from the outside in.

    Those in a list or tuple lie under their numbers.
    """
    level: list[tuple[str, Mapping[Any, Any]]] = [("", loaded)]
    for _ in range(_DEPTH):
        yield from level
        level = [
            (f"{place}.{key}".removeprefix("."), inner)
            for place, mapping in level
            for key, value in mapping.items()
            if isinstance(key, str) and isinstance(inner := _named(value), Mapping)
        ]


def preference(key: str) -> tuple[int, int]:
    """A key to sort by: weights by their usual names, the top, others, running means, the rest."""
    last = key.rpartition(".")[2]
    if _is_beside(key) or any(part in key.lower() for part in _OTHER):
        return 4, 0
    if is_averaged(key):
        return 3, 0
    if last in PLAIN:
        return 0, PLAIN.index(last)
    return (1, 0) if key == "" else (2, 0)


def _is_beside(key: str) -> bool:
    return any(part in key.lower() for part in _BESIDE)


def _under(mapping: Mapping[Any, Any], parts: list[str]) -> object:
    """What lies under a dotted path, where keys may hold dots themselves."""
    for count in range(len(parts), 0, -1):
        key = ".".join(parts[:count])
        if key in mapping:
            inner = _named(mapping[key])
            if count == len(parts):
                return inner
            found = _under(inner, parts[count:]) if isinstance(inner, Mapping) else None
            if found is not None:
                return found
    return None


def _named(value: object) -> object:
    """A list or tuple that holds mappings, by number; anything else as it is."""
    if not isinstance(value, list | tuple) or len(value) > _LONG:
        return value
    within = any(isinstance(inner, Mapping) for inner in value)
    return {str(index): inner for index, inner in enumerate(value)} if within else value


def _state(key: str, mapping: Mapping[Any, Any]) -> State:
    kept = {}
    for name, value in mapping.items():
        if isinstance(name, str):
            tensor = value if is_tensor(value) else as_tensor(value)
            if tensor is not None or name.endswith("_extra_state"):
                kept[name] = value if tensor is None else tensor
    left = (str(name) for name, value in mapping.items() if name not in kept)
    return State(key, kept, tuple(left))


def _tensors(mapping: Mapping[Any, Any]) -> bool:
    named = (value for key, value in mapping.items() if isinstance(key, str))
    return any(map(is_tensor, named)) or numbers_in(mapping)


def _choices(loaded: object, key: str) -> str | None:
    if not isinstance(loaded, Mapping):
        return None
    known = [place for place, inner in mappings(loaded) if place and _tensors(inner)]
    if not known:  # a flat file: what its names begin with
        known = list(dict.fromkeys(str(k).partition(".")[0] for k in loaded if "." in str(k)))
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"There is {listed(known)}." if known else "All of the file is one state dict."
