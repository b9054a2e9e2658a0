"""How failures look: a message, what to do, the documented exit code, and no traceback."""

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from compressor.errors import CompressorError

INTERRUPTED = 130


@contextmanager
def shown(flags: Mapping[str, Any]) -> Iterator[None]:
    """Turn errors into messages on standard error and exit codes; `-v` adds the traceback."""
    verbose = bool(flags.get("verbose"))
    _configure(verbose)
    try:
        yield
    except CompressorError as error:
        logging.getLogger("compressor").debug("traceback", exc_info=True)
        _say(error.message, error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("interrupted: an earlier result is untouched", None)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(0)  # the reader, head for one, has seen enough
    except MemoryError:
        _say("out of memory", "Use a smaller --calib-batch, or a machine with more memory.")
        sys.exit(1)
    except click.ClickException:
        raise
    except Exception as error:
        logging.getLogger("compressor").debug("traceback", exc_info=True)
        what = f"internal error: {type(error).__name__}: {error}"
        _say(what, None if verbose else "Run again with -v for the traceback, and report it.")
        sys.exit(1)


def _say(message: str, hint: str | None) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"  → {hint}", err=True)


def _configure(verbose: bool) -> None:
    """Warnings and log lines of libraries are for `-v`."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.ERROR,
        format="%(name)s: %(message)s",
        stream=sys.stderr,
    )
    if verbose:
        for noisy in ("matplotlib", "PIL", "onnxscript", "onnx_ir"):
            logging.getLogger(noisy).setLevel(logging.INFO)
    else:
        logging.getLogger().setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore")
