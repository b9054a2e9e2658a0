"""Where the quantized graph loses: the error at every layer, and the tensors that cost the most."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from calibration.coarse import coarse
from calibration.collect import collect
from calibration.dataset import CalibrationSet
from calibration.observers import Observed
from calibration.scheme import QuantParams
from compressor.plan.realize import planned_policy, realize, with_integers
from compressor.quantization.noise import Noise, layer_noise
from compressor.quantization.placement import quantized_values
from compressor.quantization.ranges import activation_params, sharing
from compressor.quantization.replay import replay
from compressor.quantization.static import StaticChoice
from compressor.results.graph_report import LayerError, TensorRange
from compressor.search.candidate import Candidate, Outcome
from compressor.search.measure import Pair
from compressor.search.precision.unquantized import why_float
from compressor.search.precision.weight_only import without_absorbed
from exporters.base import QuantPolicy

SAMPLES = 32
"""Samples that are run, at most."""
SECONDS = 10.0
"""What a pass over them may take: nothing is decided here."""
TENSORS = 8
"""Tensors that are shown."""


@dataclass(frozen=True)
class Explanation:
    """What the report tells of layers and tensors, the worst first, or the reason why nothing."""

    layers: tuple[LayerError, ...] = ()
    tensors: tuple[TensorRange, ...] = ()
    reason: str | None = None


def explain(found: Outcome, pair: Pair, data: CalibrationSet | None) -> Explanation:
    """Measure the quantized graph that ships, or the one that was considered, layer by layer.

    Nothing is decided here.

    Args:
        found: The float graph, and the quantized candidate made of it.
        pair: How to run.
        data: Samples, of which few are drawn by seed.
    """
    quantized = found.quantized
    if quantized is None:
        replayed = bool(found.plan.quantized) or found.plan.stored is not None
        return Explanation(
            reason="the plan was replayed, which measures no layers: run without --plan"
            if replayed
            else "nothing was quantized"
        )
    if data is None:
        return Explanation(reason="there are no samples to run: pass --calib beside --stats")
    with pair.progress.stage("measure layers"):
        sample = data.take(SAMPLES)
        return _Explaining(found, quantized, sample, pair).explanation()


class _Explaining:
    """One INT8 graph and the samples that it is looked at with."""

    def __init__(
        self, found: Outcome, quantized: Candidate, sample: CalibrationSet, pair: Pair
    ) -> None:
        plan = quantized.plan
        policy = planned_policy(plan, pair.target)
        self._policy = replace(policy, weight=replace(policy.weight, bits=plan.weight_bits))
        self._model, self._quantized, self._sample = found.graph, quantized, sample
        self._integer, self._changed = plan.integer, plan.quantized
        made = with_integers if plan.stored is None else realize
        self._made = made(found.graph, plan, pair.target)
        if plan.stored is not None:
            self._policy, self._changed = without_absorbed(policy), plan.stored.nodes
        self._memory, self._batch = pair.recipe.quantize.memory, pair.recipe.quantize.batch

    def explanation(self) -> Explanation:
        noise = layer_noise(
            self._model,
            self._made,
            self._changed,
            self._sample,
            self._policy,
            memory=self._memory,
            seconds=SECONDS,
        )
        layers = [_layer(one, self._quantized.float_reasons, self._policy) for one in noise]
        layers.sort(key=lambda layer: _badness(layer.sqnr_db))
        choice = self._quantized.calibration
        return Explanation(tuple(layers), () if choice is None else self._tensors(choice))

    def _tensors(self, choice: StaticChoice) -> tuple[TensorRange, ...]:
        """Those whose readers lose the most; of several that share a range, the worst."""
        values = quantized_values(self._model, self._integer, self._policy)
        if not values:
            return ()
        ranges = self._quantized.plan.ranges
        params = activation_params(self._model, self._integer, values, ranges, self._policy)
        scores = self._scores(choice, params)
        leaders = sharing(self._model, self._integer, values, self._policy)
        worst: dict[str, str] = {}
        for name in sorted(params, key=lambda name: _badness(scores[name])):
            worst.setdefault(leaders[name], name)
        names = list(worst.values())[:TENSORS]
        observed = self._observed(choice, names)
        methods = choice.selected.methods
        return tuple(
            _tensor(name, methods[name], scores[name], observed[name], params[name])
            for name in names
        )

    def _scores(self, choice: StaticChoice, params: dict[str, QuantParams]) -> dict[str, float]:
        """What the consumers said: when the methods were chosen, else now."""
        selected = choice.selected
        if selected.scores:
            return {name: selected.scores[name][selected.methods[name]] for name in params}
        found = replay(
            self._model,
            self._integer,
            list(params),
            {"chosen": params},
            self._sample,
            self._policy,
            memory=self._memory,
        )
        return {name: scores["chosen"] for name, scores in found.items()}

    def _observed(self, choice: StaticChoice, names: list[str]) -> dict[str, Observed]:
        """From the statistics; histograms of the sample where those are extremes only."""
        stats = choice.stats
        assert stats is not None, "there are quantized values"
        if stats.origin.histograms:
            return {name: stats.observed[name] for name in names}
        seen = collect(
            self._model, names, self._sample, batch=self._batch, memory=self._memory
        ).observed
        return {name: replace(seen[name], extremes=stats.observed[name].extremes) for name in names}


def _badness(decibels: float) -> float:
    """A key to sort by: what is not a number is the worst."""
    return -math.inf if math.isnan(decibels) else decibels


def _layer(noise: Noise, reasons: Mapping[str, str], policy: QuantPolicy) -> LayerError:
    point = noise.point
    why = None
    if not point.integer:
        why = reasons.get(point.node) or why_float(point.operator, policy)
    return LayerError(
        node=point.node,
        operator=point.operator,
        integer=point.integer,
        reason=why,
        value=point.value,
        sqnr_db=noise.sqnr,
        own_sqnr_db=noise.own,
    )


def _tensor(
    name: str, method: str, score: float, observed: Observed, params: QuantParams
) -> TensorRange:
    seen = coarse(observed, params)
    return TensorRange(
        value=name,
        method=method,
        sqnr_db=score,
        low=seen.low,
        high=seen.high,
        observed_low=observed.low,
        observed_high=observed.high,
        clipped=seen.clipped,
        edges=seen.edges,
        counts=seen.counts,
    )
