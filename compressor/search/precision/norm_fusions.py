"""Additions in front of norms, kept from being fused with them where that is faster."""

import onnx_ir as ir

from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.results.format import configuration, ratio, ratio_interval
from compressor.results.records import StageRecord
from compressor.search.session import Session


def with_norms_apart(
    session: Session, graph: ir.Model, plan: GraphPlan
) -> tuple[GraphPlan, tuple[StageRecord, ...]]:
    """The plan without the runtime's fusion of additions with norms, where that is faster.

    Both compute the same and take the same room, so that the measured ratio decides, proven or
    not, unless its interval is too wide to mean anything. It comes before what regions take is
    measured, as it changes what there is to gain.

    Args:
        session: The deciding configuration.
        graph: The float graph.
        plan: With everything integer that can be.
    """
    apart = plan.model_copy(update={"plain_norms": True})
    with session.stage("compare fusions") as stage:
        fused, candidate = (realize(graph, one, session.target) for one in (plan, apart))
        count = session.target.keep_norms_plain(fused.clone())
        if count == 0:
            return plan, ()
        with session.progress.stage("compare fusions"):
            race = session.race(fused, candidate, seconds=session.recipe.measure.seconds / 2)
        if race is None:
            return plan, ()
        faster = race.speed > 1 and race.verdict != "undecided"
        stage.changed = {"additions": count if faster else 0}
        stage.decide(
            "additions before norms",
            "kept apart" if faster else "fused",
            f"{ratio(race.speed)} the speed where they are not fused "
            f"({ratio_interval(race.ends)}) at {configuration(race.config)}",
        )
        stage.timed(race)
    return (apart if faster else plan), (stage.record,)
