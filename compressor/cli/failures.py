"""How failures look: a message, what to do, the documented exit code, and no traceback."""

import errno
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from compressor.errors import CompressorError, UsageError

INTERRUPTED = 130
LONGEST = 1200
"""Characters of a line of a message: names out of files may be as long as they like."""
_REMEDIES = {
    errno.ENOSPC: "Make room on that disk; TMPDIR says where what is needed for a while lies.",
    errno.EDQUOT: "Make room in your quota; TMPDIR says where what is needed for a while lies.",
    errno.EROFS: "Choose another folder with -o; TMPDIR says where scratch lies.",
    errno.EACCES: "Choose a folder that you may write with -o; TMPDIR says where scratch lies.",
    errno.EMFILE: "Allow more open files: ulimit -n.",
    errno.ENOENT: "It was there before, or TMPDIR names no folder.",
}
"""What to do about errors of the system that nothing here can foresee."""
NOISY = ("matplotlib", "PIL", "onnxscript", "onnx_ir")


@contextmanager
def shown(flags: Mapping[str, Any]) -> Iterator[None]:
    """Turn errors into messages on standard error and exit codes; `-v` adds the traceback.

    `--json` prints and `--quiet` does not: asking for both is a mistake, too.
    """
    verbose = bool(flags.get("verbose"))
    try:
        with _third_parties(verbose):
            if flags.get("as_json") and flags.get("quiet"):
                raise UsageError("--json and --quiet contradict each other", hint="Choose one.")
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
        _trace(verbose)
        _say("out of memory", "Use a smaller --calib-batch, or a machine with more memory.")
        sys.exit(UsageError.exit_code)
    except click.ClickException:
        raise
    except OSError as error:
        _trace(verbose)
        _say(f"{_place(error)}{error.strerror or error}", _REMEDIES.get(error.errno or 0))
        sys.exit(UsageError.exit_code)
    except Exception as error:
        _trace(verbose)
        what = f"internal error: {type(error).__name__}: {error}"
        _say(what, None if verbose else "Run again with -v for the traceback, and report it.")
        sys.exit(1)


def _place(error: OSError) -> str:
    """The file that an error of the system is about, where it says so."""
    return "" if error.filename is None else f"{error.filename}: "


def told(error: CompressorError) -> None:
    """Show an error of one of several runs."""
    _say(error.message, error.hint)


def _trace(verbose: bool) -> None:
    if verbose:
        click.echo(traceback.format_exc(), err=True)


def _say(message: str, hint: str | None) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {_harmless(message)}", err=True)
    if hint:
        click.echo(f"  → {_harmless(hint)}", err=True)


def _harmless(text: str) -> str:
    """Text that a terminal only shows: names in it come out of strangers' files."""
    from compressor.report.spoken import harmless  # noqa: PLC0415 - only once something failed

    return shortened(harmless(text))


def shortened(text: str) -> str:
    """Text of which each line is short enough to be read; its middle goes."""
    half = LONGEST // 2
    lines = text.split("\n")
    return "\n".join(
        line if len(line) <= LONGEST else f"{line[:half]} … {line[-half:]}" for line in lines
    )


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
