"""Which package builds engines here: `tensorrt` where it has a GPU, else `tensorrt-rtx`, else none.

`tensorrt` times its kernels while it builds, so that it needs the GPU that the engine is for.
`tensorrt-rtx` builds on any machine; its engines are compiled further on the GPU that runs them.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from compressor.errors import TargetError
from compressor.system.processes import run_python
from compressor.system.scratch import scratch

Name = Literal["tensorrt", "tensorrt-rtx"]

PACKAGES: dict[Name, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
INSTALL: dict[Name, str] = {
    "tensorrt": "pip install 'compressor[trt]'",
    "tensorrt-rtx": "pip install 'compressor[trt-rtx]'",
}
LEAST_VERSION = 10
DEVICE_SECONDS = 60.0
PROBE_SECONDS = 300.0


@dataclass(frozen=True)
class Device:
    """The GPU, or why there is none.

    Attributes:
        name: Its name; None where there is none.
        reason: Why there is none; None where there is one.
        capability: Its compute capability, as (9, 0); None where there is none.
    """

    name: str | None = None
    reason: str | None = None
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class ChosenBackend:
    """The package that builds the engine.

    Attributes:
        name: The package; None where only the script is written.
        version: Its version.
        reason: Why none builds.
        why_not_run: Why its engine is not run here; None where it is, and where none is built.
    """

    name: Name | None = None
    version: str | None = None
    reason: str | None = None
    why_not_run: str | None = None


@cache
def device() -> Device:
    """The first GPU of this machine."""
    with scratch() as folder:
        answer = Path(folder) / "answer.json"
        script = Path(__file__).with_name("device.py")
        failure = run_python([str(script), str(answer)], timeout=DEVICE_SECONDS)
        if failure is not None or not answer.is_file():
            return Device(reason=f"asking for a GPU {failure or 'gave no answer'}")
        said = json.loads(answer.read_text(encoding="utf-8"))
    capability = said.get("capability")
    return Device(said.get("name"), said.get("reason"), capability and (*capability,))


@cache
def why_not_run(name: Name) -> str | None:
    """Why engines of a package are not run here; None where a small one ran well."""
    reason = device().reason
    return _why_not_proven(name) if reason is None else reason


def _why_not_proven(name: Name) -> str | None:
    """Build and run one in a process of its own."""
    with scratch() as folder:
        answer = Path(folder) / "answer.json"
        arguments = ["-m", "exporters.trt.probe", name, str(answer)]
        failure = run_python(arguments, timeout=PROBE_SECONDS)
        if failure is not None or not answer.is_file():
            return f"a trial of a small engine {failure or 'gave no answer'}"
        reason: str | None = json.loads(answer.read_text(encoding="utf-8"))["reason"]
    return None if reason is None else f"a small engine was tried and does not run: {reason}"


def choose(asked: str) -> ChosenBackend:
    """The backend for `auto`, `tensorrt`, `tensorrt-rtx` or `script`.

    Raises:
        TargetError: The one that was asked for cannot build here.
    """
    if asked == "script":
        return ChosenBackend(reason="the script alone was asked for (--trt-backend script)")
    if asked != "auto":
        name: Name = "tensorrt" if asked == "tensorrt" else "tensorrt-rtx"
        objection = _why_not_usable(name)
        if objection is not None:
            raise TargetError(
                f"--trt-backend {name} cannot build here: {objection}",
                hint="Take --trt-backend auto, or script to build on the deployment machine.",
            )
        return _chosen(name)
    objections = {name: _why_not_usable(name) for name in PACKAGES}
    for name, objection in objections.items():
        if objection is None:
            return _chosen(name)
    told = "; ".join(f"{name}: {objection}" for name, objection in objections.items())
    return ChosenBackend(reason=f"nothing here builds engines ({told})")


def version_of(name: Name) -> str | None:
    """The installed version; None where it is not installed."""
    if util.find_spec(PACKAGES[name]) is None:
        return None
    try:
        return metadata.version(PACKAGES[name])
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _chosen(name: Name) -> ChosenBackend:
    return ChosenBackend(name, version_of(name), why_not_run=why_not_run(name))


def _why_not_usable(name: Name) -> str | None:
    """Why a package cannot build here; None where it can."""
    version = version_of(name)
    if version is None:
        return f"not installed: {INSTALL[name]}"
    if name == "tensorrt-rtx":
        return None
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < LEAST_VERSION:
        return f"version {version} is too old: 10 or 11 is needed"
    reason = device().reason
    return None if reason is None else f"it builds on the GPU only, and {reason}"
