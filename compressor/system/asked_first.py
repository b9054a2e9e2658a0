"""Work that may kill its process, done in another one first.

Runtimes and readers are native code, and a hostile file can make them divide by zero, recurse
without end, or take all memory. A process that was forked for it does the same work and tells
nothing but that it survived: forking costs milliseconds, as everything is loaded already.
"""

import faulthandler
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress

import psutil

from compressor.system.with_parent import ending_with

STILL = 20.0
"""Seconds in which a process that works uses the processor for a moment at least."""
_PAUSE = (0.001, 0.05)
"""Seconds between two looks at the process, at first and at most."""


def why_not_survived(work: Callable[[], object], seconds: int | None = None) -> str | None:
    """How a process of its own died of some work, in words; None where it did not.

    What the work raises is no reason: it is raised again where the work is done for good. Only
    Linux is asked, as threads and frameworks of other systems do not outlive a fork.

    Args:
        work: What this process is about to do. It must leave nothing behind, as it is done twice.
        seconds: Of the processor that it may take; None for as many as it wants.
    """
    if sys.platform != "linux":
        return None
    ends_with_this = ending_with(os.getpid())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of threads: of ours none holds a lock there
        process = os.fork()
    if process == 0:
        _work(work, seconds, ends_with_this)
    try:
        code = _ended(process)
    except BaseException:
        _end(process)
        raise
    if code == -signal.SIGXCPU:
        return f"takes more than {seconds} s"
    if code == -signal.SIGKILL:
        return "is killed by the system, for memory most likely"
    return f"crashes ({signal.Signals(-code).name})" if code < 0 else None


def _work(
    work: Callable[[], object], seconds: int | None, ends_with_parent: Callable[[], bool]
) -> None:
    """In the new process: no word, no core, no end but a hard one."""
    import resource  # noqa: PLC0415 - does not exist on Windows

    try:
        faulthandler.disable()
        silent = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silent, stream)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if seconds is not None:
            most = int(time.process_time()) + seconds
            # At the second of the two it would be killed as for memory.
            resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))
        if ends_with_parent():
            work()
    except BaseException:
        pass  # told by whoever does the work for good
    finally:
        os._exit(0)


def _ended(process: int) -> int:
    """The code that a process ends with; 0 where it does nothing any more, and was ended."""
    pause, most = _PAUSE
    watched, used, since = psutil.Process(process), 0.0, time.monotonic()
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(1.3 * pause, most)
        if time.monotonic() - since < STILL:
            continue
        now = sum(watched.cpu_times()[:2])
        if now <= used:  # it waits for a lock that a thread held which the fork did not take along
            _end(process)
            return 0
        used, since = now, time.monotonic()


def _end(process: int) -> None:
    with suppress(ProcessLookupError, ChildProcessError):  # it has ended by itself
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
