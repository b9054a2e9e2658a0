"""The pages of the site that are made from the code."""

import importlib.util
from pathlib import Path

import click
import pytest

from compressor.cli.main import cli
from compressor.evaluation.metrics import metric_names
from exporters.base import target_names

SOURCE = Path(__file__).parents[1] / "docs/generated/reference.py"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("reference", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def test_every_command_metric_target_and_section_has_its_place(pages: dict[str, str]) -> None:
    for name in cli.list_commands(click.Context(cli)):
        assert f"## compress {'MODEL' if name == 'run' else name}\n" in pages["cli.md"]
    for name in metric_names():
        assert f"\n## {name}\n" in pages["metrics.md"]
    for name in target_names():
        assert f"\n## {name}: " in pages["targets.md"]
    assert "[train]" in pages["recipe.md"]


def test_messages_stand_beside_their_hints(pages: dict[str, str]) -> None:
    told = pages["errors.md"]
    row = "| unknown target ⟨…⟩ | Choose one of: ⟨…⟩. |"
    assert row in told[told.index("## UsageError") :]
    tables = [line for line in told.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") in (3, 4) for line in tables)
    assert len(tables) > 300
