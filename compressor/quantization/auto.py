"""The range method `auto`: every method proposes, the consumers of each tensor decide.

No method wins everywhere (Wu et al. 2020, arXiv 2004.09602): where a few values carry the meaning,
clipping ruins them; where they are accidents, keeping them ruins everything else. The error of the
tensor itself does not tell the two apart; the error at the output of what reads it does.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.ranges import find_method
from calibration.scheme import Scheme
from calibration.stats import CalibrationStats
from compressor.quantization.ranges import Range, activation_params, sharing
from compressor.quantization.replay import replay
from exporters.base import QuantPolicy

AUTO = "auto"
CANDIDATES = (
    "samples",
    "minmax",
    "percentile:99.999",
    "percentile:99.99",
    "mse",
    "entropy",
    "percentile:99.9",
)
"""The methods that propose. Of equals the first is taken: the one that clips fewest samples.

Errors at single consumers favour clipping a little more than the whole network likes, whose errors
add up over layers, so another method must win clearly.
"""

FLOAT_CANDIDATES = ("minmax", "samples", "percentile:99.999", "percentile:99.99", "mse")
"""Those for 8-bit floats, whose steps are no finer for what is clipped."""

SAMPLES = 64
"""Samples that are replayed, at most."""
EQUAL = 2.0
"""dB up to which candidates count as equal: a third of a bit."""


@dataclass(frozen=True)
class Selected:
    """Ranges, where each comes from, and what the consumers said.

    Attributes:
        ranges: Value → real range.
        methods: Value → the method that proposed it.
        scores: Value → method → SQNR at its consumers, in dB; empty unless they were asked.
    """

    ranges: Mapping[str, Range]
    methods: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float]]

    def counts(self) -> dict[str, int]:
        """How many values each method was chosen for."""
        return dict(Counter(self.methods.values()).most_common())


def candidates(scheme: Scheme) -> tuple[str, ...]:
    """The methods that propose ranges for a scheme, the one that is taken of equals first."""
    return FLOAT_CANDIDATES if scheme.is_float else CANDIDATES


def proposed(
    stats: CalibrationStats, values: Sequence[str], scheme: Scheme, method: str
) -> dict[str, Range]:
    """One method's range of every value."""
    propose = find_method(method).propose
    return {name: propose(stats.observed[name], scheme) for name in dict.fromkeys(values)}


def by_method(
    stats: CalibrationStats, values: Sequence[str], scheme: Scheme, method: str
) -> Selected:
    """Every value's range by one method."""
    ranges = proposed(stats, values, scheme, method)
    return Selected(ranges, dict.fromkeys(values, method), {})


def select(
    model: ir.Model,
    integer: Sequence[str],
    values: Sequence[ir.Value],
    stats: CalibrationStats,
    data: CalibrationSet,
    policy: QuantPolicy,
    *,
    seed: int = 0,
    memory: int | None = None,
) -> Selected:
    """Per value the method with the least error at its consumers, over a seeded sample of `data`.

    Values that must share a range (both sides of a Reshape, a Concat) share the method.
    """
    names = [value.name or "" for value in values]
    tried = candidates(policy.activation)
    ranges = {m: proposed(stats, names, policy.activation, m) for m in tried}
    params = {m: activation_params(model, integer, values, ranges[m], policy) for m in tried}
    scores = replay(model, integer, names, params, drawn(data, seed), policy, memory=memory)
    groups: dict[str, list[str]] = {}
    for name, leader in sharing(model, integer, values, policy).items():
        groups.setdefault(leader, []).append(name)
    methods: dict[str, str] = {}
    for members in groups.values():
        totals = {m: sum(scores[name][m] for name in members) for m in tried}
        enough = max(totals.values()) - EQUAL * len(members)
        chosen = next(m for m in tried if totals[m] >= enough)
        methods |= dict.fromkeys(members, chosen)
    methods = {name: methods[name] for name in names}
    return Selected({n: ranges[m][n] for n, m in methods.items()}, methods, scores)


def drawn(data: CalibrationSet, seed: int, samples: int = SAMPLES) -> CalibrationSet:
    """A seeded sample of the data; all of it when it is small."""
    total = len(data)
    return data if total <= samples else data.split(samples / total, seed)[0]
