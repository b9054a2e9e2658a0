"""What is said of a budget that the graphs of a loop keep, break, or cannot be proven to keep."""

from pathlib import Path

import pytest
from loops import decoder, denoiser, generate

from compressor import Recipe, compress
from compressor.commands.loop_search import _is_within, _why_back
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.results.graph_report import BudgetResult
from compressor.results.report import Report

pytestmark = pytest.mark.usefixtures("quick")


def classes(models, seed, count):
    """The brightest channel of each image: a decision, of which a share may change."""
    return {"label": generate(models, seed, count)["image"].mean((2, 3)).argmax(1)}


def budgeted(out: Path, max_drop: str, units: int) -> Report:
    recipe = Recipe(
        prune=PruneOptions(macs="none"),
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2"),
        measure=MeasureOptions(seconds=0.05, metric="agreement"),
        budget=BudgetOptions(max_drop=max_drop),
    )
    graphs = {"unet": denoiser(), "vae": decoder()}
    return compress(graphs, pipeline=classes, units=units, recipe=recipe, output=out)


def test_what_so_few_units_cannot_prove_is_said_before_and_refused_with_their_number(
    tmp_path: Path,
):
    report = budgeted(tmp_path / "out", "20pt", 8)
    (notice,) = [one for one in report.notices if "cannot be confirmed" in one]
    assert "8 confirming units cannot rule out a larger loss even where nothing is lost" in notice
    assert "so --units 16" in notice
    found = report.pipeline
    assert found is not None
    assert found.budget is not None
    assert not found.budget.met
    assert found.budget.needed_n is not None
    assert found.budget.needed_n >= 16
    assert f"so --units {found.budget.needed_n}" in found.budget.reason
    assert found.stepped_back == ()
    assert "int8" in {graph.shipped for graph in report.graphs.values()}, "the best is written"


def verdict(point: float | None, bound: float, needed: int | None) -> BudgetResult:
    return BudgetResult(
        asked="1%", metric="agreement", unit=" %", accept="bound", baseline=100.0, allowed=1.0,
        point=point, bound=bound, met=False, n=64, needed_n=needed, method="", reason="the figures",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("point", "others", "said"),
    [
        (3.0, ["h"], "together with h it broke the budget of 1%: the figures"),
        (3.0, [], "it broke the budget of 1%: the figures"),
        (None, [], "it broke the budget of 1%: the figures"),
        (0.5, [], "it may keep the budget of 1%, which so few units cannot prove: the figures"),
    ],
)
def test_a_graph_that_goes_back_is_told_whether_it_broke_the_budget_or_cannot_be_proven(
    point: float | None, others: list[str], said: str
):
    found = verdict(point, 5.0, None if point == 3.0 else 812)
    assert _why_back(found, others) == said
    assert _is_within(found) == (point == 0.5)
