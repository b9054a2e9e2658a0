"""2:4 sparse weights where they were asked for, held against the budget where there is one.

What they gain depends on the GPU; here it is only seen to that the pattern is there, that it costs
as little as it can, and that whoever set a budget gets what keeps it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.layerwise.factor import own_threads
from compressor.layerwise.layers import Layer, layers_of
from compressor.plan.decisions import SparsePlan
from compressor.plan.plan import GraphPlan
from compressor.pruning.coupling.groups import Grouping
from compressor.pruning.reconstruction.patching import patch_of, patched
from compressor.pruning.reconstruction.repair import MEMORY, Repair, repair
from compressor.pruning.reconstruction.sparsity import why_not_eligible
from compressor.recipe.requirements.data import require_no_repair
from compressor.results import format as fmt
from compressor.results.effects import weight_effect
from compressor.results.pruning import LayerRepair, LayerVerdict, RepairRecord
from compressor.search.acceptance import Acceptance
from compressor.search.bisection import Bracket, bisect, half_way
from compressor.search.candidate import Candidate, Judged, Outcome
from compressor.search.session import Session, Stage
from exporters.base import Target

STAGE = "2:4 sparsity"
SAMPLES = 512
"""That weights are refitted on, at most."""
ATTEMPTS = 3
"""Sparse graphs that are tried within a budget, from all eligible layers down."""


def with_sparsity(
    session: Session,
    start: Outcome,
    data: CalibrationSet | None,
    acceptance: Acceptance,
    only: Collection[str] | None = None,
) -> Outcome:
    """The float graph with the pattern in every layer that can have it, where that was asked for.

    Layers are refitted in order on what the sparse graph feeds them, to what the graph made before,
    those that stay dense and norms too where that helps. Where a budget refuses that, fewer layers
    are tried, those that lose least. What the time budget does not leave time for stays dense.

    Args:
        session: The target, and what is asked for.
        start: The float graph that was decided on.
        data: Calibration samples.
        acceptance: The quality budget, or none.
        only: Names of the layers that may become sparse; None for all.

    Raises:
        RecipeError: There is no calibration data.
    """
    asked = session.recipe.prune.sparsity
    if asked is None:
        return start
    if data is None:
        require_no_repair(session.recipe)
        return start
    with session.stage(STAGE) as stage:
        layers = layers_of(start.graph)
        dense = _dense(layers, session.target)
        wanted = tuple(n for n in layers if n not in dense and (only is None or n in only))
        search = _Sparsifying(session, start, data.take(SAMPLES), acceptance, stage)
        best = search.best_of(wanted) if wanted else None
        _tell(stage, search.tried, best, dense, len(layers))
        if best is not None:
            stage.effects.append(weight_effect(start.graph, _patched(start, best.plan)))
    considered = tuple(one.told() for one in search.tried if one.judged is not None)
    found = replace(start.then(stage.record), considered=considered)
    if best is None:
        return found
    sparse = _patched(start, best.plan)
    return found.then(plan=best.plan, shipped=sparse, plain=sparse, graph=sparse)


@dataclass
class _Sparsifying:
    """The candidates of one float graph, from all eligible layers down."""

    session: Session
    start: Outcome
    data: CalibrationSet
    acceptance: Acceptance
    stage: Stage
    tried: list[Candidate] = field(default_factory=list)

    def best_of(self, wanted: Sequence[str]) -> Candidate | None:
        """All layers; where they are refused, fewer by bisection. The last kept is the most."""
        first = self._attempt(wanted)
        if not _is_kept(first):
            repairs = _repairs(first)
            ranked = sorted(_sparse(first.plan), key=lambda name: repairs[name].error_after or 0.0)

            def attempt(value: float, found: Bracket) -> Bracket:
                made = self._attempt(ranked[: int(value)])
                return found.with_(value, accepted=_is_kept(made))

            bisect(
                Bracket(holds=0, fails=len(ranked)),
                attempt,
                until=self._is_over,
                middle=lambda found: half_way(found) // 1,
            )
        return next((one for one in reversed(self.tried) if _is_kept(one)), None)

    def _is_over(self, found: Bracket) -> bool:
        return len(self.tried) >= ATTEMPTS or found.fails - found.holds <= 1 or self._out_of_time()

    def _out_of_time(self) -> bool:
        limit = self.session.recipe.budget.seconds
        return limit is not None and self.stage.elapsed >= limit

    def _attempt(self, layers: Sequence[str]) -> Candidate:
        """A sparse graph, as its plan makes it again."""
        session, model = self.session, self.start.graph
        how = Repair(
            memory=int(session.recipe.quantize.memory or MEMORY),
            rounds=0,
            sparse=frozenset(layers),
            stage=STAGE,
            is_over=self._out_of_time,
        )
        with own_threads():
            whole = Grouping((), (), ())
            fitted, record = repair(model, model, whole, {}, self.data, how, session.progress)
        verdicts = record.layers.items()
        sparse = tuple(name for name, one in verdicts if one.verdict is LayerVerdict.SPARSE)
        made = SparsePlan(layers=sparse, weights=patch_of(model, fitted))
        plan = self.start.plan.model_copy(update={"sparse": made})
        name = f"{fmt.plural(len(sparse), 'layer')} {LayerVerdict.SPARSE.value}, float"
        judged = self._judged(plan) if sparse else None
        reason = "" if judged is None else judged.words
        parent = self.start.candidate
        one = Candidate(name, plan, parent, (record,), reason, judged=judged)
        self.tried.append(one)
        return one

    def _judged(self, plan: GraphPlan) -> Judged | None:
        """What it loses in float, and whether the budget allows it."""
        if self.acceptance.asked is None:
            return None
        with self.session.progress.stage(f"try {LayerVerdict.SPARSE.value}"):
            return self.acceptance.accepts(_patched(self.start, plan))


def _patched(start: Outcome, plan: GraphPlan) -> ir.Model:
    assert plan.sparse is not None, "a plan of sparse weights"
    return patched(start.graph, plan.sparse.weights)


def _sparse(plan: GraphPlan) -> tuple[str, ...]:
    return () if plan.sparse is None else plan.sparse.layers


def _is_kept(one: Candidate) -> bool:
    """Whether anything became sparse, and no budget refuses it."""
    return not one.refused and bool(_sparse(one.plan))


def _repairs(one: Candidate) -> Mapping[str, LayerRepair]:
    found = (record.layers for record in one.records if isinstance(record, RepairRecord))
    return next(found, {})


def _tell(
    stage: Stage,
    tried: Sequence[Candidate],
    best: Candidate | None,
    dense: Mapping[str, str],
    layers: int,
) -> None:
    """What was eligible, what became of it, and what it cost each layer."""
    shown = best or (tried[0] if tried else None)
    sparse = 0 if best is None else len(_sparse(best.plan))
    share = f"{layers - len(dense)} of {layers} layers are eligible"
    if shown is not None and _sparse(shown.plan):
        share = f"{share}; {shown.reason or 'as asked for'}"
    verdict = f"kept in {fmt.plural(sparse, 'layer')}" if sparse else "dense"
    stage.changed = {"2:4 sparse layers": sparse}
    stage.decide(LayerVerdict.SPARSE.value, verdict, share)
    if shown is not None:
        (record,) = shown.records
        stage.parameters = dict(record.parameters)
        stage.decisions += record.decisions
        stage.notices += record.notices
        late = sum(one.late for one in _repairs(shown).values())
        if late:
            stage.notices.append(f"the time budget ended it before {fmt.plural(late, 'layer')}")
    for name, why in dense.items():
        stage.decide(name, "not eligible", why)


def _dense(layers: Mapping[str, Layer], target: Target) -> dict[str, str]:
    """Layer → why it stays dense."""
    reasons = {
        name: why_not_eligible(layer) or target.why_not_sparse(layer.node)
        for name, layer in layers.items()
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}
