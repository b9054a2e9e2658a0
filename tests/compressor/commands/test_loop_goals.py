"""Goals of a whole loop: the parts of its graphs, and what became of it."""

import pytest

from compressor.commands.goals_met import pipeline_goal, require_report_kept
from compressor.commands.loop_goals import part_of
from compressor.errors import GoalError
from compressor.recipe.goal import parse_goal
from compressor.results.environment import environment
from compressor.results.measurements import Size
from compressor.results.pipeline import PipelineResult
from compressor.results.report import Report

ORDER = ["unet", "text", "vae"]
COSTS = {"unet": 60.0, "text": 30.0, "vae": 10.0}


def test_each_graph_gets_its_share_of_what_is_left():
    assert part_of(50, "unet", ORDER, COSTS, COSTS) == 30
    made = COSTS | {"unet": 20.0}
    assert part_of(50, "text", ORDER, COSTS, made) == pytest.approx(22.5)
    assert part_of(50, "vae", ORDER, COSTS, made | {"text": 22.5}) == pytest.approx(7.5)


def test_a_graph_that_missed_its_part_leaves_less():
    assert part_of(50, "text", ORDER, COSTS, COSTS | {"unet": 44.0}) == pytest.approx(4.5)
    assert part_of(50, "vae", ORDER, COSTS, COSTS) == 0.25 * 5, (
        "no less than a quarter of its share"
    )


def pipeline(file_bytes: int) -> PipelineResult:
    before, after = (
        Size(file_bytes=size, parameters=count, macs=count)
        for size, count in ((100_000, 1000), (file_bytes, 600))
    )
    return PipelineResult(
        name="generate", units=8, traced=8, graphs={}, baseline_size=before, result_size=after
    )


@pytest.mark.parametrize(
    ("kind", "text", "met"),
    [
        ("size", "40KB", True),
        ("size", "20KB", False),
        ("macs", "40%", True),
        ("params", "50%", False),
        ("speedup", "2x", False),
    ],
)
def test_what_became_of_it_is_told_by_the_whole(kind, text: str, met: bool):
    found = pipeline(30_000)
    goal = pipeline_goal(parse_goal(kind, text), found, {})
    assert goal.met == met
    assert goal.reason
    report = Report(
        source="", target="ort", created="", seconds=1, graphs={}, environment=environment(),
        pipeline=found.model_copy(update={"goal": goal}),
    )  # fmt: skip
    if met:
        require_report_kept(report)
        return
    with pytest.raises(GoalError, match="was not met"):
        require_report_kept(report)
