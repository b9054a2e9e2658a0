"""Python in a process of its own: what native code does there, this process survives."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_python(arguments: Sequence[str], *, timeout: float) -> str | None:
    """Run this interpreter with what the caller can import, and without its working directory.

    Args:
        arguments: What follows the interpreter: `-m` and a module, or a script, and its arguments.
        timeout: Seconds after which the process is ended.

    Returns:
        None when it ended well; else what became of it, to follow "the process".
    """
    # -P: the working directory may hold a user's own calibration.py, which is not ours.
    command = [sys.executable, "-P", *arguments]
    try:
        done = subprocess.run(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"took more than {timeout:g} s"
    except OSError as error:
        return f"did not start: {error}"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"was ended by signal {-done.returncode}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines else "it said nothing"
    return f"failed with code {done.returncode}: {said[:300]}"


def _environment() -> dict[str, str]:
    """The child finds every module where this process finds it, in the same order."""
    places = [entry or str(Path.cwd()) for entry in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
