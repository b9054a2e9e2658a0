"""Commands in processes of their own, forked from this one, within limits of time and memory."""

import contextlib
import faulthandler
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY = 3 << 30
"""Bytes of address space that a case may take beyond what is loaded."""
OTHERS = (".ses", "torchinductor")
"""What ONNX Runtime and torch leave there."""
_NATIVE = "native.txt"


@dataclass(frozen=True)
class Ended:
    """What became of a case.

    Attributes:
        code: Exit code; negative for a signal; None where it took too long.
        out: Standard output.
        err: Standard error.
        trace: The traceback behind the message; of native code, where Python was.
        wrong: What is wrong with an artifact that was written.
        seconds: It took.
    """

    code: int | None
    out: str
    err: str
    trace: str
    wrong: str | None
    seconds: float


def warm(*, torch: bool) -> None:
    """Load what commands load, so that forked processes need not."""
    import matplotlib.figure  # noqa: F401
    import onnxruntime  # noqa: F401

    import compressor.cli.commands
    import compressor.commands.compare
    import compressor.commands.compress
    import compressor.commands.inspect
    import compressor.commands.lint
    import compressor.report.files  # noqa: F401
    from compressor.capture import onnx_source

    onnx_source._ENDLESS = 5  # loops of cases either end at once or never
    if torch:
        import torch.export


def run(
    folder: Path,
    argv: list[str],
    *,
    limit: float,
    before: Callable[[], None] = lambda: None,
    after: Callable[[int], str | None] = lambda code: None,
    stop: tuple[float, int] | None = None,
    beside: str = "run",
) -> Ended:
    """Run `compress ARGV` in a folder.

    Args:
        folder: The working directory; home, caches and scratch lie beside it.
        argv: The arguments.
        limit: Seconds.
        before: Called in the process before the command begins.
        after: Called in the process when the command has ended; what is wrong with its result.
        beside: Ending of the folder beside, where two run at once.
        stop: Seconds after which the process gets a signal, and which.
    """
    place = folder.with_name(f"{folder.name}.{beside}")
    shutil.rmtree(place, ignore_errors=True)
    for name in ("home", "tmp", "cache"):
        (place / name).mkdir(parents=True)
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        _child(folder, place, argv, before, after)
    if stop is not None:
        time.sleep(stop[0])
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, stop[1])
    code = _wait(process, began + limit)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    told = place / "told.json"
    wrong = json.loads(told.read_text()) if told.exists() else None
    texts = [
        (place / name).read_text(errors="replace") if (place / name).exists() else ""
        for name in ("out", "err", "trace", _NATIVE)
    ]
    left = [path.name for path in (place / "tmp").iterdir() if not path.name.startswith(OTHERS)]
    left += [path.name for path in folder.iterdir() if ".compress-" in path.name]
    if left and wrong is None and code is not None and code >= 0:
        wrong = f"scratch is left: {left[0][:12]}"
    out, err, trace, native = texts
    return Ended(code, out, err, trace + native, wrong, time.monotonic() - began)


def _wait(process: int, until: float) -> int | None:
    pause = 0.002
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(pause * 1.3, 0.05)
    os.kill(process, signal.SIGABRT)  # its stack is told
    time.sleep(0.2)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _child(
    folder: Path,
    beside: Path,
    argv: list[str],
    before: Callable[[], None],
    after: Callable[[int], str | None],
) -> None:
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        home, scratch, cache = (str(beside / name) for name in ("home", "tmp", "cache"))
        os.environ.update(HOME=home, TMPDIR=scratch, XDG_CACHE_HOME=cache, COLUMNS="200")
        tempfile.tempdir = None
        for number, name in ((1, "out"), (2, "err")):
            file = os.open(beside / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="replace", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="replace", closefd=False)
        faulthandler.enable((beside / _NATIVE).open("w"))
        _limit_memory()
        before()
        code = _command(argv, beside)
        sys.stdout.flush()
        sys.stderr.flush()
        wrong = after(code)
        if wrong is not None:
            (beside / "told.json").write_text(json.dumps(wrong))
    except BaseException:
        (beside / "trace").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _command(argv: list[str], beside: Path) -> int:
    from compressor.cli import failures
    from compressor.cli.main import cli

    def trace(verbose: bool) -> None:
        with contextlib.suppress(OSError):  # it is what fails
            (beside / "trace").write_text(traceback.format_exc())

    failures._trace = trace
    sys.argv = ["compress", *argv]
    try:
        cli(argv, prog_name="compress")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _limit_memory() -> None:
    pages: Any = Path("/proc/self/statm").read_text().split()
    most = int(pages[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
