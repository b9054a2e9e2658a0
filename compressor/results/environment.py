"""Where figures were measured: machine, flags, versions."""

import platform
from importlib.metadata import PackageNotFoundError, version

from compressor.results.report import Environment
from compressor.system.hardware import host_flags, processor
from compressor.system.processors import available_processors

PACKAGES = ("compressor", "onnxruntime", "onnx", "onnx_ir", "onnxscript", "numpy", "scipy", "torch")


def environment(*runtimes: str) -> Environment:
    """Describe this machine; packages that are not installed are left out.

    Args:
        runtimes: Packages that executed models, beside those that every run uses.
    """
    names = dict.fromkeys((*PACKAGES, *runtimes))
    return Environment(
        platform=platform.platform(terse=True),
        processor=processor(),
        cpu_flags=host_flags(),
        cores=available_processors(),
        python=platform.python_version(),
        packages={name: found for name in names if (found := _version(name))},
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
