"""A case of each kind that is quick, and more of graphs; `make fuzz` runs thousands, of all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def fuzzed(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: it forks, which one with threads should not."""
    found = os.pathsep.join([str(TESTS), str(TESTS.parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", *words],
        env={**os.environ, "PYTHONPATH": found, "OMP_NUM_THREADS": "1"},
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is right, which the first test makes."""
    return tmp_path_factory.mktemp("bases") / "kept"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it forks, and limits memory as Linux does")
def test_what_somebody_broke_is_compressed_or_refused(tmp_path: Path, bases: Path) -> None:
    words = ("--cheap", "--cases", "28", "--seed", "3", "--bases", str(bases))
    done = fuzzed(tmp_path, "fuzz", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 kinds of faults" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="as above")
def test_an_earlier_result_outlives_writes_that_fail_and_signals(
    tmp_path: Path, bases: Path
) -> None:
    words = ("--cheap", "--writes", "61", "--kills", "4", "--bases", str(bases))
    done = fuzzed(tmp_path, "fuzz.faults", *words)
    assert done.returncode == 0, done.stdout + done.stderr
