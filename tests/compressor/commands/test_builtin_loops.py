"""Built-in loops through the front door: named, given options and data, run on the result."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from click.testing import CliRunner
from language_graphs import cached_decoder
from loops import decoder, denoiser

import compressor
from compressor.cli.main import cli
from compressor.commands.loop_data import dealt, judging
from compressor.commands.loop_job import Units
from compressor.graph.files import save_model
from compressor.pipelines import builtin
from compressor.pipelines.loop import Builtin
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.recipe import Recipe

pytestmark = pytest.mark.usefixtures("quick")


def run(*flags: object):
    return CliRunner().invoke(cli, [str(flag) for flag in flags], prog_name="compress")


def test_text_generation_reads_prompts_and_goes_on_with_the_result(tmp_path: Path):
    save_model(cached_decoder(), tmp_path / "decoder.onnx")
    letters = {letter: place for place, letter in enumerate("abcdefghij?")}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    prompts = [" ".join(np.random.default_rng(i).choice(list("abcdefghij"), 6)) for i in range(24)]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    out = tmp_path / "out"
    flags = ["--pipeline", "text-generation", "--pipeline-option", "tokens=6", "-o", out, "--json"]
    flags += ["--pipeline-option", f"tokenizer={tmp_path / 'tokenizer.json'}"]
    flags += ["--quantize", "none", "--measure-seconds", "0.05"]
    done = run(tmp_path / "decoder.onnx", *flags, "--calib", tmp_path / "prompts.txt")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    found = report["pipeline"]
    assert found["name"] == "text-generation"
    assert found["units"] == 8  # a third of the prompts: some calibrate, some were searched on
    assert found["graphs"]["model"]["calls"] == 6
    assert found["quality"][0]["output"] == "tokens"
    assert any("there are 8 prompts for each purpose" in one for one in report["notices"])
    assert {one["name"] for one in found["outputs"]} == {"tokens", "logits", "text"}
    asked = {"tokens": 6, "tokenizer": tmp_path / "tokenizer.json"}
    generate = builtin.find("text-generation")(asked, calibration=prompts)
    made = generate(compressor.load(out, threads=1), seed=3, count=2)
    assert made["tokens"].shape == (2, 6)
    assert made["text"][0] == tokenizer.decode(made["tokens"][0].tolist())


def test_a_recipe_and_python_name_a_loop_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    save_model(denoiser(), tmp_path / "unet.onnx")
    save_model(decoder(), tmp_path / "vae.onnx")
    Path("recipe.toml").write_text(
        '[pipeline]\nloop = "denoise"\nunits = 8\n[pipeline.options]\nsteps = 3\nclip = 2\n'
        '[graphs.unet]\nmodel = "unet.onnx"\n[graphs.vae]\nmodel = "vae.onnx"\n'
    )
    flags = ["--quantize", "none", "--measure-seconds", "0.05", "-o", "out", "--json"]
    done = run("--recipe", "recipe.toml", "--pipeline-option", "steps=4", *flags)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["pipeline"]["graphs"]["unet"]["calls"] == 4
    assert report["pipeline"]["quality"][0]["output"] == "sample"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["m.onnx", "--pipeline", "denoize"], "no built-in loop 'denoize'"),
        (["m.onnx", "--pipeline", "denoize"], "Did you mean denoise? There is denoise,"),
        (["m.onnx", "--pipeline", "denoise", "--pipeline-option", "step=3"], "Did you mean steps?"),
        (["m.onnx", "--pipeline", "denoise", "--pipeline-option", "steps=x"], "option steps"),
        (["m.onnx", "--pipeline", "denoise", "--pipeline-option", "steps"], "expected NAME=VALUE"),
        (["m.onnx", "--pipeline", "l.py:f", "--pipeline-option", "a=1"], "is one of your own"),
        (["m.onnx", "--pipeline-option", "steps=3"], "of a built-in loop, and there is none"),
        (["m.onnx", "--pipeline", "latent", "--calib", "x.npz"], "reads no data"),
        (["--graph", "net=m.onnx", "--pipeline", "latent"], "calls no graph 'net'"),
        (["m.onnx", "--pipeline", "reconstruct"], "calls no graph 'model'"),
        (["m.onnx", "--pipeline", "denoise", "--stats", "s.npz"], "--stats are of one graph"),
    ],
)
def test_what_is_no_built_in_loop_is_told(flags: list[str], words: str):
    done = run(*flags)
    assert done.exit_code == 2, done.output
    assert words in " ".join(done.output.split())


@pytest.mark.parametrize("name", builtin.loop_names())
def test_a_recipe_prints_the_options_of_a_loop(name: str):
    done = run("recipe", "--pipeline", name)
    assert done.exit_code == 0, done.output
    document = tomllib.loads(done.stdout)
    assert document["pipeline"]["loop"] == name
    kind = builtin.find(name)
    assert kind.read(document["pipeline"]["options"]) == kind.read({})
    assert name in "".join(run("--help").output.split())
    assert all(field.description for field in kind.Options.model_fields.values())


def test_few_samples_are_shared_out_and_it_is_said():
    loop = Builtin(builtin.find("text-generation")({}, calibration=np.ones((50, 4), int)), "t")
    units = Units(0, 64, 8)
    budget = Recipe(budget=BudgetOptions(max_drop="1%"))
    blocks = judging(budget, 1)
    found, notices = dealt(loop, units, blocks, budget, asked=None)
    assert found.count == 10  # five purposes: calibrate, search, confirm, confirm, measure
    assert "10 units judge" in notices[0]
    found, notices = dealt(loop, units, blocks, budget, asked=64)
    assert found.count == 64
    assert "come again" in notices[0]
    found, notices = dealt(loop, Units(0, 10, 8), blocks, budget, asked=None)
    assert notices == []
