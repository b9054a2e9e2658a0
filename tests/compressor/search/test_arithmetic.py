"""Float work in another arithmetic: a candidate that is raced and judged like any other."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from graphs import residual
from seams import Clock, Told, Verdicts, images, session_of

from compressor import Recipe
from compressor.plan.plan import Plan
from compressor.search.arithmetic import STAGE, with_arithmetic
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome, ships_float
from compressor.search.replay import replay
from compressor.search.session import Race, Session
from exporters.base.execution import Execution
from exporters.ort.target import OrtTarget

RECIPE = Recipe()


class Halves(OrtTarget):
    """A runtime that can compute float work in bfloat16, if it is asked."""

    why: str | None = None
    names: tuple[str, ...] = ("bf16",)

    @property
    def arithmetics(self) -> tuple[str, ...]:
        return self.names

    @property
    def why_no_arithmetic(self) -> str | None:
        return self.why


def floats_of(model: ir.Model) -> str | None:
    return Execution.of(model).floats


def faster_in_half(asked: Race) -> float:
    """What is in bfloat16 takes half the time."""
    times = {None: 2.0, "bf16": 1.0}
    return times[floats_of(asked.baseline)] / times[floats_of(asked.challenger)]


def started(clock: Clock, target: Halves, told: Told | None = None) -> tuple[Session, Outcome]:
    given = {"x": images(8, 0)["x"]}
    session = session_of(
        residual(), RECIPE, clock, calibration=given, target=target, progress=told or Told()
    )
    return session, undecided(session)


def test_faster_and_accepted_it_ships_and_says_where_it_pays():
    told = Told()
    session, start = started(Clock(faster_in_half), Halves(), told)
    found = with_arithmetic(session, start, None, Verdicts(None, [True]))
    assert found.plan.floats == "bf16"
    assert floats_of(found.shipped) == "bf16"
    assert floats_of(start.shipped) is None, "what was there stays as it is"
    assert not ships_float(found.plan)
    assert [one.name for one in found.considered if one.shipped] == ["float, floats in bf16"]
    record = found.records[-1]
    assert record.name == STAGE
    assert "2.00×" in record.decisions[0].reason
    assert told.notices == ["what is not integer is computed in bf16"]


@pytest.mark.parametrize(
    ("ratio", "met", "verdict"),
    [(lambda asked: 1.0, True, "left"), (faster_in_half, False, "refused")],
    ids=["no faster", "not accepted"],
)
def test_else_float32_stays(ratio, met: bool, verdict: str):
    session, start = started(Clock(ratio), Halves())
    found = with_arithmetic(session, start, None, Verdicts(None, [met]))
    assert found.plan == start.plan
    assert found.shipped is start.shipped
    assert [one.verdict for one in found.records[-1].decisions] == [verdict]


def test_of_integers_and_floats_the_fastest_ships():
    session, start = started(Clock(faster_in_half), Halves())
    plan = start.plan.model_copy(update={"ship": "fp16"})
    found = with_arithmetic(session, replace_plan(start, plan), None, Verdicts(None, [True]))
    assert found.plan.ship == "fp16", "float in half is no faster than that"
    assert [one.verdict for one in found.records[-1].decisions] == ["kept", "left"]


def replace_plan(outcome: Outcome, plan: object) -> Outcome:
    return outcome.then(plan=plan, name="FP16")  # type: ignore[arg-type]


def test_a_runtime_with_one_arithmetic_is_not_asked():
    clock, target = Clock(faster_in_half), Halves()
    target.names = ()
    session, start = started(clock, target)
    assert with_arithmetic(session, start, None, Verdicts(None, [True])) is start
    target.why = "this CPU has none"
    found = with_arithmetic(session, start, None, Verdicts(None, [True]))
    assert found.records[-1].notices == ("this CPU has none",)
    assert clock.races == []


def test_an_interrupted_search_ships_what_it_has():
    session, start = started(Clock(faster_in_half), Halves())
    cut = replace(start, interrupted=True)
    assert with_arithmetic(session, cut, None, Verdicts(None, [True])) is cut


def test_a_plan_brings_it_back(tmp_path):
    session, start = started(Clock(faster_in_half), Halves())
    found = with_arithmetic(session, start, None, Verdicts(None, [True]))
    Plan(target="ort", seed=0, graphs={"model": found.plan}).save(tmp_path / "plan.json")
    plan = Plan.load(tmp_path / "plan.json").graphs["model"]
    assert floats_of(replay(session, plan).shipped) == "bf16"
    x = images(2, 1)
    with session.target.open(found.shipped) as one, session.target.open(start.shipped) as other:
        np.testing.assert_array_equal(one.run(x)["y"], other.run(x)["y"])
