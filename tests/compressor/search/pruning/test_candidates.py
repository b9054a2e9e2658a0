"""Pruned candidates: made once each, at the precision that ships, timed and judged whole."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import residual
from seams import (
    TARGET,
    Clock,
    Told,
    Verdicts,
    always,
    by_size,
    images,
    judged,
    looking,
    session_of,
)

from compressor.errors import PruningError
from compressor.evaluation.attribution import NodeSeconds
from compressor.graph.cost import macs, parameters
from compressor.graph.files import initializer_bytes, serialize
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import Acceptance, NoBudget
from compressor.search.baseline import undecided
from compressor.search.candidate import Judged, Outcome
from compressor.search.precision.search import with_precision
from compressor.search.pruning.candidates import PrunedCandidates
from compressor.search.pruning.pruner import Chosen, Pruner
from compressor.search.pruning.sparsity_2_4 import with_sparsity
from compressor.search.pruning.steps import CostOf, grouped
from compressor.search.pruning.summary import CostKind
from compressor.search.session import Session
from exporters.base import Target
from exporters.trt.options import TrtOptions
from exporters.trt.target import TrtTarget

DATA, JUDGES = images(16, 3), images(16, 4)
FAST = {"round": 1, "blocks": False, "method": "l2", "repair": False}


def candidates(
    *verdicts: bool | Judged,
    mode: str = "none",
    cost: CostKind = "macs",
    clock: Clock | None = None,
    told: Told | None = None,
    target: Target = TARGET,
    is_judged: bool = True,
    **prune: Any,
) -> PrunedCandidates:
    """Of a residual network; with a budget where there are verdicts."""
    recipe = Recipe(
        prune=PruneOptions(**(FAST | prune)),
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=8, mode=mode),
        measure=MeasureOptions(seconds=0.5, metric="cosine"),
    )
    session = session_of(
        residual(), recipe, clock or Clock(), calibration=DATA, evaluation=JUDGES, target=target,
        progress=told or Told(),
    )  # fmt: skip
    evaluation = session.prepared.evaluation
    assert evaluation is not None
    session = looking(session, evaluation)
    acceptance: Acceptance = NoBudget(session, evaluation if is_judged else None, "evaluation data")
    if verdicts:
        acceptance = Verdicts(evaluation, verdicts)
    return made_of(session, acceptance, cost)


def made_of(session: Session, acceptance: Acceptance, cost: CostKind) -> PrunedCandidates:
    data = session.prepared.calibration
    assert data is not None
    start, unjudged = undecided(session), NoBudget(session, None, "")
    whole = with_sparsity(session, start, data, unjudged)
    whole = with_precision(session, whole, data, unjudged)
    groups = grouped(session, start.baseline, len(data))
    return PrunedCandidates(session, start, whole, data, groups, acceptance, cost=cost)


def half(made: PrunedCandidates) -> Outcome:
    return made.at(0.5 * made.full)


@pytest.fixture(scope="module")
def plain() -> tuple[PrunedCandidates, Clock, Told]:
    """Float without a budget, of which a half was made."""
    clock, told = Clock(), Told()
    made = candidates(clock=clock, told=told)
    half(made)
    return made, clock, told


# What is pruned, and by how much


@pytest.mark.parametrize(
    ("cost", "count", "unit"),
    [
        ("macs", lambda graph: macs(graph, images(1, 0)).macs, "of the multiply-accumulates"),
        ("params", parameters, "of the parameters"),
    ],
)
def test_so_much_of_the_cost_goes_as_was_asked(cost: CostKind, count: Any, unit: str):
    made = candidates(cost=cost)
    assert made.unit == unit
    found = half(made)
    share = found.candidate.share
    assert share is not None
    assert 0.5 <= share < 0.6
    before, after = count(residual()), count(found.shipped)
    assert 1 - after / before == pytest.approx(share, abs=0.02), "but for biases of the repair"
    assert found.pruning is not None
    assert (found.pruning.cost, found.pruning.share) == (cost, share)


def test_a_candidate_knows_its_plan_its_race_and_what_it_loses(plain):
    made, clock, _ = plain
    (found,) = made.made
    candidate = found.candidate
    assert candidate.name.endswith("% pruned, float")
    assert found.plan.prune is not None
    assert found.plan.model_copy(update={"prune": None}) == made.start.plan
    assert candidate.since(made.start.candidate)[0].name == "score channels"
    race = clock.races[0]
    assert (race.baseline, race.challenger) == (made.start.baseline, found.shipped)
    assert race.seconds == 0.25
    assert candidate.speed == by_size(race) > 1
    assert found.known_race is candidate.latency
    assert "the speed of the float baseline" in candidate.reason
    assert candidate.judged is not None
    assert candidate.judged.quality is not None
    assert candidate.judged.quality.data == "evaluation data"


def test_within_a_budget_the_verdict_comes_first():
    made = candidates(False)
    found = half(made)
    assert found.candidate.refused
    assert found.candidate.reason.startswith("refused; it ran at ")
    assert found.candidate.told().accepted is False


@pytest.mark.parametrize(("loss", "built"), [(1.4, True), (1.6, False)])
def test_what_loses_far_too_much_as_float_is_not_built(
    monkeypatch: pytest.MonkeyPatch, loss: float, built: bool
):
    """The budget allows 0.5; what a quick repair loses tells whether there is hope."""
    chosen = Pruner.chosen

    def compared(self: Pruner, cost_of: CostOf, target: float) -> Chosen:
        found = chosen(self, cost_of, target)
        return replace(found, selection=replace(found.selection, quick=self.whole.short.model))

    monkeypatch.setattr(Pruner, "chosen", compared)
    clock, told = Clock(), Told()
    made = candidates(judged(False, loss), True, clock=clock, told=told)
    races = len(clock.races)
    found = half(made)
    assert found.candidate.refused != built
    assert ("cut" in told.stages) == built
    assert (len(clock.races) > races) == built
    if not built:
        assert found.candidate.name.endswith("not built")
        assert found.candidate.reason.startswith("refused before it was built")
        assert half(made) is found, "nor is it judged again"


def test_what_removes_the_same_is_not_made_again():
    told = Told()
    made = candidates(round=16, repair=True, told=told)
    one, other = made.at(0.7 * made.full), made.at(0.6 * made.full)
    assert one is other
    assert made.made == [one]
    assert told.stages.count("repair") == 1


def test_the_graph_that_is_pruned_stays_as_it_is(plain):
    made, _, _ = plain
    whole = serialize(undecided(session_of(residual(), made.session.recipe, Clock())).baseline)
    assert serialize(made.start.baseline) == serialize(made.whole.shipped) == whole


def test_a_draft_is_as_large_as_the_candidate_and_is_none(plain):
    made, _, told = plain
    pruned, shipped = made.drafted(0.5 * made.full)
    assert "repair" not in told.stages
    (found,) = made.made
    assert shipped is pruned.model
    sizes = [macs(one, images(1, 0)).macs for one in (shipped, found.shipped)]
    assert sizes[0] == sizes[1]
    assert pruned.cost <= 0.5 * made.full


def test_what_saves_nothing_is_an_error():
    made = candidates(least=1.0)
    assert not made.can_shrink
    with pytest.raises(PruningError, match="nothing that may be removed"):
        half(made)


# At the precision that ships


def integers(graph: ir.Model) -> int:
    weights = (value.const_value for value in graph.graph.initializers.values())
    return sum(tensor is not None and tensor.dtype == ir.DataType.INT8 for tensor in weights)


@pytest.fixture(scope="module")
def int8() -> PrunedCandidates:
    return candidates(mode="int8", clock=Clock(always(1.5)), is_judged=False, round=None)


def test_candidates_and_drafts_have_the_precision_of_the_whole(int8: PrunedCandidates):
    made = int8
    assert (made.precision, made.multiple, made.can_shrink) == ("INT8", 16, True)
    _, draft = made.drafted(0.5 * made.full)
    found = half(made)
    assert found.plan.ship == made.whole.plan.ship
    assert found.candidate.name.endswith("% pruned, INT8")
    assert integers(found.shipped) == integers(draft) == integers(made.whole.shipped) > 0
    small, large = initializer_bytes(found.shipped), initializer_bytes(made.whole.shipped)
    assert small < large
    assert initializer_bytes(draft) == pytest.approx(small, rel=0.1)
    considered = made.whole_quantized()
    assert integers(considered) == integers(made.whole.shipped)


def test_ranges_of_run_time_need_no_samples_for_a_draft():
    made = candidates(mode="int8-dynamic", is_judged=False)
    assert (made.whole.plan.integer, made.whole.plan.dynamic) == ((), ("Gemm_7",))
    _, draft = made.drafted(0.5 * made.full)
    assert "MatMulInteger" in {node.op_type for node in draft.graph}


def test_zeros_of_a_pattern_come_after_channels_in_the_same_layers():
    target = TrtTarget(TrtOptions(precision="fp32"))
    made = candidates(target=target, sparsity="2:4", is_judged=False, round=None)
    assert made.whole.plan.sparse is not None
    found = half(made)
    assert found.plan.sparse is not None
    assert set(found.plan.sparse.layers) <= set(made.whole.plan.sparse.layers)
    value = found.shipped.graph.initializers["w1"].const_value
    assert value is not None
    quads = np.moveaxis(value.numpy(), 1, -1).reshape(-1, 4)
    assert (np.count_nonzero(quads, axis=1) <= 2).all()


@pytest.mark.parametrize(("asked", "multiple"), [(None, 8), (4, 4)])
def test_multiples_are_those_of_the_kernels_unless_asked_for(asked, multiple):
    made = candidates(round=asked, is_judged=False)
    assert made.multiple == multiple
    assert made.can_shrink


# What they are compared by


def test_the_race_of_the_whole_is_the_one_that_decided_it(int8: PrunedCandidates):
    assert int8.race is int8.whole.known_race
    clock = Clock(always(1.5))
    floating = candidates(clock=clock)
    races = len(clock.races)
    assert floating.race is not None
    assert len(clock.races) == races + 1, "float was not raced before"


def test_the_best_is_raced_against_the_whole_at_length(plain):
    made, clock, _ = plain
    (found,) = made.made
    made.against_whole(found)
    race = clock.races[-1]
    assert (race.baseline, race.challenger) == (made.whole.shipped, found.shipped)
    assert race.seconds == 0.5


def test_what_cannot_be_timed_has_no_speed_and_says_so():
    made = candidates(clock=Clock(always(None)))
    found = half(made)
    assert found.candidate.latency is None
    assert found.candidate.reason == "its speed is not known"
    assert (made.race, found.raced) == (None, None)


class Failing(NoBudget):
    """Whose metric does not take what it is given."""

    def accepts(self, model: ir.Model):
        raise ValueError("no such axis")


def test_a_quality_that_only_explains_may_fail():
    told = Told()
    made = candidates(told=told)
    made.acceptance = Failing(made.session, made.session.prepared.evaluation, "")
    assert half(made).candidate.judged is None
    assert any("measure the quality of a pruned graph failed" in one for one in told.notices)
    made.acceptance = NoBudget(made.session, None, "")
    assert made.gauged(made.whole.shipped) is None


def test_seconds_are_those_of_the_timer(plain):
    made, clock, _ = plain
    before = made.seconds
    clock.seconds += 7.0
    assert made.seconds == before + 7.0


class ByWeights(Clock):
    """A node takes as long as its weights are many."""

    def nodes(self, shipped: ir.Model, source: ir.Model, *_: object, **__: object) -> NodeSeconds:
        many = {
            node.name: sum(one.const_value.size for one in node.inputs if one and one.const_value)
            for node in shipped.graph
        }
        return NodeSeconds({n.name: 1e-9 * many[n.name] for n in source.graph if many[n.name]}, 0.0)


def test_a_latency_is_predicted_from_kernels():
    made = candidates(cost="latency", clock=ByWeights(), is_judged=False, round=8)
    assert made.unit == "of the predicted time"
    assert made.full == pytest.approx(1e-9 * parameters(residual()))
    found = half(made)
    assert found.pruning is not None
    assert found.pruning.predicted_ms == pytest.approx(0.5e3 * made.full, rel=0.3)
