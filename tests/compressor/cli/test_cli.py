import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from graphs import tied_head

from compressor.cli.main import cli
from compressor.graph.files import save_model
from compressor.recipe.recipe import Recipe


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="compress")


def test_model_comes_first_and_needs_no_command(tiny_model: Path, tiny_data: Path):
    out = tiny_model.parent / "out"
    done = run(
        tiny_model, "--target", "ort", "--calib", tiny_data, "-o", out, "--measure-seconds", "0.1"
    )
    assert done.exit_code == 0, done.output
    assert (out / "model.onnx").exists()
    assert "artifact" in done.stdout


def test_default_folder_is_named_after_model_and_target(tiny_model: Path):
    done = run(tiny_model, "--measure-seconds", "0.05", "--quiet")
    assert done.exit_code == 0, done.output
    assert done.output == ""
    assert (tiny_model.parent / "tiny-ort" / "manifest.json").exists()


def test_json_is_the_report_and_nothing_else(tiny_model: Path):
    done = run(tiny_model, "--measure-seconds", "0.05", "--json")
    report = json.loads(done.stdout)
    assert report["schema_version"] == 1
    assert report["graphs"]["model"]["shipped"] == "float"


def test_blocks_stay_where_a_module_is_to_be_pruned_alike(tiny_model: Path):
    done = run(tiny_model, "--measure-seconds", "0.05", "--no-prune-blocks", "--no-memory")
    assert done.exit_code == 0, done.output
    manifest = json.loads((tiny_model.parent / "tiny-ort" / "manifest.json").read_text())
    assert manifest["recipe"]["prune"]["blocks"] is False
    assert manifest["recipe"]["measure"]["memory"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.onnx"], "missing.onnx"),
        (["tiny.onnx", "--calib", "missing.npz"], "missing.npz"),
        (["tiny.onnx", "--target", "tflite"], "tflite"),
        (["tiny.onnx", "--recipe", "missing.toml"], "missing.toml"),
        (["tiny.onnx", "--plan", "missing.json"], "missing.json"),
        (["tiny.onnx", "--json", "--quiet"], "contradict"),
        (["tiny.onnx", "--mean", "a,b"], "a,b"),
        (["tiny.onnx", "--metric", "acuracy", "--calib", "tiny.npz"], "acuracy"),
        (["tiny.onnx", "--ranges", "entropie", "--calib", "tiny.npz"], "entropie"),
        (["tiny.onnx", "--frobnicate"], "--frobnicate"),
        (["profile", "tiny.onnx", "--features", "inception.onnx"], "--features"),
        (["sensitivity", "tiny.onnx", "--metric", "fid"], "--metric"),
    ],
)
def test_mistakes_exit_2_with_a_message_and_no_traceback(
    arguments: list[str], words: str, tiny_model: Path, tiny_data: Path, monkeypatch
):
    monkeypatch.chdir(tiny_model.parent)
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert not (tiny_model.parent / "tiny-ort").exists()


def test_file_named_like_a_command_is_reached_by_its_path(tiny_model: Path, monkeypatch):
    monkeypatch.chdir(tiny_model.parent)
    tiny_model.rename("profile")
    done = run("./profile", "--measure-seconds", "0.05", "--quiet")
    assert done.exit_code == 0, done.output
    assert Path("profile-ort/model.onnx").exists()


def test_recipe_prints_toml_that_reads_back(tmp_path: Path):
    printed = run("recipe").stdout
    assert Recipe.model_validate(tomllib.loads(printed)) == Recipe()


def test_flags_override_the_recipe_file(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text("[measure]\nbatch = 8\nthreads = 2\n[model]\nargs = { width = 4 }\n")
    printed = run("recipe", "--recipe", path, "--batch", "4", "--model-args", "depth=2").stdout
    read = Recipe.model_validate(tomllib.loads(printed))
    assert (read.measure.batch, read.measure.threads) == (4, 2)
    assert read.model.args == {"width": 4, "depth": 2}


def test_recipe_mistakes_are_said_in_plain_words(tiny_model: Path, tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text("[quantize]\nmodee = 'int8'\n")
    assert "'quantize.modee': there is no such field" in run(tiny_model, "--recipe", path).stderr
    found = run(tiny_model, "--std", "0").stderr
    assert "std must be above zero" in found
    assert "Value error" not in found


def test_unknown_recipe_field_is_named(tiny_model: Path, tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text("[quantise]\n")
    done = run(tiny_model, "--recipe", path)
    assert done.exit_code == 2
    assert "quantise" in done.stderr
    assert "recipe.toml" in done.stderr.replace("\n", "")


def test_targets_lists_ort():
    rows = json.loads(run("targets", "--json").stdout)
    row = {"name": "ort", "title": "ONNX Runtime (CPU)", "unavailable": None}
    assert {**row, "state": "usable here"} in rows
    assert "ort" in run("targets").stdout


def test_compare_measures_b_against_a(tiny_model: Path, tiny_data: Path):
    done = run(
        "compare", tiny_model, tiny_model, "--calib", tiny_data, "--json",
        "--measure-seconds", "0.1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["quality"][0]["difference"] == pytest.approx(0.0, abs=1e-9)
    assert 0.5 < found["latency"][0]["ratio"] < 2.0


def test_compare_binds_a_single_input_whatever_its_name(tiny_model: Path, tmp_path: Path):
    import onnx

    other = onnx.load(tiny_model)
    other.graph.input[0].name = "image"
    other.graph.node[0].input[0] = "image"
    onnx.save(other, tmp_path / "other.onnx")
    done = run("compare", tiny_model, tmp_path / "other.onnx", "--measure-seconds", "0.05")
    assert done.exit_code == 0, done.output


def test_compare_says_what_is_ruined(tiny_model: Path, tiny_data: Path, tmp_path: Path):
    import onnx
    from onnx import numpy_helper

    other = onnx.load(tiny_model)
    for weight in other.graph.initializer:
        weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(other, tmp_path / "other.onnx")
    done = run(
        "compare", tiny_model, tmp_path / "other.onnx", "--calib", tiny_data, "--json",
        "--measure-seconds", "0.05",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert any("result's outputs are ruined" in said for said in json.loads(done.stdout)["notices"])


def test_compare_of_different_signatures_says_so(tiny_model: Path, tmp_path: Path):
    import onnx

    other = onnx.load(tiny_model)
    other.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    other.graph.node.insert(0, onnx.helper.make_node("Cast", ["x"], ["xf"], to=1))
    other.graph.node[1].input[0] = "xf"
    onnx.save(other, tmp_path / "other.onnx")
    done = run("compare", tiny_model, tmp_path / "other.onnx")
    assert done.exit_code == 2
    assert "different inputs" in done.stderr


def test_inspect_names_the_groups_and_what_stays(tiny_model: Path):
    done = run("inspect", tiny_model, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["groups"] or found["frozen"]
    assert not found["unknown"]
    assert all(0 < group["macs"] <= 1 and group["weights"] for group in found["groups"])
    shown = run("inspect", tiny_model)
    assert shown.exit_code == 0, shown.output
    assert "what stays because of" in shown.stdout


def test_sensitivity_tells_time_and_damage_of_each_region(tiny_model: Path, tiny_data: Path):
    done = run("sensitivity", tiny_model, "--calib", tiny_data, "--batch", "4", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [region["nodes"] for region in found["regions"]] == [["first"], ["second"]]
    for region in found["regions"]:
        known = {choice["precision"]: choice for choice in region["choices"]}
        assert set(known) == {"float", "static INT8", "dynamic INT8"}
        assert known["float"]["noise"] == 0
        assert 0 < known["static INT8"]["noise"] < 0.01
        assert all(choice["ms"] >= 0 for choice in known.values())
    assert (found["samples"], found["batch"]) == (16, 4)
    noise = [point["noise"] for point in found["frontier"]]
    ms = [point["ms"] for point in found["frontier"]]
    assert noise == sorted(noise)
    assert ms == sorted(ms, reverse=True)
    shown = run("sensitivity", tiny_model, "--calib", tiny_data, "--top", "1")
    assert "2 regions" in " ".join(shown.stdout.split())
    assert "1 more region" in shown.stdout
    refused = run("sensitivity", tiny_model)
    assert refused.exit_code == 2
    assert "--calib" in refused.stderr


def test_sensitivity_sees_a_head_that_reads_a_turned_table(tmp_path: Path):
    save_model(tied_head(), tmp_path / "net.onnx")
    np.savez(tmp_path / "ids.npz", ids=np.random.default_rng(0).integers(0, 300, (16, 5)))
    done = run("sensitivity", tmp_path / "net.onnx", "--calib", tmp_path / "ids.npz", "--json")
    assert done.exit_code == 0, done.output
    nodes = [name for region in json.loads(done.stdout)["regions"] for name in region["nodes"]]
    assert {"MatMul_1", "MatMul_3"} <= set(nodes)


def test_profile_says_what_bounds_each_operator(tiny_model: Path):
    done = run("profile", tiny_model, "--json", "--batch", "8")
    assert done.exit_code == 0, done.output
    assert "Gemm" in done.stdout


def test_help_shows_flags_and_commands():
    done = run("--help")
    for word in ("--calib", "--target", "profile", "compare", "targets", "recipe", "Exit codes"):
        assert word in done.output


def test_help_is_not_cut_short_and_usage_names_no_hidden_command():
    commands = run("--help").output.partition("Options needed first:")[0]
    assert "..." not in commands.partition("Commands:")[2]
    mistake = run("tiny.onnx", "--frobnicate").stderr
    assert "Usage: compress [OPTIONS] [MODEL]..." in mistake
    assert "Try 'compress --help'" in mistake


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_termination_cleans_up_like_ctrl_c(tiny_model: Path, tiny_data: Path, tmp_path: Path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "compressor", tiny_model, "--calib", tiny_data]
    with subprocess.Popen(
        [*command, "--measure-seconds", "60"],
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
    ) as running:
        deadline = time.monotonic() + 60
        while not any(scratch.glob("compressor-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        running.terminate()
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert b"an earlier result is untouched" in said
    assert not any(scratch.glob("compressor-*"))


@pytest.mark.parametrize("module", ["torch", "onnxruntime", "optuna", "ray"])
def test_help_and_import_load_no_runtime(module: str):
    code = (
        "import sys, compressor\n"
        "from click.testing import CliRunner\n"
        "from compressor.cli.main import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        f"sys.exit('{module}' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_onnx_job_never_imports_torch(tiny_model: Path, tiny_data: Path):
    code = (
        "import sys\n"
        "from compressor import compress, Recipe\n"
        "from compressor.recipe.measuring import MeasureOptions\n"
        "quick = Recipe(measure=MeasureOptions(seconds=0.05))\n"
        f"compress({str(tiny_model)!r}, calibration={str(tiny_data)!r}, recipe=quick)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_arrays_in_memory_and_files_agree(tiny_model: Path, tiny_data: Path):
    from compressor import compress
    from compressor.recipe.measuring import MeasureOptions

    quick = Recipe(measure=MeasureOptions(seconds=0.05))
    array = np.load(tiny_data)["x"]
    one = compress(tiny_model, calibration=array, recipe=quick, output=tiny_model.parent / "a")
    other = compress(
        tiny_model, calibration=tiny_data, recipe=quick, output=tiny_model.parent / "b"
    )
    assert one.data[0].fingerprint == other.data[0].fingerprint


def test_half_of_a_layout_tells_of_the_shell():
    found = CliRunner().invoke(cli, ["recipe", "--layout", "nhwc-"])
    assert found.exit_code == 2
    assert "the shell took >" in " ".join(found.output.split())
    found = CliRunner().invoke(cli, ["recipe", "--layout", "nhwc->nchw"])
    assert 'layout = "nhwc-to-nchw"' in found.output


def test_names_in_messages_do_nothing_to_a_terminal_and_are_of_bounded_length():
    name = "\x1b[31mred\x07\u202e" + "n" * 5000
    done = run("inspect", f"{name}.onnx")
    assert done.exit_code == 2
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stderr)
    assert "\\x1b[31mred" in done.stderr
    assert max(map(len, done.stderr.splitlines())) < 2000


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/tmp/x"), "/tmp/x: No space left on device"),
        (OSError("it broke"), "it broke"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_machine_lacks_is_no_internal_error(monkeypatch, tiny_model, error, words):
    def fails(*_arguments, **_options):
        raise error

    monkeypatch.setattr("compressor.commands.inspect.inspect", fails)
    done = run("inspect", tiny_model)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "internal" not in done.stderr


def test_a_name_that_is_no_text_is_refused_before_any_work():
    done = run(os.fsdecode(b"m\xff.onnx"))
    assert done.exit_code == 2
    assert "m\\udcff.onnx is not UTF-8" in done.stderr


def test_a_recipe_that_is_nested_too_deep_is_no_recipe(tmp_path: Path):
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    done = run("recipe", "--recipe", tmp_path / "deep.toml")
    assert done.exit_code == 2
    assert "is not TOML" in done.stderr


def test_a_recipe_with_a_name_that_no_system_takes_is_refused(tmp_path: Path):
    (tmp_path / "recipe.toml").write_text('[prune]\nleave = ["a", "b\\u0000"]\n')
    done = run("recipe", "--recipe", tmp_path / "recipe.toml")
    assert done.exit_code == 2
    assert "field 'prune.leave.1' holds a NUL character" in done.stderr
