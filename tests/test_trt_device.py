"""`benchmarks/trt_device.py` where there is no GPU: rows that go well, and all that may not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import util
from pathlib import Path

import pytest
import trt_device_stand_in as stand_in

import trt_device
import trt_device_graphs
import trt_device_nets
import trt_device_place
import trt_device_row
import trt_device_table
from compressor.errors import TargetError
from exporters.trt.backends import ChosenBackend, Device
from trt_device_parts import KINDS, Part, Parts, mark_prepared
from trt_device_place import Place, clocks_locked, find_place

HERE = Path(__file__).parent
NOBODY = HERE / "of a process that is not started"
BENCHMARKS = HERE.parent / "benchmarks"
H200 = Device("NVIDIA H200", capability=(9, 0))
TENSORRT = ChosenBackend("tensorrt", "11.4")
PLACE = Place(H200, TENSORRT, "580.1")
REAL_NETS = trt_device_nets.NETS
TWO = {kind: KINDS[kind] for kind in ("FP16", "INT8")}


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (trt_device, trt_device_nets, trt_device_table):
        monkeypatch.setattr(module, "NETS", stand_in.NETS)
    monkeypatch.setattr(trt_device, "KINDS", TWO)
    monkeypatch.setattr(trt_device, "find_place", lambda **how: PLACE)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graphs of all networks, as another machine may have made them."""
    folder = tmp_path_factory.mktemp("graphs")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trt_device_nets, "NETS", stand_in.NETS)
        for name, kinds in (("good", ["FP16", "INT8"]), ("wrong", ["FP16"]), ("loop", ["FP16"])):
            answer = folder / f"{name}.json"
            job = {"network": name, "folder": str(folder), "kinds": kinds, "answer": str(answer)}
            trt_device_graphs.prepare(job)
            assert json.loads(answer.read_text()) == {}
    return folder


def run(out: Path, *arguments: str, row: Path = NOBODY, graphs: Path = NOBODY) -> int:
    return trt_device.main([*arguments, "--out", str(out)], trt_device.Scripts(graphs, row))


def rows(out: Path) -> dict[tuple[str, str], dict]:
    document = json.loads((out / "results.json").read_text())
    return {(row["network"], row["kind"]): row for row in document["rows"]}


def script(path: Path, body: str) -> Path:
    """What stands for a row's process; `job` is what it is to do, `answer` takes a row's state."""
    path.write_text(
        "import json, os, signal, sys, time\n"
        "job = json.load(open(sys.argv[1]))\n"
        "def answer(state):\n"
        "    told = {'network': job['network'], 'kind': job['kind'], 'state': state}\n"
        "    json.dump(told, open(job['answer'], 'w'))\n"
        f"{body}\n"
    )
    return path


def ready(out: Path, *names: str) -> None:
    """Graphs that nobody reads."""
    for name in names:
        folder = out / "graphs" / name
        folder.mkdir(parents=True)
        (folder / "report.json").touch()
        mark_prepared(folder)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are made in this process, on the stand-in."""
    monkeypatch.setattr(trt_device, "run_python", stand_in.here)


@pytest.mark.usefixtures("here")
def test_engines_are_checked_timed_and_told(
    tmp_path: Path, graphs: Path, capsys: pytest.CaptureFixture
):
    shutil.copytree(graphs, tmp_path / "graphs")
    assert run(tmp_path, "good") == 0
    found = rows(tmp_path)
    assert [row["state"] for row in found.values()] == 3 * ["measured"]
    integer = found["good", "INT8"]
    assert (integer["milliseconds"], integer["base_milliseconds"]) == (0.25, 0.5)
    assert integer["ratio"] == pytest.approx(2)
    assert integer["cosine"] > 0.99
    assert integer["clock"] == [1980, 1980]
    assert integer["engines"]["model"]["kernels"] == {"INT8": 1}
    assert found["good", "FP16"]["ratio"] is None
    told = capsys.readouterr().out
    assert told.strip() == (tmp_path / "table.md").read_text().strip()
    speed, cosine = "2.00× (1.94–2.06)", f"{integer['cosine']:.4f}"
    assert f"| good | INT8 | 0.250 ms | {speed} | {cosine} | 1 INT8; 0 of them sparse |" in told
    assert "| good | compress | INT8 ships" in told
    assert "NVIDIA H200 (compute capability 9.0), driver 580.1, tensorrt 11.4" in told


@pytest.mark.usefixtures("here")
def test_a_loop_is_run_on_its_engines(tmp_path: Path, graphs: Path, monkeypatch):
    shutil.copytree(graphs, tmp_path / "graphs")
    monkeypatch.setattr(trt_device, "KINDS", {"FP16": KINDS["FP16"]})
    monkeypatch.setattr(trt_device, "WHOLE", "FP16")
    assert run(tmp_path, "loop") == 0
    row = rows(tmp_path)["loop", "FP16"]
    assert row["cosine"] > 0.999999
    assert row["milliseconds"] > 0
    assert row["engines"]["g"]["kernels"] == {"half": 1}


@pytest.mark.usefixtures("here")
def test_outputs_that_disagree_are_told_as_such(
    tmp_path: Path, graphs: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(graphs, tmp_path / "graphs")
    monkeypatch.setattr(trt_device, "KINDS", {"FP16": KINDS["FP16"]})
    monkeypatch.setattr(trt_device, "WHOLE", "FP16")
    assert run(tmp_path, "wrong") == 1
    wrong = rows(tmp_path)["wrong", "FP16"]
    assert wrong["state"] == "disagrees"
    assert wrong["words"].startswith("y: cosine ")
    assert wrong["words"].endswith("0.999 or more is asked for")
    assert "disagrees: y: cosine" in (tmp_path / "table.md").read_text()


def test_a_graph_that_cannot_be_made_costs_its_rows(tmp_path: Path):
    ready(tmp_path, "wrong-FP16", "wrong-INT8", "good-FP16")
    body = (
        "json.dump({'INT8': 'refused'}, open(job['answer'], 'w'))\nassert job['kinds'] == ['INT8']"
    )
    refusing = script(tmp_path / "graphs.py", body)
    row = script(tmp_path / "row.py", "answer('measured')")
    assert run(tmp_path, "wrong", "good", row=row, graphs=refusing) == 1
    words = {row: (one["state"], one["words"]) for row, one in rows(tmp_path).items()}
    assert words.pop(("good", "INT8")) == ("failed", "no graph: refused")
    assert set(words.values()) == {("measured", "")}
    script(refusing, "raise RuntimeError('this network has no graph')")
    assert run(tmp_path, "good", row=row, graphs=refusing) == 1
    assert rows(tmp_path)["good", "INT8"]["words"] == (
        "no graph: its process failed with code 1: RuntimeError: this network has no graph"
    )


def test_a_crash_and_a_hang_cost_one_row_each(tmp_path: Path):
    ready(tmp_path, "good-FP16", "good-INT8", "wrong-FP16", "wrong-INT8")
    body = (
        "row = job['network'], job['kind']\n"
        "if row == ('good', 'FP16'): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "if row == ('good', 'INT8'): time.sleep(60)\n"
        "if row == ('wrong', 'FP16'): sys.exit(0)\n"
        "answer('measured')\n"
        "if row == ('wrong', 'INT8'): os.abort()"
    )
    child = script(tmp_path / "row.py", body)
    assert run(tmp_path, "good", "wrong", "--row-seconds", "3", row=child) == 1
    found = {row: (one["state"], one["words"]) for row, one in rows(tmp_path).items()}
    assert found == {
        ("good", "FP16"): ("failed", "its process was ended by signal 11"),
        ("good", "INT8"): ("failed", "its process took more than 3 s"),
        ("wrong", "FP16"): ("failed", "its process gave no answer"),
        ("wrong", "INT8"): ("measured", "its process was ended by signal 6 behind its answer"),
        ("good", "compress"): ("measured", ""),
    }


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path, monkeypatch):
    ready(tmp_path, "good-FP16", "good-INT8")
    log = tmp_path / "log"
    body = (
        f"open({str(log)!r}, 'a').write(job['kind'] + ' ')\n"
        f"if job['kind'] == 'INT8' and not os.path.exists({str(tmp_path / 'again')!r}):\n"
        "    time.sleep(60)\n"
        "answer('measured')"
    )
    child = script(tmp_path / "row.py", body)
    driver = (
        "import sys\n"
        f"sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import trt_device as proof\n"
        "from exporters.trt.backends import ChosenBackend, Device\n"
        "place = proof.Place(Device('NVIDIA H200', capability=(9, 0)), "
        "ChosenBackend('tensorrt', '11.4'), '580.1')\n"
        "proof.find_place = lambda **how: place\n"
        "proof.NETS = (proof.Net('good', '', None, None),)\n"
        "proof.KINDS = {kind: proof.KINDS[kind] for kind in ('FP16', 'INT8')}\n"
        f"scripts = proof.Scripts(proof.Path(), proof.Path({str(child)!r}))\n"
        f"proof.main(['--out', {str(tmp_path)!r}], scripts)\n"
    )
    with subprocess.Popen([sys.executable, "-c", driver], stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 60
        while not (log.exists() and "INT8" in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(running.pid, signal.SIGKILL)
    assert log.read_text() == "FP16 INT8 "
    (tmp_path / "again").touch()
    assert run(tmp_path, "good", row=child) == 0
    assert log.read_text() == "FP16 INT8 INT8 compress "
    monkeypatch.setattr(trt_device, "find_place", lambda **how: Place(H200, TENSORRT, "590.2"))
    assert run(tmp_path, "good", row=child) == 0
    assert log.read_text().endswith(" FP16 INT8 compress "), "of another driver all are made anew"


def test_what_there_is_no_time_for_is_said_and_left_for_the_next_run(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    ready(tmp_path, "good-FP16", "good-INT8")
    child = script(tmp_path / "row.py", "answer('measured')")
    assert run(tmp_path, "good", "--seconds", "1", row=child) == 1
    told = capsys.readouterr()
    assert told.out.count("| not reached |") == 3
    assert "3 rows were not reached: the same command goes on with them" in told.err


def test_a_row_that_the_end_of_all_cuts_off_is_left_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ready(tmp_path, "good-FP16", "good-INT8")
    monkeypatch.setattr(trt_device, "LEAST", 0.1)
    child = script(tmp_path / "row.py", "time.sleep(60)")
    assert run(tmp_path, "good", "--seconds", "1", row=child) == 1
    assert {row["state"] for row in rows(tmp_path).values()} == {"not reached"}


def test_graphs_take_half_of_the_time_at_most(tmp_path: Path, monkeypatch):
    limits = []
    monkeypatch.setattr(
        trt_device, "run_python", lambda arguments, *, timeout, poll: limits.append(timeout)
    )
    run(tmp_path, "good", "--seconds", "100")
    assert limits[0] == pytest.approx(50, abs=2)
    run(tmp_path, "good", "--seconds", "100", "--graph-seconds", "9")
    assert 9.0 in limits


def test_graphs_of_other_code_are_made_anew(tmp_path: Path):
    ready(tmp_path, "good-FP16", "good-INT8")
    (tmp_path / "graphs" / "good-INT8.code").write_text("of yesterday")
    asked = tmp_path / "asked"
    graphs = script(tmp_path / "graphs.py", f"open({str(asked)!r}, 'w').write(str(job['kinds']))")
    row = script(tmp_path / "row.py", "answer('measured')")
    assert run(tmp_path, "good", row=row, graphs=graphs) == 1
    assert asked.read_text() == "['INT8']"


def test_an_interrupted_run_ends_its_processes_and_writes_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    child = script(tmp_path / "row.py", "time.sleep(60)")

    def interrupted(proof, net) -> None:
        if net.name == "good":
            raise KeyboardInterrupt
        proof._asked(child, {}, 60)

    monkeypatch.setattr(trt_device.Proof, "_prepare", interrupted)
    began = time.monotonic()
    assert run(tmp_path, "wrong", "good", graphs=child) == 130
    assert time.monotonic() - began < 30
    assert {row["state"] for row in rows(tmp_path).values()} == {"not reached"}


def test_what_a_gpu_has_no_kernels_for_is_left_out_in_words(tmp_path: Path, monkeypatch):
    old = Place(Device("an old GPU", capability=(7, 5)), TENSORRT, "580.1")
    monkeypatch.setattr(trt_device, "find_place", lambda **how: old)
    monkeypatch.setattr(trt_device, "KINDS", KINDS)
    ready(tmp_path, "good-FP16", "good-INT8", "good-FP8", "good-2-4")
    child = script(tmp_path / "row.py", "answer('measured')")
    assert run(tmp_path, "good", row=child) == 0
    table = (tmp_path / "table.md").read_text()
    words = "left out: it needs compute capability {} or later, this GPU has 7.5"
    assert words.format("8.9") in table
    assert words.format("8.0") in table


def test_a_part_that_is_damaged_is_made_again(tmp_path: Path):
    parts = Parts(tmp_path, {"gpu": "one"})
    part = Part(network="good", kind="2:4", state="measured", milliseconds=0.5)
    parts.put(part)
    assert parts.get("good", "2:4") == part
    assert Parts(tmp_path, {"gpu": "another"}).get("good", "2:4") is None
    for broken in ("", "[]", '{"made_by": {"gpu": "one"}, "part": {}}'):
        (tmp_path / "good-2-4.json").write_text(broken)
        assert parts.get("good", "2:4") is None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch):
    """The machine as the test says: its GPU, and the packages that run or the reason why not."""

    def set_up(gpu: Device, **packages: str | None) -> None:
        def choose(name: str) -> ChosenBackend:
            if name.replace("-", "_") not in packages:
                raise TargetError(f"--trt-backend {name} cannot build here: not installed")
            return ChosenBackend(name, "1.0", why_not_run=packages[name.replace("-", "_")])

        monkeypatch.setattr(trt_device, "find_place", find_place)
        monkeypatch.setattr(trt_device_place, "device", lambda: gpu)
        monkeypatch.setattr(trt_device_place, "choose", choose)
        monkeypatch.setattr(trt_device_place, "driver", lambda: "580.1")

    return set_up


def test_without_a_gpu_one_line_says_so(tmp_path: Path, asked, capsys: pytest.CaptureFixture):
    asked(Device(reason="there is no NVIDIA driver here"), tensorrt_rtx=None)
    assert run(tmp_path / "out") == 4
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "error: no engine can run here: there is no NVIDIA driver here. --build-only builds "
        "without a GPU what tensorrt-rtx builds.\n"
    )
    assert not (tmp_path / "out").exists()


def test_without_a_package_that_runs_one_line_says_why_each_does_not(
    tmp_path: Path, asked, capsys: pytest.CaptureFixture
):
    asked(H200, tensorrt_rtx="a small engine was tried and does not run: no kernels")
    assert run(tmp_path) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "no engine runs on NVIDIA H200: --trt-backend tensorrt cannot build here" in line
    assert "tensorrt-rtx 1.0: a small engine was tried and does not run: no kernels. Run " in line


def test_what_is_installed_and_runs_is_taken_as_it_is(asked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trt_device_place, "install_package", lambda: pytest.fail("nothing to do"))
    asked(H200, tensorrt_rtx=None)
    assert find_place(install=True, build_only=False).chosen.name == "tensorrt-rtx"
    asked(H200, tensorrt=None, tensorrt_rtx=None)
    assert find_place(install=True, build_only=False).chosen.name == "tensorrt"
    place = find_place(install=True, build_only=True)
    assert (place.chosen.name, place.chosen.why_not_run) == (
        "tensorrt-rtx", "--build-only was asked for",
    )  # fmt: skip


def test_a_missing_package_is_installed_or_pip_s_reason_told(
    tmp_path: Path, asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    asked(H200)
    commands, code = [], 1

    def pip(command: list[str], **how: object) -> subprocess.CompletedProcess:
        commands.append(command)
        return subprocess.CompletedProcess(
            command, code, "", "…\nERROR: no matching distribution\n"
        )

    monkeypatch.setattr(trt_device_place.subprocess, "run", pip)
    assert run(tmp_path, "--install") == 4
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: pip cannot install tensorrt>=10: ERROR: no matching distri")
    assert f"Install it into {sys.prefix} by other means" in error
    assert commands[0][:4] == [sys.executable, "-m", "pip", "install"]
    code = 0
    monkeypatch.setattr(trt_device_place, "running", iter(["not installed", TENSORRT]).__next__)
    assert find_place(install=True, build_only=False).chosen is TENSORRT


@pytest.mark.parametrize("allowed", [True, False])
def test_clocks_are_locked_only_where_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, allowed: bool
):
    calls: list[str] = []

    def smi(*arguments: str) -> tuple[int, str]:
        calls.append(arguments[0])
        if arguments[0].startswith("--query"):
            return 0, "1980"
        return (0, "") if allowed else (4, "…\nnot permitted")

    monkeypatch.setattr(trt_device_place, "smi", smi)
    with clocks_locked(False) as told:
        assert told == "clocks are not locked (--lock-clocks)"
    assert calls == []
    with clocks_locked(True) as told:
        assert told == (
            "clocks are locked at 1980 MHz" if allowed else "clocks are not locked: not permitted"
        )
    ends = ["--reset-gpu-clocks"] if allowed else []
    assert calls[1:] == ["--lock-gpu-clocks=1980,1980", *ends]


@pytest.mark.skipif(util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_without_a_gpu_engines_are_built_for_real_and_not_run(
    tmp_path: Path, graphs: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(graphs, tmp_path / "graphs")
    job = {
        "network": "good", "kind": "INT8", "folder": str(tmp_path / "graphs"), "seconds": 120,
        "cache": str(tmp_path / "timing.cache"), "base": None,
        "chosen": {"name": "tensorrt-rtx", "version": "1", "reason": None, "why_not_run": "none"},
    }  # fmt: skip
    part = trt_device_row.measure(job)
    assert (part.state, part.words) == ("built, not run", "none")
    engine = part.engines["model"]
    assert engine.file == "model.rtx.engine"
    assert engine.integer == {"MatMul": 1}
    assert trt_device_table.cells("good", "INT8", part)[2] == "built, not run: none"


def test_the_networks_are_eight_and_a_pipeline():
    nets = REAL_NETS
    assert [net.loop is not None for net in nets] == [*8 * [False], True]
    for net in nets:
        one, other = net.batch(), net.batch()
        assert all((one[name] == other[name]).all() for name in one)
        assert {len(array) for array in net.samples().values()} == {
            trt_device_nets.BATCHES * len(next(iter(one.values())))
        }
