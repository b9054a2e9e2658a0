import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from compressor.system.processes import Cause, Failure, run_python


def test_a_child_that_ends_well_says_nothing():
    assert run_python(["-c", "import compressor"], timeout=60) is None


@pytest.mark.parametrize(
    ("code", "cause", "words"),
    [
        ("raise SystemExit(3)", Cause.EXIT_CODE, "failed with code 3: it said nothing"),
        ("raise ValueError('no')", Cause.EXIT_CODE, "failed with code 1: ValueError: no"),
        ("import os; os.kill(os.getpid(), 9)", Cause.SIGNAL, "was ended by signal 9"),
    ],
)
def test_what_became_of_a_child_is_told(code: str, cause: Cause, words: str):
    failure = run_python(["-c", code], timeout=60)
    assert failure is not None
    assert (failure.cause, str(failure)) == (cause, words)


def test_a_child_is_ended_at_its_limit():
    failure = run_python(["-c", "import time; time.sleep(60)"], timeout=0.3)
    assert failure == Failure(Cause.OUT_OF_TIME, "took more than 0.3 s")


def test_the_working_directory_is_not_imported_from(tmp_path: Path, monkeypatch):
    (tmp_path / "onlyhere.py").touch()
    monkeypatch.chdir(tmp_path)
    assert "onlyhere" in str(run_python(["-c", "import onlyhere"], timeout=60))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path):
    child = f"import os, time; open({str(tmp_path / 'child')!r}, 'w').write(str(os.getpid()));"
    child += "time.sleep(60)"
    parent = "from compressor.system.processes import run_python\n"
    parent += f"run_python(['-c', {child!r}], timeout=60)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", parent], env=environment) as process:
        while not (told := tmp_path / "child").exists() or not told.read_text():
            time.sleep(0.02)
        number = int(told.read_text())
        process.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        child_process = psutil.Process(number)
        for _ in range(500):
            if child_process.status() == psutil.STATUS_ZOMBIE:
                return
            time.sleep(0.02)
        raise AssertionError("the child goes on")
