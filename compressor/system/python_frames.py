"""Warnings that point at the user's line, not at one of ours."""

import sys
import warnings
from pathlib import Path

_OWN = tuple(
    str(Path(__file__).resolve().parents[2] / name) for name in ("compressor", "calibration",
                                                                 "exporters")
)  # fmt: skip
_PASSED = (*_OWN, str(Path(warnings.__file__).with_name("contextlib.py")))


def warn_user(text: str, category: type[Warning]) -> None:
    """Warn of the innermost line that is not this tool's."""
    depth = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PASSED):
        frame = frame.f_back
        depth += 1
    warnings.warn(text, category, stacklevel=depth + 1)
