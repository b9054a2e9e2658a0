"""What ships so far, its history, and the race that is known of it."""

from dataclasses import replace
from types import SimpleNamespace

import onnx_ir as ir
import pytest

from compressor.commands.account import measured_again
from compressor.plan.plan import GraphPlan
from compressor.results.measurements import LatencyConfig, LatencyResult
from compressor.results.records import StageRecord
from compressor.search.candidate import Candidate, Outcome, Raced

ONE, TWO = LatencyConfig(batch=1, threads=1), LatencyConfig(batch=1, threads=2)


def race(ratio: float | None, config: LatencyConfig = ONE) -> LatencyResult:
    return LatencyResult.model_construct(ratio=ratio, config=config)


def graph(name: str) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 20]> {name} (float[1] x) => (float[1] y) '
        "{ y = Relu(x) }"
    )


def test_only_the_race_of_the_very_graphs_is_known():
    baseline, shipped, other = graph("a"), graph("b"), graph("c")
    found = race(1.5)

    def outcome(raced: Raced | None) -> Outcome:
        return replace(started(baseline), shipped=shipped, raced=raced)

    assert outcome(Raced(baseline, shipped, found)).known_race is found
    assert outcome(Raced(baseline, other, found)).known_race is None
    assert outcome(Raced(other, shipped, found)).known_race is None
    assert outcome(None).known_race is None


def started(model: ir.Model) -> Outcome:
    plan = GraphPlan(graph="-", baseline="folded", ship="float")
    records = (StageRecord(name="fold", seconds=0.0),)
    return Outcome(Candidate("float", plan, records=records), model, model, model, model)


def test_each_candidate_has_its_own_stages_and_a_history():
    model, other = graph("a"), graph("b")
    start = started(model)
    quantized = StageRecord(name="quantize", seconds=1.0)
    found = start.then(quantized, reason="it pays", float_reasons={"n": "no kernel"}, shipped=other)
    later = found.then(float_reasons={"m": "slower"})
    assert [record.name for record in later.records] == ["fold", "quantize"]
    assert found.candidate.records == later.candidate.since(start.candidate) == (quantized,)
    assert later.candidate.parent is found.candidate
    assert (later.shipped, later.plain, start.shipped) == (other, model, model)
    assert later.float_reasons == {"n": "no kernel", "m": "slower"}
    assert later.reason == "it pays"


@pytest.mark.parametrize(
    ("decided", "final", "words"),
    [
        (race(1.5), race(1.5), None),
        (race(1.5), race(1.4), "timed again when it was finished"),
        (race(1.5), race(None, TWO), "was on one thread, as others used the machine"),
    ],
)
def test_figures_that_differ_are_explained(decided, final, words):
    candidate = SimpleNamespace(shipped=True, latency=decided)
    told = measured_again(SimpleNamespace(latency=(final,), candidates=(candidate,)))
    assert told == () if words is None else words in told[0]
