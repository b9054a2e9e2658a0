"""What made a figure or a file: versions of packages, this package's own code, and the machine."""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

from compressor.system.hardware import host_flags, processor
from compressor.system.processors import available_processors

PACKAGES = ("compressor", "calibration", "exporters")
_HOME = Path(__file__).resolve().parents[2]


def version_of(package: str) -> str:
    """The version that is installed; "none" where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@cache
def own_code() -> str:
    """SHA-256 of this package's files: a version alone does not tell of a changed checkout."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((_HOME / package).rglob("*.py")):
            digest.update(path.relative_to(_HOME).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def made_by(*packages: str) -> Mapping[str, str]:
    """What results depend on of software and processor, as a part of a key.

    Args:
        packages: Beside this one, Python, onnxruntime and onnx_ir.
    """
    return MappingProxyType(
        {
            "code": own_code(),
            "python": platform.python_version(),
            "processor": f"{platform.machine()} {processor()} {' '.join(host_flags())}",
            **{name: version_of(name) for name in ("onnxruntime", "onnx_ir", "numpy", *packages)},
        }
    )


def machine_key(*runtimes: str) -> dict[str, str]:
    """What made a result: code, versions and processors, as a part of a key.

    Args:
        runtimes: Packages that executed models, beside onnxruntime and torch.
    """
    return {
        "cores": str(available_processors()),
        **{f"made by {name}": text for name, text in made_by("torch", *runtimes).items()},
    }
