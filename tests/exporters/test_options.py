"""Options of targets: declared beside the target, seen in recipe, flags and help from there."""

import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

from compressor.errors import RecipeError
from compressor.recipe.reading import load_recipe
from compressor.recipe.recipe import Recipe
from compressor.recipe.toml import to_toml
from exporters import DEFAULT_TARGET
from exporters.base import TargetOptions, find_target, options_of, reference_target, target_names

ROOT = Path(__file__).parents[2]
OPTIONS = """
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from exporters.base.options import Flag, TargetOptions


class FpgaOptions(TargetOptions):
    \"\"\"Bitstreams.\"\"\"

    title: ClassVar[str] = "Field programmable"

    board: Annotated[Literal["small", "large"], Flag("--board", "Size of the board.")] = Field(
        "small", description="Which board."
    )
    volts: Annotated[float, Flag("--volts", "Supply of the core.", "V")] = Field(
        1.0, gt=0, description="What the core gets."
    )
    pins: Annotated[tuple[str, ...], Flag("--pin", "Pin of an input.", "NAME:PIN")] = Field(
        (), description="Where inputs come in."
    )
    cooled: Annotated[bool, Flag("--cooled", "There is a fan.")] = Field(
        False, description="Whether a fan is there."
    )
    seed: int = Field(0, description="Of place and route.")


OPTIONS = FpgaOptions
"""
TARGET = """
from exporters.fpga.options import FpgaOptions
from exporters.ort.target import OrtTarget


class FpgaTarget(OrtTarget):
    name = "fpga"
    title = FpgaOptions.title
    options = FpgaOptions()

    def configured(self, options):
        made = FpgaTarget()
        made.options = options
        return made

    def why_not_measurable(self):
        return "there is no board here"

    def build(self, model, directory, **how):
        (directory / "constraints.txt").write_text(repr(self.options))
        return super().build(model, directory, **how)


TARGET = FpgaTarget()
"""
RUNS = """
import sys

import exporters

exporters.__path__.append(sys.argv[1])

from click.testing import CliRunner

from compressor.cli.main import cli

for arguments in (line.split() for line in sys.stdin):
    done = CliRunner().invoke(cli, arguments)
    print("ran:", done.exit_code, done.output, done.exception)
"""


@pytest.fixture
def with_a_third(tmp_path: Path):
    """Runs command lines where a package `fpga` lies beside the targets; says how each went."""
    folder = tmp_path / "more" / "fpga"
    folder.mkdir(parents=True)
    for name, text in (("__init__", ""), ("options", OPTIONS), ("target", TARGET)):
        (folder / f"{name}.py").write_text(dedent(text))

    def run(*lines: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", RUNS, str(folder.parent)],
            input="\n".join(lines),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split("ran: ")[1:]

    return run


def test_a_third_target_needs_no_line_elsewhere(with_a_third, tiny_model: Path, tmp_path: Path):
    (tmp_path / "r.toml").write_text('target = "fpga"\n[fpga]\nvolts = 0.9\nseed = 7\n')
    out = tmp_path / "out"
    helped, printed, targets, compressed, stray, wrong = with_a_third(
        "--help",
        "recipe --board large --pin x:3 --cooled",
        "targets",
        f"{tiny_model} --recipe {tmp_path / 'r.toml'} --pin x:3 --pin y:4 --quiet -o {out}",
        f"{tiny_model} --volts 2 -o {out}",
        f"recipe --recipe {tmp_path / 'r.toml'} --volts -1",
    )
    section = helped.split("Field programmable:")[1]
    assert "--board [small|large]" in section
    assert "[default: small]" in section
    assert "--volts V" in section
    assert "--pin NAME:PIN" in section
    document = tomllib.loads(printed.removeprefix("0 ").removesuffix(" None\n"))
    given = {"board": "large", "volts": 1.0, "pins": ["x:3"], "cooled": True, "seed": 0}
    assert document["fpga"] == given
    assert "# Bitstreams.\n# Which board." in printed
    assert "Field programmable" in targets
    assert compressed.startswith("0 "), compressed
    told = (out / "constraints.txt").read_text()
    assert told == (
        "FpgaOptions(board='small', volts=0.9, pins=('x:3', 'y:4'), cooled=False, seed=7)"
    )
    assert stray.startswith("2 ")
    assert "--volts and the other options of [fpga] are not for the target 'ort'" in stray
    assert "Pass --target fpga with them." in stray
    assert "field 'fpga.volts'" in wrong


def test_a_target_in_one_file_has_no_options():
    assert options_of(DEFAULT_TARGET) is None
    assert options_of("tflite") is None
    assert Recipe().target_options is None


def test_the_reference_target_is_the_default():
    assert reference_target() is find_target(Recipe().target)


@pytest.mark.parametrize("name", target_names())
def test_a_target_takes_what_it_declares(name: str):
    options = options_of(name)
    if options is None:
        return
    target = find_target(name)
    assert target.title == options.title
    assert target.configured(options()).name == name


def declared() -> list[tuple[str, type[TargetOptions]]]:
    found = [(name, options_of(name)) for name in target_names()]
    return [(name, options) for name, options in found if options is not None]


@pytest.mark.parametrize(("name", "options"), declared())
def test_every_option_is_in_the_guides_and_the_recipe(name: str, options: type[TargetOptions]):
    guides = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    flags = {one.field: one.flag.name for one in options.flags()}
    missing = [key for key in options.model_fields if flags.get(key, f"`{key}`") not in guides]
    assert missing == []
    document = tomllib.loads(to_toml(Recipe()))
    printed = to_toml(Recipe()).split(f"[{name}]")[1]
    assert document.keys() >= {name}
    assert all(f"\n{key} =" in printed or f"\n# {key} =" in printed for key in options.model_fields)


def test_graphs_are_sections_that_are_read_again(tmp_path: Path):
    graphs = {"unet": {"model": "u.pt", "inputs": ("x:float32[n]",)}, "a b": {"model": "v.onnx"}}
    recipe = Recipe.model_validate({"graphs": graphs})
    printed = to_toml(recipe)
    assert '[graphs."a b"]' in printed
    (tmp_path / "r.toml").write_text(printed)
    assert load_recipe(tmp_path / "r.toml", {}).graphs == recipe.graphs


def test_a_section_that_no_target_declares_is_refused(tmp_path: Path):
    (tmp_path / "r.toml").write_text("[tflite]\nx = 1\n")
    with pytest.raises(RecipeError, match="field 'tflite': there is no such field"):
        load_recipe(tmp_path / "r.toml", {})


def test_what_was_chosen_is_told_by_flag_or_key():
    options = options_of("trt")
    assert options is not None
    assert options().chosen == ()
    assert options(precision="fp16", refit=True).chosen == ("--precision", "`refit`")
