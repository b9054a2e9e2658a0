"""Several models and targets in one command."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from compressor.cli.several import Ended, each, parted_targets, places, require_there, table
from compressor.errors import CheckpointError, TargetError, UsageError


def test_every_model_is_run_for_every_target():
    assert parted_targets(None) == ()
    assert parted_targets("ort,trt") == ("ort", "trt")
    found = list(places(["a.onnx", "m/b.pt"], ["ort", "trt"], Path("out")))
    assert [str(folder) for *_, folder in found] == [
        "out/a-ort", "out/a-trt", "out/b-ort", "out/b-trt"
    ]  # fmt: skip
    assert [folder for *_, folder in places(["a.onnx"], ["ort"], None)] == [None]


def test_runs_that_would_write_one_folder_are_refused():
    with pytest.raises(UsageError, match=r"a\.onnx and a\.pt would both be written to a-ort"):
        list(places(["a.onnx", "a.pt"], ["ort"], None))
    with pytest.raises(UsageError, match="each once"):
        parted_targets("ort,ort")


def test_a_target_that_does_not_exist_is_told_before_any_is_run():
    with pytest.raises(UsageError, match="unknown target 'cuda'"):
        parted_targets("ort,cuda")


def test_a_model_that_is_not_there_is_told_before_any_is_run(tmp_path: Path):
    there = tmp_path / "a@b.onnx"
    there.touch()
    require_there([str(there)])
    with pytest.raises(UsageError, match=r"no model false; nothing was run"):
        require_there([str(there), "false"])


@pytest.mark.parametrize(("keep_going", "runs"), [(False, ["a"]), (True, ["a", "b"])])
def test_the_first_failure_ends_it_unless_others_are_to_run(keep_going, runs):
    def run(model, target, folder):
        raise CheckpointError(f"{model} is empty")

    failures = []
    asked = [(name, "ort", None) for name in ("a", "b")]
    ended = each(asked, run, keep_going=keep_going, failed=failures.append)
    assert [one.model for one in ended] == runs
    assert [error.exit_code for error in failures] == [2] * len(runs)


def test_other_targets_of_a_model_ship_where_one_fails():
    def run(model, target, folder):
        if target == "openvino":
            raise TargetError("it is not installed")
        return f"{model} for {target}"

    failures = []
    asked = [(name, target, None) for name in ("a", "b") for target in ("openvino", "ort")]
    ended = each(asked, run, keep_going=False, failed=failures.append)
    assert [(one.model, one.target, one.report) for one in ended] == [
        ("a", "openvino", None), ("a", "ort", "a for ort")
    ]  # fmt: skip
    assert [error.exit_code for error in failures] == [4]


def test_names_in_the_table_are_no_markup_and_no_orders_to_a_terminal() -> None:
    names = ("[/].onnx", "[bold]x[/bold].onnx", "\x1b[31mred.onnx")
    console = Console(file=StringIO(), width=120)
    console.print(table([Ended(name, "ort") for name in names], len(names)))
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(name in told for name in ("[/].onnx", "[bold]x[/bold].onnx", "\\x1b[31mred.onnx"))
