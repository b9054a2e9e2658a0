"""Keeps third parties' warnings and log lines from reaching the user.

`onnx_ir` and `onnxscript` report through `logging`, numpy through `warnings`, and both end up on
the terminal of a program that configured neither.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_LOGGERS = ("onnx_ir", "onnxscript")


@contextmanager
def silenced() -> Iterator[None]:
    """Hold back warnings and log lines below ERROR while the body runs."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    loud = [(logger, logger.level) for logger in loggers if logger.level < logging.ERROR]
    for logger, _ in loud:  # not the others: a change of level goes through every logger there is
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in loud:
            logger.setLevel(level)
