"""Objects named on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from compressor.errors import CheckpointError, UsageError
from compressor.system.userfile import is_object_spec, load_object, user_errors


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_files_and_their_neighbours(here):
    (here / "helper_of_user.py").write_text("VALUE = 7\n")
    (here / "later_of_user.py").write_text("VALUE = 8\n")
    (here / "mine.py").write_text(
        "from helper_of_user import VALUE\n"
        "class Box:\n    inner = VALUE\n"
        "def later():\n    from later_of_user import VALUE\n    return VALUE\n"
    )
    assert load_object("mine.py:VALUE", "thing") == 7
    assert load_object(f"{here}/mine.py:Box.inner", "thing") == 7
    assert load_object("mine.py:later", "thing")() == 8
    assert sys.path[0] != str(here) and sys.path[-1] == str(here)


def test_modules_in_the_working_directory_and_installed(here):
    (here / "package_of_user").mkdir()
    (here / "package_of_user" / "part.py").write_text("def make(): return 3\n")
    assert load_object("package_of_user.part:make", "factory")() == 3
    assert load_object("os.path:join", "function")("a", "b") == str(Path("a/b"))


def test_a_file_runs_once_until_it_changes(here):
    (here / "once.py").write_text("STATE = []\n")
    first = load_object("once.py:STATE", "thing")
    assert load_object("once.py:STATE", "thing") is first
    (here / "once.py").write_text("STATE = [1]\n")
    assert load_object("once.py:STATE", "thing") == [1]


def test_a_users_calibration_file_hides_nothing(here):
    """In a fresh process, so that nothing has been imported before."""
    (here / "calibration.py").write_text("import compressor\ndef batches(): return 5\n")
    code = (
        "from compressor.system.userfile import load_object\n"
        "assert load_object('calibration.py:batches', 'data')() == 5\n"
        "import calibration.preprocess, exporters\n"
        "assert 'torch' not in __import__('sys').modules\n"
    )
    root = Path(__file__).parents[3]
    path = f"import sys; sys.path[:0] = [{str(root)!r}]\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", path + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(UsageError) as error:
        load_object("calibration:batches", "data")
    assert error.value.hint == "For the file in this folder write calibration.py:batches"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine.py", "expected file.py:name or package.module:name, found 'mine.py'"),
        ("mine.py:", "expected file.py:name"),
        ("mine.py:1x", "expected file.py:name"),
        ("mien.py:f", "there is no file mien.py\n.*Did you mean mine.py"),
        ("mine.py:batchs", "mine.py has no 'batchs'\n.*Did you mean batches"),
        ("no_such_package.sub:f", "there is no module 'no_such_package'"),
        ("a b:f", "'a b' is neither a .py file nor the name of a module"),
        ("broken.py:f", r"broken.py:2: SyntaxError: "),
        ("missing.py:f", r"missing.py:1: ModuleNotFoundError: .*Install 'nothing_of_it' for "),
        ("misspelt.py:f", r"misspelt.py:1: ImportError: .*Did you mean OrderedDict"),
        ("relative.py:f", r"relative.py:1: ImportError: .*package.module:name"),
        ("missing:f", r"missing.py:1: ModuleNotFoundError"),
        ("leaving.py:f", r"leaving.py:2: SystemExit: 3"),
    ],
)
def test_failures_name_the_place(here, spec, message):
    (here / "mine.py").write_text("def batches(): ...\n")
    (here / "broken.py").write_text("x = 1\ndef f(:\n")
    (here / "missing.py").write_text("import nothing_of_it\n")
    (here / "misspelt.py").write_text("from collections import OrderdDict\n")
    (here / "relative.py").write_text("from .mine import batches\n")
    (here / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(CheckpointError, match="(?s)^model factory.*" + message):
        load_object(spec, "model factory", error=CheckpointError)


def test_blame_falls_on_the_users_deepest_line(here):
    (here / "fails.py").write_text("import json\ndef f():\n    return json.loads('{')\n")
    function = load_object("fails.py:f", "thing")
    with (
        pytest.raises(UsageError, match=r"^thing: .*fails.py:3: .*JSONDecodeError"),
        user_errors("thing"),
    ):
        function()


def test_our_errors_and_interrupts_pass(here):
    with pytest.raises(CheckpointError, match=r"^mine$"), user_errors("thing"):
        raise CheckpointError("mine")
    with pytest.raises(KeyboardInterrupt), user_errors("thing"):
        raise KeyboardInterrupt


def test_specs_are_told_from_paths(here):
    assert is_object_spec("data.py:batches") and is_object_spec("package.module:make")
    assert not is_object_spec("data.npz") and not is_object_spec("data.py")
    assert not is_object_spec(r"C:\data") and not is_object_spec("a/b:c")
    (here / "odd:name").touch()
    assert not is_object_spec("odd:name")
