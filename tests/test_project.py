"""The project around the code: what is installed, what starts quickly, what Make rebuilds."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
RTX = {"sys_platform": "linux", "platform_machine": "x86_64"}
"""Where the extra `trt-rtx` is offered and tested."""

UNLOCKED = {"trt", "ray", "mlflow", "tensorboard", "wandb"}
"""Extras that the lock leaves out."""

HEAVY = (
    "torch",
    "onnxruntime",
    "onnxscript",
    "scipy",
    "matplotlib",
    "sklearn",
    "tensorrt_rtx",
    "openvino",
    "optuna",
)


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def required() -> list[Requirement]:
    """Everything that the build, the package, and its extras name, but for `UNLOCKED`.

    The libraries of `tensorrt` are not on the package index, trackers bring what they like, and Ray
    takes 256 MB.
    """
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = config["project"]
    groups = [config["build-system"]["requires"], project["dependencies"]]
    extras = project["optional-dependencies"]
    groups += [extras[name] for name in extras if name not in UNLOCKED]
    return [Requirement(text) for group in groups for text in group]


def test_the_lock_pins_every_requirement_to_a_version_it_allows() -> None:
    pins = dict(line.partition(";")[0].split("==") for line in lock_lines())
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    for requirement in required():
        version = versions.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in the lock: run `make lock`"
        assert requirement.specifier.contains(version), f"{requirement} is locked to {version}"


def test_the_lock_leaves_the_index_and_the_build_of_torch_open() -> None:
    assert "torch==2.13.0" in lock_lines()
    lines = [line for line in lock_lines() if not line.startswith("tensorrt_rtx")]
    odd = [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    assert odd == [], "index lines, hashes, markers or local versions (+cpu)"


def test_the_lock_asks_for_tensorrt_only_where_it_exists() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extra = Requirement(config["project"]["optional-dependencies"]["trt-rtx"][0])
    locked = [Requirement(line) for line in lock_lines() if line.startswith("tensorrt_rtx")]
    assert len(locked) == 4
    for requirement in (extra, *locked):
        assert requirement.marker is not None
        for platform, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64")):
            where = {"sys_platform": platform, "platform_machine": machine}
            assert requirement.marker.evaluate(where) == (where == RTX), requirement


def python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "statement",
    [
        "import compressor",
        "import calibration, exporters, exporters.base",
        "from compressor import Recipe",
        "import sys; sys.argv = ['compress', '--help']\n"
        "from compressor.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
    ids=["compressor", "floors", "recipe", "help"],
)
def test_starting_loads_nothing_heavy(statement: str) -> None:
    told = python("-c", f"{statement}\nimport sys\nprint('loaded:', *sys.modules)")
    loaded = set(told.rsplit("loaded:", 1)[1].split())
    assert loaded & set(HEAVY) == set()


def test_paths_and_targets_named_in_the_guides_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for guide in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / guide).read_text()
        named = re.findall(
            r"`((?:compressor|calibration|exporters|samples|benchmarks)/[^`]*)`", text
        )
        # Capitals stand for the reader's own name: exporters/NAME.py.
        missing = [p for p in named if not re.search("[A-Z]{4}", p) and not (ROOT / p).exists()]
        assert missing == [], guide
        for target in re.findall(r"\bmake ([a-z][a-z-]+)`", text):
            assert f"\n{target}:" in makefile, f"{guide} names `make {target}`"


def test_every_module_of_the_search_has_a_test_file_of_its_own() -> None:
    modules = (ROOT / "compressor" / "search").rglob("*.py")
    wanted = {
        path.relative_to(ROOT).with_name(f"test_{path.name}")
        for path in modules
        if path.name != "__init__.py"
    }
    tests = ROOT / "tests"
    found = {path.relative_to(tests) for path in (tests / "compressor" / "search").rglob("test_*")}
    found = {path for path in found if path.suffix == ".py"}
    assert sorted(wanted - found) == [], "without a test"
    assert sorted(found - wanted) == [], "of no module"


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> Path:
    """A user's project: models/net.onnx, data, a recipe, and our makefile copied beside them."""
    (tmp_path / "models").mkdir()
    (tmp_path / "data").mkdir()
    tiny_model.rename(tmp_path / "models" / "net.onnx")
    shutil.copy(tiny_data, tmp_path / "data" / "calib.npz")
    (tmp_path / "recipe.toml").write_text("[measure]\nseconds = 0.05\n")
    shutil.copy(ROOT / "samples" / "Makefile.deploy", tmp_path)
    return tmp_path


def make(project: Path, *arguments: str) -> str:
    command = f"{sys.executable} -m compressor"
    done = subprocess.run(
        ["make", "-f", "Makefile.deploy", f"COMPRESS={command}", "EVAL=", *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_deployment_makefile_rebuilds_only_what_changed(project: Path) -> None:
    (project / "net.py").touch()
    flags = "FLAGS=--quiet --model net.py:build"
    make(project, flags)
    written = project / "models" / "net-ort" / "manifest.json"
    assert written.is_file()
    assert "Nothing to be done" in make(project, flags)
    (project / "models" / "net.onnx.data").touch()
    beside = ("data/calib.npz", "recipe.toml", "net.py", "models/net.onnx.data")
    for changed in ("models/net.onnx", *beside):
        os.utime(project / changed, (time.time() + 9, time.time() + 9))
        assert "compressor models/net.onnx" in make(project, "-n", flags), changed
        os.utime(project / changed, (0, 0))
    assert "compressor models/net.onnx" in make(project, "-n", "FLAGS=--quiet")
    (project / "newer").write_text("#!/bin/sh\necho compress, version 99\n")
    (project / "newer").chmod(0o755)
    assert "./newer models/net.onnx" in make(project, "-n", flags, "COMPRESS=./newer")
    assert "Nothing to be done" in make(project, flags)


def test_deployment_makefile_needs_none_of_what_it_looks_for(project: Path) -> None:
    for path in ("data/calib.npz", "recipe.toml"):
        (project / path).unlink()
    hub = project / "models" / "hub-2.5"
    hub.mkdir()
    (hub / "config.json").touch()
    said = make(project, "-n")
    assert "compressor models/net.onnx --target ort" in said
    assert "compressor models/hub-2.5 --target ort" in said
    assert "-o models/hub-2.5-ort" in said
    (project / "models" / "net.onnx").unlink()
    (hub / "config.json").unlink()
    command = ["make", "-f", "Makefile.deploy"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert "No models here" in done.stderr


def test_deployment_makefile_follows_folders_and_functions(project: Path) -> None:
    folder = project / "photos" / "cat"
    folder.mkdir(parents=True)
    (folder / "1.jpg").touch()
    (project / "data.py").touch()
    written = project / "models" / "net-ort" / "manifest.json"
    maker = project / "compress"
    maker.write_text("#!/bin/sh\nmkdir -p models/net-ort\ntouch models/net-ort/manifest.json\n")
    maker.chmod(0o755)
    late = time.time() + 9
    for calib, file in (("photos", folder / "1.jpg"), ("data.py:batches", project / "data.py")):
        make(project, f"CALIB={calib}", "COMPRESS=./compress")
        os.utime(written, (late, late))
        with_calib = (f"CALIB={calib}", "COMPRESS=./compress")
        assert "Nothing to be done" in make(project, *with_calib), calib
        os.utime(file, (late + 9, late + 9))
        assert f"--calib {calib}" in make(project, "-n", *with_calib)


def test_deployment_makefile_tries_a_refused_result_again(project: Path) -> None:
    failing = project / "compress"
    failing.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exit\n"
        "mkdir -p models/net-ort\ntouch models/net-ort/manifest.json\nexit 3\n"
    )
    failing.chmod(0o755)
    command = ["make", "-f", "Makefile.deploy", "EVAL=", "COMPRESS=./compress"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Error 3" in done.stderr
    assert (project / "models" / "net-ort" / "manifest.json").exists()
    assert "compressor models/net.onnx" in make(project, "-n")


@contextmanager
def heard(number: signal.Signals) -> Iterator[None]:
    """Children get the signal, though a shell started this in the background, where it is ignored.

    What is ignored is inherited, and a shell cannot trap it then.
    """
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to a group")
def test_deployment_makefile_keeps_what_an_interrupted_run_wrote(project: Path) -> None:
    slow = project / "compress"
    slow.write_text(
        "#!/bin/sh\n[ $1 = --version ] && exit\nmkdir -p models/net-ort\n"
        "trap 'touch models/net-ort/manifest.json; exit 130' INT\n"
        "touch started\nwhile :; do sleep 0.05; done\n"
    )
    slow.chmod(0o755)
    command = ["make", "-f", "Makefile.deploy", "EVAL=", "COMPRESS=./compress"]
    with (
        heard(signal.SIGINT),
        subprocess.Popen(
            command,
            cwd=project,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as running,
    ):
        deadline = time.monotonic() + 20
        while not (project / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        running.wait(timeout=20)
    assert (project / "models" / "net-ort" / "manifest.json").exists()
    assert "compressor models/net.onnx" in make(project, "-n")


def test_a_bill_of_materials_lists_the_lock_and_seals_the_wheel(tmp_path):
    import sbom

    wheel = tmp_path / "compressor-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    bill = sbom.bill_of(wheel, "# pinned\nclick==8.1\ntensorrt_rtx==1.7; sys_platform == 'linux'\n")
    assert [one["purl"] for one in bill["components"]] == [
        "pkg:pypi/click@8.1",
        "pkg:pypi/tensorrt-rtx@1.7",
    ]
    own = bill["metadata"]["component"]
    assert (own["name"], own["version"]) == ("compressor", "0.1.0")
    assert own["hashes"][0]["content"] == hashlib.sha256(b"wheel").hexdigest()


def test_no_line_above_a_target_names_openvino() -> None:
    """What is asked of it is asked of every target: the runtime is named where it is at home."""
    home = ROOT / "exporters" / "openvino"
    floors = ("calibration", "compressor", "exporters")
    files = (path for floor in floors for path in (ROOT / floor).rglob("*"))
    text = {path for path in files if path.suffix in (".py", ".html", ".css", ".toml")}
    named = [p for p in text if home not in p.parents and "openvino" in p.read_text().lower()]
    assert named == []
