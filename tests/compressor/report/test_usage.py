"""USAGE.md of a finished folder."""

import ast
import re
import shlex

from compressor.recipe.notation import parse_input
from compressor.report.usage import _by_arrays, _example, usage_page
from compressor.results.records import StageRecord
from compressor.results.report import Report


def page_of(report: Report, tmp_path, beside=None, command="compress x") -> str:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    inputs = ["image:float32[batch,3,32,32]", "mask:int64[batch,past+sequence]"]
    stage = StageRecord(name="capture", seconds=1.0, parameters={"inputs": inputs})
    files = {"model": str(tmp_path / "model.onnx"), "plan": str(tmp_path / "plan.json")}
    told = {"artifact": str(tmp_path), "files": files, "stages": (stage,), "command": command}
    return usage_page(report.model_copy(update=told), tmp_path, beside)


def test_the_code_is_of_this_artifact(int8_report: Report, tmp_path) -> None:
    page = page_of(int8_report, tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    compile(code, "USAGE.md", "exec")
    assert f'compressor.load("{tmp_path}", threads=1)' in code
    assert '"image": np.zeros((1, 3, 32, 32), "float32"),' in code
    assert '"mask": np.ones((1, 16), "int64"),' in code
    assert "compress x" in page
    assert f"--plan {tmp_path}/plan.json" in page
    assert f"compress verify {tmp_path}\n" in page
    assert re.search(r"[0-9a-f]{64}  model\.onnx", page)


def test_commands_hold_for_paths_with_spaces(int8_report: Report, tmp_path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    page = page_of(int8_report.model_copy(update={"source": "my net.onnx"}), folder)
    assert f"compress 'my net.onnx' --plan '{folder}/plan.json' -o again" in page
    assert f"compress verify '{folder}'" in page


def test_a_cache_in_buffers_is_called_with_and_without_this_package(
    int8_report: Report, tmp_path
) -> None:
    cache = StageRecord(
        name="shared cache",
        seconds=1.0,
        parameters={"buffers": {"past_key": "present_key", "past_value": "present_value"}},
        changed={"cache tensors in shared buffers": 2},
    )
    report = int8_report.model_copy(update={"artifact": str(tmp_path), "stages": (cache,)})
    page = usage_page(report.model_copy(update={"files": {}}), tmp_path, None)
    assert 'cache = {"past_key": outputs["present_key"], "past_value": outputs[' in page
    assert 'bind_ortvalue_input("past_key", buffer)' in page
    assert 'bind_ortvalue_output("present_key", buffer)' in page
    for code in re.findall(r"```python\n(.*?)```", page, re.S):
        compile(code, "USAGE.md", "exec")


def test_examples_are_of_one_sample_and_any_size() -> None:
    assert _example(parse_input("t:float32[]")) == 'np.zeros((), "float32")'
    assert _example(parse_input("x:int64[2*batch]")) == 'np.ones((2,), "int64")'
    assert _example(parse_input("x:bool[batch_size,?]")) == 'np.ones((1, 8), "bool")'


def test_flags_that_say_how_a_model_is_read_are_said_again(int8_report: Report, tmp_path) -> None:
    for flag in ("--model net.py:build", "--model=net.py:build", "--input x:float32[n,4]"):
        command = f"compress w.pt {flag} --target ort"
        page = page_of(int8_report, tmp_path, command=command)
        assert f"    {command} --plan {tmp_path}/plan.json -o again\n" in page
    page = page_of(int8_report, tmp_path, command="compress w.onnx --max-drop 1%")
    assert "--max-drop 1% --plan" not in page


def test_names_of_a_strangers_file_are_neither_code_nor_commands(int8_report, tmp_path) -> None:
    name = 'x"}); import os; os.system("touch hacked")#\n```\n<img src=x>'
    page = "\n".join(_by_arrays(int8_report.model_copy(update={"artifact": f"a/{name}"}), 1))
    (call,) = [node for node in ast.walk(ast.parse(page)) if _loads(node)]
    assert call.args[0].value == f"a/{name}"
    told = page_of(int8_report.model_copy(update={"source": "a; touch hacked"}), tmp_path)
    (line,) = [line for line in told.splitlines() if line.endswith("-o again")]
    assert shlex.split(line)[:2] == ["compress", "a; touch hacked"]


def _loads(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "load"
