"""Runs a module, a script or code that ends with the process which started it, however that ends.

    python -P -m compressor.system.with_parent PROCESS -m MODULE [ARGUMENT...]
    python -P -m compressor.system.with_parent PROCESS SCRIPT [ARGUMENT...]
    python -P -m compressor.system.with_parent PROCESS -c CODE [ARGUMENT...]

Only Linux kills a process with its parent; elsewhere it ends by itself.
"""

import ctypes
import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence

_PR_SET_PDEATHSIG = 1
"""Of <sys/prctl.h>."""


def main(parent: int, arguments: Sequence[str]) -> None:
    """Run what the arguments name, as the interpreter would."""
    if not ending_with(parent)():
        return
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


def ending_with(parent: int) -> Callable[[], bool]:
    """What a child of a process calls to end with it; False where that has ended already.

    It is made before a fork, as loading libraries waits for locks, which a fork may leave locked.
    """
    if sys.platform != "linux":
        return lambda: True
    prctl = ctypes.CDLL(None).prctl

    def end_with_parent() -> bool:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return os.getppid() == parent  # else it ended before it could be watched

    return end_with_parent


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
