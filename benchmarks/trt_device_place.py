"""The machine that `trt_device.py` runs on: its GPU, the package that builds, its clocks."""

import hashlib
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from compressor.errors import TargetError
from compressor.system.versions import own_code
from exporters.trt.backends import PACKAGES, ChosenBackend, Device, choose, device, why_not_run

PACKAGE = "tensorrt>=10"
BUILD_ONLY = "--build-only builds without a GPU what tensorrt-rtx builds."


@dataclass(frozen=True)
class Place:
    """Where engines are built and run.

    Attributes:
        gpu: The GPU; without one engines are only built.
        chosen: What builds.
        driver: Version of NVIDIA's driver.
    """

    gpu: Device
    chosen: ChosenBackend
    driver: str

    @property
    def made_by(self) -> dict[str, str]:
        """What figures depend on: those of another GPU or other versions are not gone on with."""
        return {
            "gpu": self.gpu.name or "none",
            "capability": ".".join(map(str, self.gpu.capability or ())),
            "driver": self.driver,
            "backend": f"{self.chosen.name} {self.chosen.version}",
            "code": own_code(),
        }

    @property
    def cache_name(self) -> str:
        """The file of kernel timings, which are of one GPU and one version."""
        made = self.made_by
        key = hashlib.sha256(repr([made["gpu"], made["driver"], made["backend"]]).encode())
        return f"timing-{key.hexdigest()[:12]}.cache"

    @property
    def words(self) -> str:
        """In a line."""
        made = self.made_by
        if self.gpu.name is None:
            return f"{made['backend']}, no GPU: {self.gpu.reason}"
        return (
            f"{made['gpu']} (compute capability {made['capability']}), driver {made['driver']}, "
            f"{made['backend']}"
        )


def find_place(*, install: bool, build_only: bool) -> Place:
    """The GPU, and a package whose engines run on it; what is installed is taken as it is.

    Args:
        install: Install `tensorrt` into this interpreter's environment where no package is there
            whose engines run.
        build_only: Take what builds without a GPU.

    Raises:
        TargetError: There is none, with the reason of each.
    """
    gpu = device()
    if build_only:
        chosen = choose("tensorrt-rtx")
        why = gpu.reason or "--build-only was asked for"
        return Place(gpu, ChosenBackend(chosen.name, chosen.version, why_not_run=why), driver())
    if gpu.name is None:
        raise TargetError(f"no engine can run here: {gpu.reason}", hint=BUILD_ONLY)
    found = running()
    if isinstance(found, str) and install:
        install_package()
        found = running()
    if isinstance(found, str):
        raise TargetError(
            f"no engine runs on {gpu.name}: {found}",
            hint=f"Run {sys.executable} -m pip install '{PACKAGE}', or pass --install.",
        )
    return Place(gpu, found, driver())


def running() -> ChosenBackend | str:
    """The first package with which a small engine ran; else what speaks against each."""
    against = []
    for name in PACKAGES:
        try:
            chosen = choose(name)
        except TargetError as error:
            against.append(error.message)
            continue
        if chosen.why_not_run is None:
            return chosen
        against.append(f"{name} {chosen.version}: {chosen.why_not_run}")
    return "; ".join(against)


def install_package() -> None:
    """Let pip install `tensorrt` for this interpreter.

    Raises:
        TargetError: It cannot; its last line says why.
    """
    print(f"pip installs {PACKAGE} into {sys.prefix}: minutes", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--retries", "1", "--timeout", "20", PACKAGE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it gave no reason"]
        raise TargetError(
            f"pip cannot install {PACKAGE}: {lines[-1]}",
            hint=f"Install it into {sys.prefix} by other means, from wheels for instance; what is "
            "installed is taken as it is.",
        )
    importlib.invalidate_caches()
    why_not_run.cache_clear()


def smi(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `nvidia-smi` on the GPU that CUDA calls the first."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip() or "0"
    try:
        done = subprocess.run(
            ["nvidia-smi", "-i", first, *arguments],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return 1, f"nvidia-smi cannot be asked: {error}"
    return done.returncode, (done.stdout.strip() or done.stderr.strip())


def asked_of_smi(field: str) -> str:
    """One field of `--query-gpu`; "unknown" where it is not told."""
    code, said = smi(f"--query-gpu={field}", "--format=csv,noheader,nounits")
    return said.splitlines()[0].strip() if code == 0 and said else "unknown"


def driver() -> str:
    """The driver's version."""
    return asked_of_smi("driver_version")


@contextmanager
def clocks_locked(asked: bool) -> Iterator[str]:
    """Lock the clock of the multiprocessors while rows are timed, where that was asked for.

    It is a setting of the machine, which others may use: nobody's is changed unasked, and it is
    given back at the end. Without it the clock right after each row is kept with the row.

    Yields:
        What was done, for the table.
    """
    if not asked:
        yield "clocks are not locked (--lock-clocks)"
        return
    wanted = asked_of_smi("clocks.default_applications.graphics")
    wanted = wanted if wanted.isdecimal() else asked_of_smi("clocks.max.sm")
    code, said = smi(f"--lock-gpu-clocks={wanted},{wanted}")
    if code != 0:
        yield f"clocks are not locked: {said.splitlines()[-1] if said else 'nvidia-smi refuses'}"
        return
    try:
        yield f"clocks are locked at {wanted} MHz"
    finally:
        smi("--reset-gpu-clocks")
