"""Help says of each command what is true of it, and offers it nothing that it does not read."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compressor.cli.main import cli
from exporters.base import find_target, target_names


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def said_of(command: str) -> str:
    return " ".join(run(command, "--help").output.split())


def test_a_search_offers_neither_what_it_does_not_vary_nor_what_only_a_run_does():
    text = said_of("search")
    for alien in ("--kv-cache", "--contrib", "NAME=DATA", "prunes as far", "by then ships"):
        assert alien not in text, alien
    assert "Exit code 3 if what --pick ships does not meet it" in text


@pytest.mark.parametrize("command", ["profile", "inspect", "sensitivity", "calibrate", "compare"])
def test_data_of_a_graph_of_a_pipeline_is_of_commands_that_run_one(command: str):
    assert "NAME=DATA" not in said_of(command)
    assert "NAME=DATA" in said_of("run")


def test_data_of_a_graph_is_not_left_out_unsaid(tiny_model: Path, tiny_data: Path):
    done = run("inspect", tiny_model, "--calib", f"graph={tiny_data}")
    assert done.exit_code == 2, done.output
    assert f"graph={tiny_data}" in done.stderr.replace("\n", "")


def test_help_tells_of_every_form_of_data():
    text = said_of("run")
    assert all(form in text for form in (".npz", "images", "recordings", ".csv", "file.py:"))


def test_a_search_refuses_a_recipe_with_another_cache(tiny_model: Path, tmp_path: Path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[quantize]\nkv_cache = "int8"\n')
    done = run("search", tiny_model, "--recipe", recipe)
    assert done.exit_code == 2, done.output
    assert "--kv-cache is of compress alone" in done.stderr


def test_targets_are_listed_in_columns():
    lines = run("targets").output.splitlines()
    assert [line.split()[0] for line in lines] == target_names()
    titles = {line.index(find_target(line.split()[0]).title) for line in lines}
    assert len(titles) == 1, lines
