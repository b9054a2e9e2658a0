"""Flags that several targets have."""

import click
import pytest
from click.testing import CliRunner

from compressor.cli.main import cli
from compressor.cli.places import named_targets, recipe_values
from compressor.cli.targets import of_targets, target_places

PARAMETER = "targets_precision"


@pytest.mark.parametrize(
    ("named", "value", "sections"),
    [
        (["trt"], "fp8", {"trt": {"precision": "fp8"}}),
        (["openvino"], "bf16", {"openvino": {"precision": "bf16"}}),
        (["ort", "openvino"], "bf16", {"openvino": {"precision": "bf16"}}),
        (["openvino"], "fp8", {"openvino": {"precision": "fp8"}}),
        (["ort"], "fp8", {"trt": {"precision": "fp8"}}),
        (["openvino", "trt"], "int8", {"trt": {"precision": "int8"}}),
        (["openvino"], None, {}),
    ],
    ids=["one", "other", "several", "unknown value", "no such flag", "each its own", "not given"],
)
def test_a_value_is_of_the_target_that_is_named_and_knows_it(named, value, sections):
    assert of_targets({PARAMETER: value}, named) == sections


def test_it_is_one_flag_that_takes_what_any_of_them_does():
    assert PARAMETER not in target_places()
    help_text = CliRunner().invoke(cli, ["compress", "--help"]).output
    assert help_text.count("--precision [") == 1
    assert "f32|bf16|auto|int8" in help_text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("o", ["openvino", "ort"]), ("ort,", ["ort,openvino", "ort,trt"]), ("x", [])],
)
def test_the_shell_completes_targets_also_behind_a_comma(typed: str, offered: list[str]):
    parameter = next(one for one in cli.commands["run"].params if one.name == "target")
    found = parameter.shell_complete(click.Context(cli), typed)
    assert [item.value for item in found] == offered


def test_the_targets_are_those_of_the_flag_or_of_the_recipe(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('target = "openvino"\n')
    assert named_targets({"target": "ort,trt"}) == ("ort", "trt")
    assert named_targets({"recipe_file": recipe}) == ("openvino",)
    assert named_targets({"recipe_file": tmp_path / "none.toml"}) == ("ort",)
    found = recipe_values({"recipe_file": recipe, PARAMETER: "auto"})
    assert found == {"openvino": {"precision": "auto"}}
