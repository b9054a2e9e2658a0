"""The package `openvino`: whether it is there, its one Core, and what its CPU can."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGE = "openvino"
EXTRA = "pip install 'compressor[openvino]'"
LEAST = (2026, 0)
"""The oldest version whose names and properties this package was written against."""
DEVICE = "CPU"
_MISSING = re.compile(r"-- No conversion rule found for operations: (.+)")
_NODE = re.compile(r"(?:While validating ONNX node|\[CPU\]) '?<?([\w ()]*(?:: [^>]*)?)>?'?")
_CHATTER = re.compile(
    r"Exception from |Check '|FrontEnd API failed|Model wasn't fully|Summary:|While validating"
    r"|To facilitate|-- "
)
"""Lines that say where in its sources it failed, or nothing."""


def why_not_available() -> str | None:
    """Why nothing can be built or run; None where it can."""
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        return f"OpenVINO is not installed: {EXTRA}"
    if _numbers(found) < LEAST:
        wanted = ".".join(map(str, LEAST))
        return f"openvino {found} is too old, {wanted} or later is needed: {EXTRA} --upgrade"
    try:
        devices = core().available_devices
    except Exception as error:  # a broken installation raises as it likes
        return f"openvino {found} does not load: {reason_of(error)}"
    if DEVICE not in devices:
        return f"openvino {found} has no CPU plugin here, only {', '.join(devices) or 'nothing'}"
    return None


@cache
def core() -> Any:
    """The runtime's Core: plugins are loaded once."""
    import openvino  # noqa: PLC0415 - heavy: only jobs that execute pay for it

    return openvino.Core()


@cache
def capabilities() -> frozenset[str]:
    """What the CPU computes in natively: BF16, FP16, INT8 and the like."""
    return frozenset(core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"))


@cache
def own_hint() -> str:
    """What the plugin computes float work in here, unless it is told."""
    return hint_of(core().get_property(DEVICE, "INFERENCE_PRECISION_HINT"))


def hint_of(kind: Any) -> str:
    """An element type of the runtime as its hints are written: f32, bf16, f16."""
    return str(kind.get_type_name())


def reason_of(error: Exception) -> str:
    """What the runtime says in a line, without the places in its sources that it was thrown at."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing = [found[1] for line in lines if (found := _MISSING.match(line))]
    if missing:
        return f"it has no operator {missing[0]}"
    told = [line for line in lines if not _CHATTER.match(line)]
    where = next((found[1] for line in lines if (found := _NODE.search(line))), None)
    words = (told or lines or [type(error).__name__])[-1].rstrip(":")
    return words if where is None else f"{where}: {words}"


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)
