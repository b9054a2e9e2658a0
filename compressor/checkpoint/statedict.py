"""State dicts: found in a checkpoint, freed of wrappers' prefixes, loaded into a module.

Training wrappers leave prefixes on every key: `module.` (DataParallel), `_orig_mod.`
(torch.compile), `model.` and `net.` (Lightning and many scripts), also stacked. They are stripped
only where that makes more keys fit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compressor.errors import CheckpointError

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which checkpoints keep the state dict beside epoch, optimizer and so on."""

PREFIXES = ("module.", "model.", "net.", "_orig_mod.")

_SHOWN = 8
_STACKED = 4


def find_state_dict(loaded: object, where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The state dict in what a checkpoint holds: the whole of it, or under one of `WRAPPERS`.

    Entries that are not tensors are left out, but for modules' own extra state.

    Args:
        loaded: What the file holds.
        where: The file's path, for messages.

    Returns:
        The state dict, and notices for the user.

    Raises:
        CheckpointError: There is none.
    """
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"{where} holds a {type(loaded).__name__}; expected a state dict",
            hint="Save model.state_dict() with torch.save.",
        )
    for key in WRAPPERS:
        inner = loaded.get(key)
        if isinstance(inner, Mapping) and _tensors(inner):
            return _only_state(inner), ()
    if not _tensors(loaded):
        raise _no_state(loaded, where)
    state = _only_state(loaded)
    dropped = [str(key) for key in loaded if key not in state]
    notice = f"not part of the state dict and left out: {_listed(dropped)}"
    return state, (notice,) if dropped else ()


def load_into(module: Any, state: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """Load a state dict into a module, without its prefixes where they do not fit.

    Args:
        module: An `nn.Module`, which gets the weights.
        state: Key → tensor.
        what: File and factory, for messages.

    Returns:
        Notices for the user.

    Raises:
        CheckpointError: The two do not fit; the message lists missing, unexpected and wrongly
            shaped keys.
    """
    expected = module.state_dict()
    fitting, stripped = strip_prefixes(state, expected)
    mismatch = find_mismatch(fitting, expected)
    if mismatch.wrong:  # torch would cast integers to floats silently, and stops at shapes only
        raise mismatch.error(what)
    try:
        module.load_state_dict(fitting, strict=True)
    except RuntimeError as error:
        # Asked only now: modules may convert keys of their older versions while loading.
        if mismatch:
            raise mismatch.error(what) from error
        raise CheckpointError(f"{what}: {str(error).splitlines()[-1].strip()}") from error
    notices = [f"prefix {prefix!r} stripped from the state dict's keys" for prefix in stripped]
    return (*notices, *_casts(fitting, expected))


def strip_prefixes(
    state: Mapping[str, Any], expected: Iterable[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The variant of a state dict, without some prefixes, that has most keys in common.

    Of equals the one with the fewest prefixes removed wins, so that nothing is stripped without
    gain.

    Returns:
        The state dict and the prefixes that were removed, outermost first.
    """
    wanted = set(expected)
    best, best_stripped = dict(state), tuple[str, ...]()
    generation = [(best, best_stripped)]
    most = len(wanted & best.keys())
    for _ in range(_STACKED):
        generation = [
            (shorter, (*stripped, prefix))
            for variant, stripped in generation
            for prefix in PREFIXES
            if (shorter := _without(variant, prefix)) is not None
        ]
        for variant, stripped in generation:
            common = len(wanted & variant.keys())
            if common > most:
                most, best, best_stripped = common, variant, stripped
    return best, best_stripped


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
            f"  {name} ({len(entries)}): {_listed(entries)}"
            for name, entries in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("wrong shape or type", self.wrong),
            )
            if entries
        ]
        return CheckpointError(
            "\n".join([f"{what}: the state dict does not fit the model", *lines]),
            hint="Check that --model names the architecture that was trained, and --model-args "
            "its arguments.",
        )


def find_mismatch(state: Mapping[str, Any], expected: Mapping[str, Any]) -> Mismatch:
    """Compare keys, shapes, and whether values are floating point."""
    wrong = []
    for key in expected:
        ours, theirs = expected[key], state.get(key)
        if theirs is None or not (_is_tensor(ours) and _is_tensor(theirs)) or _is_lazy(ours):
            continue
        kinds_differ = ours.is_floating_point() != theirs.is_floating_point()
        if ours.shape != theirs.shape or kinds_differ:
            wrong.append(f"{key}: model {_described(ours)}, file {_described(theirs)}")
    return Mismatch(
        missing=tuple(f"{key} {_described(expected[key])}" for key in expected if key not in state),
        unexpected=tuple(f"{key} {_described(state[key])}" for key in state if key not in expected),
        wrong=tuple(wrong),
    )


def summary(state: Mapping[str, Any]) -> str:
    """How many entries there are, and the first of them with shapes."""
    first = [f"{key} {_described(value)}" for key, value in state.items()]
    return f"{len(state)} entries: {_listed(first, 4)}"


def _without(state: Mapping[str, Any], prefix: str) -> dict[str, Any] | None:
    """All keys without the prefix; None if no key has it or two keys would become one."""
    if not any(key.startswith(prefix) for key in state):
        return None
    renamed = {key.removeprefix(prefix): value for key, value in state.items()}
    return renamed if len(renamed) == len(state) else None


def _only_state(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in mapping.items()
        if isinstance(key, str) and (_is_tensor(value) or key.endswith("_extra_state"))
    }


def _tensors(mapping: Mapping[Any, Any]) -> bool:
    return any(isinstance(key, str) and _is_tensor(value) for key, value in mapping.items())


def _no_state(loaded: Mapping[Any, Any], where: str) -> CheckpointError:
    elsewhere = [
        str(key) for key, value in loaded.items() if isinstance(value, Mapping) and _tensors(value)
    ]
    hint = f"Expected it under {', '.join(map(repr, WRAPPERS))}, or at the top."
    if elsewhere:
        hint = f"Save checkpoint[{elsewhere[0]!r}] alone; {hint[0].lower()}{hint[1:]}"
    keys = _listed([repr(key) for key in loaded]) or "none"
    return CheckpointError(f"{where} holds no state dict; its keys: {keys}", hint=hint)


def _casts(state: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """A notice for each pair of floating-point types between which weights are converted."""
    pairs = {
        (_dtype(state[key]), _dtype(ours))
        for key, ours in expected.items()
        if key in state and _is_tensor(ours) and _is_tensor(state[key])
    }
    return [
        f"weights stored as {stored} are loaded into a module of {used}"
        for stored, used in sorted(pairs)
        if stored != used and "float" in stored
    ]


def _is_tensor(value: object) -> bool:
    # By duck typing, as this module needs no torch; of the type, as lazy ones have no shape yet.
    return hasattr(type(value), "is_floating_point") and hasattr(type(value), "shape")


def _is_lazy(value: object) -> bool:
    return type(value).__name__ in ("UninitializedParameter", "UninitializedBuffer")


def _described(value: object) -> str:
    if not _is_tensor(value) or _is_lazy(value):
        return f"({type(value).__name__})"
    shape = ",".join(str(size) for size in value.shape)  # type: ignore[attr-defined]
    return f"{_dtype(value)}[{shape}]"


def _dtype(value: object) -> str:
    return str(getattr(value, "dtype", "")).removeprefix("torch.")


def _listed(entries: Iterable[str], shown: int = _SHOWN) -> str:
    entries = list(entries)
    more = len(entries) - shown
    return ", ".join(entries[:shown]) + (f", and {more} more" if more > 0 else "")
