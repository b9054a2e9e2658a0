"""A user's own `calibration.py` and our package of that name, in one process.

Each case runs as its author would run it: a script in a folder, in a fresh interpreter.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
THEIRS = "GREETING = 'theirs'\ndef batches():\n    return [1, 2]\n"
CLAIM = "from compressor.system.siblings import claim; claim('calibration')\n"


def run_script(folder: Path, text: str) -> str:
    script = folder / "train.py"
    script.write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "calibration.py").write_text(THEIRS)
    return tmp_path


def test_the_trap_is_real(folder: Path) -> None:
    with pytest.raises(AssertionError, match="'calibration' is not a package"):
        run_script(folder, "import calibration.scheme")


def test_ours_first_then_theirs(folder: Path) -> None:
    text = CLAIM + "from calibration import batches, GREETING\nprint(GREETING, batches())"
    assert run_script(folder, text) == "theirs [1, 2]"


def test_theirs_first_then_ours(folder: Path) -> None:
    text = f"import calibration\n{CLAIM}from calibration.scheme import Scheme\n"
    text += "print(Scheme.__module__, calibration.GREETING)"
    assert run_script(folder, text) == "calibration.scheme theirs"


def test_theirs_is_one_module_however_it_is_reached(folder: Path) -> None:
    text = f"import calibration as before\n{CLAIM}import calibration as after\n"
    text += "before.state = 7\nprint(after is before, after.state)"
    assert run_script(folder, text) == "False 7"


def test_theirs_imports_compressor_while_it_is_being_imported(folder: Path) -> None:
    (folder / "calibration.py").write_text(CLAIM + THEIRS)
    text = "import calibration\nimport calibration.scheme\nprint(calibration.batches())"
    assert run_script(folder, text) == "[1, 2]"


def test_submodules_of_ours_do_not_run_their_code(folder: Path) -> None:
    (folder / "calibration.py").write_text("raise SystemExit('ran')")
    text = CLAIM + "from calibration import scheme\nprint(scheme.__name__)"
    assert run_script(folder, text) == "calibration.scheme"


def test_a_data_folder_of_that_name_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "calibration").mkdir()
    text = CLAIM + "import calibration\nprint(hasattr(calibration, 'batches'))"
    assert run_script(tmp_path, text) == "False"


def test_without_a_module_of_theirs_the_error_is_the_usual_one(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="cannot import name 'batches' from 'calibration'"):
        run_script(tmp_path, CLAIM + "from calibration import batches")
