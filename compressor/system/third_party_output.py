"""Chatter of third parties: their prints, warnings and log lines become DEBUG lines of ours.

Exporters print progress to stdout, warn by the dozen, and log through handlers of their own.
None of it may reach the user, and none of it should be lost: `-v` shows it.
"""

import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout

_STDOUT = 1
_TALKERS = ("torch", "onnx", "onnx_ir", "onnxscript", "transformers")


@contextmanager
def relayed(logger: logging.Logger) -> Iterator[None]:
    """Send everything that is printed, warned or logged by third parties to `logger` at DEBUG."""
    stream = _Lines(logger)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(stream))
        stack.enter_context(redirect_stderr(stream))
        stack.enter_context(_handlers_replaced(_Forward(logger)))
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("default")
        try:
            yield
        finally:
            stream.end()
            for warning in caught:
                logger.debug("%s: %s", warning.category.__name__, warning.message)


@contextmanager
def relayed_output(logger: logging.Logger) -> Iterator[None]:
    """Send what compiled code writes to the process's standard output to `logger` at DEBUG.

    `sys.stdout` is not in its way, and must not be written to in the body: see `relayed`.
    """
    sys.stdout.flush()
    with tempfile.TemporaryFile() as aside:
        kept = os.dup(_STDOUT)
        os.dup2(aside.fileno(), _STDOUT)
        try:
            yield
        finally:
            os.dup2(kept, _STDOUT)
            os.close(kept)
            aside.seek(0)
            stream = _Lines(logger)
            stream.write(aside.read().decode("utf-8", "replace"))
            stream.end()


class _Forward(logging.Handler):
    """Passes a record on as a DEBUG line, with its source's name in front."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.debug("%s: %s", record.name, record.getMessage())


class _Lines(io.TextIOBase):
    """A text stream whose lines are log lines."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._logger.debug("%s", line)
        return len(text)

    def end(self) -> None:
        self.write("\n")


@contextmanager
def _handlers_replaced(handler: logging.Handler) -> Iterator[None]:
    # Their handlers hold the stderr of the moment they were made, which no redirection reaches.
    loggers = {name: logging.getLogger(name) for name in _TALKERS}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.handlers and _talks(name):
            loggers[name] = logger
    kept = [(logger, logger.handlers[:], logger.propagate) for logger in loggers.values()]
    for name, logger in loggers.items():
        logger.handlers = [handler] if name in _TALKERS else []
        logger.propagate = name not in _TALKERS
    try:
        yield
    finally:
        for logger, handlers, propagate in kept:
            logger.handlers = handlers
            logger.propagate = propagate


def _talks(name: str) -> bool:
    return name.partition(".")[0] in _TALKERS
