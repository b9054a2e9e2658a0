"""A state dict loaded into a module: what is missing, what is too many, what does not fit.

Names are brought together first (`renaming`), and a tensor that the module shares between names
(`tying`) is needed once. Names that the module has no use for, such as those of a loss or of
metrics, are left out with a notice, unless they look like layers that the module should have.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compressor.checkpoint.renaming import Renamed, fit_names
from compressor.checkpoint.stored import in_chunks
from compressor.checkpoint.tying import settled, shared_names, tie, without_tied
from compressor.errors import CheckpointError

_SHOWN = 8


@dataclass(frozen=True)
class Mismatch:
    """Why a state dict does not fit, as lines that name key and shape."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.wrong)

    def error(self, what: str) -> CheckpointError:
        """The error that lists all of it, each list bounded and counted."""
        lines = [
            f"  {name} ({len(entries)}): {listed(entries)}"
            for name, entries in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("wrong shape or type", self.wrong),
            )
            if entries
        ]
        if any(entry.partition(" ")[0].endswith("_mask") for entry in self.unexpected):
            return CheckpointError(
                "\n".join([f"{what}: the state dict does not fit the model", *lines]),
                hint="It was pruned by torch.nn.utils.prune: call prune.remove(module, 'weight') "
                "on its layers before it is saved.",
            )
        return CheckpointError(
            "\n".join([f"{what}: the state dict does not fit the model", *lines]),
            hint="Check that --model names the architecture that was trained, and --model-args "
            "its arguments.",
        )


@dataclass(frozen=True)
class StateDictMatch:
    """A state dict against a module.

    Attributes:
        renamed: The state dict, under the module's names where they could be found.
        expected: The module's own.
        shared: The module's names that mean one tensor.
        mismatch: What stands in the way.
        idle: Names that the module has no use for.
    """

    renamed: Renamed
    expected: Mapping[str, Any]
    shared: list[tuple[str, ...]]
    mismatch: Mismatch
    idle: tuple[str, ...]


def load_into(module: Any, state: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """Load a state dict into a module, under the names and with the tensors that it needs.

    Args:
        module: An `nn.Module`, which gets the weights.
        state: Key → tensor, or `StoredTensor`.
        what: File and factory, for messages.

    Returns:
        Notices for the user.

    Raises:
        CheckpointError: The two do not fit; the message lists missing, unexpected and wrongly
            shaped keys.
    """
    fit = fitted(module, state)
    if fit.mismatch.wrong:  # torch would cast integers to floats silently, and stops at shapes only
        raise fit.mismatch.error(what)
    if fit.mismatch:
        return (*fit.renamed.notices, *_converted(module, fit, what))
    useful = {key: value for key, value in fit.renamed.state.items() if key in fit.expected}
    casts = _casts(useful, fit.expected)
    useful, notices = settled(useful, fit.shared)
    for part in in_chunks(useful):
        _load(module, part, what)
    return (*fit.renamed.notices, *notices, *_left_out(fit.idle, len(fit.renamed.state)), *casts)


def fitted(module: Any, state: Mapping[str, Any]) -> StateDictMatch:
    """Compare a state dict with a module, under the names that fit best."""
    expected = module.state_dict()
    if not expected.keys() <= state.keys():
        tie(module)
        expected = module.state_dict()
    shared = shared_names(expected)
    renamed = fit_names(state, expected)
    found = find_mismatch(renamed.state, expected)
    missing = without_tied((k for k in expected if k not in renamed.state), renamed.state, shared)
    extra = [key for key in renamed.state if key not in expected]
    beyond = set(_beyond(extra, expected, _ignored(module)))
    return StateDictMatch(
        renamed,
        expected,
        shared,
        Mismatch(
            tuple(f"{key} {_described(expected[key])}" for key in missing),
            # What is missing may be what is too many, under another name.
            found.unexpected
            if missing
            else tuple(f"{key} {_described(renamed.state[key])}" for key in extra if key in beyond),
            found.wrong,
        ),
        tuple(key for key in extra if key not in beyond),
    )


def find_mismatch(state: Mapping[str, Any], expected: Mapping[str, Any]) -> Mismatch:
    """Compare keys, shapes, and whether values are floating point."""
    wrong = []
    for key in expected:
        ours, theirs = expected[key], state.get(key)
        if theirs is None or not (is_tensor(ours) and is_tensor(theirs)) or _is_lazy(ours):
            continue
        kinds_differ = ours.is_floating_point() != theirs.is_floating_point()
        if tuple(ours.shape) != tuple(theirs.shape) or kinds_differ:
            wrong.append(f"{key}: model {_described(ours)}, file {_described(theirs)}")
    return Mismatch(
        missing=tuple(f"{key} {_described(expected[key])}" for key in expected if key not in state),
        unexpected=tuple(f"{key} {_described(state[key])}" for key in state if key not in expected),
        wrong=tuple(wrong),
    )


def summary(state: Mapping[str, Any]) -> str:
    """How many entries there are, and the first of them with shapes."""
    first = [f"{key} {_described(value)}" for key, value in state.items()]
    return f"{len(state)} entries: {listed(first, 4)}"


def _converted(module: Any, fit: StateDictMatch, what: str) -> tuple[str, ...]:
    """Load what does not fit by name: modules may convert names of their older versions."""
    state = {key: value for part in in_chunks(fit.renamed.state) for key, value in part.items()}
    found = _load(module, state, what)
    missing = without_tied(found.missing_keys, state, fit.shared)
    extra = found.unexpected_keys
    if missing or any(_beyond(extra, fit.expected, _ignored(module))):
        raise fit.mismatch.error(what)
    return (*_left_out(tuple(extra), len(state)), *_casts(state, fit.expected))


def _load(module: Any, state: Mapping[str, Any], what: str) -> Any:
    try:
        return module.load_state_dict(state, strict=False)
    except Exception as error:  # RuntimeError of torch; a module's own hooks raise anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{what}: {lines[-1].strip()}") from error


def _beyond(
    extra: Iterable[str], expected: Iterable[str], ignored: re.Pattern[str] | None
) -> Iterable[str]:
    """Names that differ from the module's in numbers only: layers that it should have had."""
    patterns = {_pattern(key) for key in expected}
    for key in extra:
        if _pattern(key) in patterns and not (ignored and ignored.search(key)):
            yield key


def _pattern(key: str) -> str:
    return re.sub(r"(?<![^.])\d+(?![^.])", "#", key)


def _ignored(module: Any) -> re.Pattern[str] | None:
    """What a network of `transformers` says of itself that its files have too many."""
    patterns = getattr(module, "_keys_to_ignore_on_load_unexpected", None)
    return re.compile("|".join(f"(?:{text})" for text in patterns)) if patterns else None


def _left_out(idle: tuple[str, ...], total: int) -> tuple[str, ...]:
    if not idle:
        return ()
    return (
        f"{len(idle)} of {total} entries of the state dict are of no use to the model and were "
        f"left out: {listed(idle, 4)}",
    )


def _casts(state: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """A notice for each pair of floating-point types between which weights are converted."""
    pairs = {
        (_dtype(state[key]), _dtype(ours))
        for key, ours in expected.items()
        if key in state and is_tensor(ours) and is_tensor(state[key])
    }
    return [
        f"weights stored as {stored} are loaded into a module of {used}"
        for stored, used in sorted(pairs)
        if stored != used and "float" in stored
    ]


def is_tensor(value: object) -> bool:
    """Whether a value is a tensor, here or in a file."""
    # By duck typing, as this module needs no torch; of the type, as lazy ones have no shape yet.
    return hasattr(type(value), "is_floating_point") and hasattr(type(value), "shape")


def _is_lazy(value: object) -> bool:
    return type(value).__name__ in ("UninitializedParameter", "UninitializedBuffer")


def _described(value: object) -> str:
    if not is_tensor(value) or _is_lazy(value):
        return f"({type(value).__name__})"
    shape = ",".join(str(size) for size in value.shape)  # type: ignore[attr-defined]
    return f"{_dtype(value)}[{shape}]"


def _dtype(value: object) -> str:
    return str(getattr(value, "dtype", "")).removeprefix("torch.")


def listed(entries: Iterable[str], shown: int = _SHOWN) -> str:
    """The first entries, and how many more there are."""
    entries = list(entries)
    more = len(entries) - shown
    return ", ".join(entries[:shown]) + (f", and {more} more" if more > 0 else "")
