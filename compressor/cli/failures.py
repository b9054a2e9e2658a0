"""How failures look: a message, what to do, the documented exit code, and no traceback."""

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from compressor.errors import CompressorError

INTERRUPTED = 130
NOISY = ("matplotlib", "PIL", "onnxscript", "onnx_ir")


@contextmanager
def shown(flags: Mapping[str, Any]) -> Iterator[None]:
    """Turn errors into messages on standard error and exit codes; `-v` adds the traceback."""
    verbose = bool(flags.get("verbose"))
    try:
        with _third_parties(verbose):
            yield
    except CompressorError as error:
        _trace(verbose)
        _say(error.message, error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stop:
        _say(str(stop) or "interrupted: an earlier result is untouched", None)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(0)  # the reader, head for one, has seen enough
    except MemoryError:
        _say("out of memory", "Use a smaller --calib-batch, or a machine with more memory.")
        sys.exit(1)
    except click.ClickException:
        raise
    except Exception as error:
        _trace(verbose)
        what = f"internal error: {type(error).__name__}: {error}"
        _say(what, None if verbose else "Run again with -v for the traceback, and report it.")
        sys.exit(1)


def told(error: CompressorError) -> None:
    """Show an error of one of several runs."""
    _say(error.message, error.hint)


def _trace(verbose: bool) -> None:
    if verbose:
        click.echo(traceback.format_exc(), err=True)


def _say(message: str, hint: str | None) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"  → {hint}", err=True)


@contextmanager
def _third_parties(verbose: bool) -> Iterator[None]:
    """Their warnings and log lines are for `-v`."""
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    levels = {root: root.level}
    root.setLevel(logging.DEBUG if verbose else logging.CRITICAL)
    for name in NOISY:
        levels[logging.getLogger(name)] = logging.getLogger(name).level
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.CRITICAL)
    root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default" if verbose else "ignore")
            yield
    finally:
        root.removeHandler(handler)
        for logger, level in levels.items():
            logger.setLevel(level)
