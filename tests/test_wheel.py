"""The wheel as a stranger gets it: built, installed without the repository, used elsewhere.

The user's folder holds a `calibration.py` of its own, which must neither hide our package of
that name nor be hidden by it. The job starts from an .onnx file, so torch is not installed.
"""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "compressor", "calibration", "exporters")

pytestmark = [pytest.mark.slow, pytest.mark.wheel]

CALIBRATION = """
import numpy as np

SAMPLES = 64

def batches():
    rng = np.random.default_rng(1)
    for _ in range(SAMPLES // 16):
        yield {"x": rng.normal(size=(16, 16)).astype(np.float32)}
"""

SCRIPT = """
import sys
from compressor import Recipe, compress
from calibration import batches

recipe = Recipe.model_validate({"measure": {"seconds": 0.05}})
report = compress("net.onnx", calibration=batches, recipe=recipe, output="from-script")
assert "torch" not in sys.modules
print(report.graphs["model"].shipped)
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run without anything of this environment that could help or hinder."""
    inherited = {key: os.environ[key] for key in os.environ if not key.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=inherited, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that setuptools' own build folder stays out of the clone."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=ignore)
        else:
            shutil.copy(origin, source)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", "dist", cwd=source)
    return next((source / "dist").glob("compressor-*.whl"))


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of executables of a clean environment with the wheel and what it requires."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False)
    folder = home / ("Scripts" if os.name == "nt" else "bin")
    lock = ROOT / "requirements.lock"
    pip("install", "--quiet", "--no-compile", "--constraint", lock, wheel, into=folder)
    return folder


def pip(*arguments: str | Path, into: Path) -> str:
    """This environment's pip at work on another, whose own would take longest to install."""
    python = next(into.glob("python*"))
    options = ("--disable-pip-version-check", "--python", python)
    return run(sys.executable, "-m", "pip", *options, *arguments, cwd=into)


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    """A user's folder: a model, a calibration.py and a script of their own."""
    home = tmp_path / "theirs"
    home.mkdir()
    shutil.copy(tiny_model, home / "net.onnx")
    (home / "calibration.py").write_text(CALIBRATION)
    (home / "script.py").write_text(SCRIPT)
    (home / "recipe.toml").write_text("[measure]\nseconds = 0.05\n")
    return home


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        licenses = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in ("compressor", "calibration", "exporters")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == expected
    assert licenses


def test_torch_is_not_required(scripts: Path, folder: Path) -> None:
    listed = pip("list", "--format=freeze", into=scripts)
    names = {line.partition("==")[0] for line in listed.splitlines()}
    assert "compressor" in names
    assert not names & {"torch", "scikit-learn", "pytest"}


def test_command_with_a_calibration_file_of_the_user(scripts: Path, folder: Path) -> None:
    options = ("--recipe", "recipe.toml", "--calib", "calibration.py:batches", "-o", "small")
    run(scripts / "compress", "net.onnx", "--target", "ort", *options, cwd=folder)
    assert (folder / "small" / "model.onnx").is_file()
    assert (folder / "small" / "report.html").is_file()


def test_script_beside_a_calibration_file_of_the_user(scripts: Path, folder: Path) -> None:
    assert run(scripts / "python", "script.py", cwd=folder).split()[-1] in ("int8", "float")
