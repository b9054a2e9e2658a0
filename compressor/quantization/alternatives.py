"""What other range methods offer for the tensors whose ranges cost the most.

`auto` chooses by the error at single consumers, on one sample, and prefers to clip little. Other
samples and the whole network may see it differently; this lists, worst tensor first, what is worth
a try there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import QuantParams
from calibration.stats import CalibrationStats
from compressor.quantization.auto import EQUAL, candidates, drawn, proposed
from compressor.quantization.placement import quantized_values
from compressor.quantization.ranges import Range, activation_params, sharing
from compressor.quantization.replay import replay
from exporters.base import QuantPolicy

PRESENT = "present"
"""The candidate that the plan has."""


@dataclass(frozen=True)
class Proposal:
    """Another method's ranges of some values.

    Attributes:
        method: The range method.
        score: SQNR at the consumers, in dB, the mean over the values.
        ranges: Value → real range.
    """

    method: str
    score: float
    ranges: Mapping[str, Range]


@dataclass(frozen=True)
class Alternatives:
    """Values that share a range, and what could take its place.

    Attributes:
        values: Their names.
        score: SQNR at their consumers with the present range, in dB, the mean over the values.
        proposals: Proposals of other methods, the best first.
    """

    values: tuple[str, ...]
    score: float
    proposals: tuple[Proposal, ...]


def alternatives(
    model: ir.Model,
    integer: Sequence[str],
    ranges: Mapping[str, Range],
    stats: CalibrationStats,
    data: CalibrationSet,
    policy: QuantPolicy,
    *,
    seed: int = 0,
    memory: int | None = None,
) -> list[Alternatives]:
    """Other ranges for what passes between integer nodes, the worst values first.

    A method is listed where it gives other integers than the present range, and loses no more
    than `EQUAL` decibels to it at the consumers; of methods that agree, the first.

    Args:
        model: The float graph.
        integer: Names of the integer nodes.
        ranges: The present ranges.
        stats: What calibration saw; where that is extremes only, minmax alone proposes.
        data: Samples to replay, of which `auto`'s number is drawn.
        policy: The target's policy.
        seed: Seed of the sample: another than `auto` used.
        memory: Bytes to take beside the model (1 GB).
    """
    values = quantized_values(model, integer, policy)
    names = [value.name or "" for value in values]
    methods = candidates(policy.activation) if stats.origin.histograms else ("minmax",)
    found = {m: proposed(stats, names, policy.activation, m) for m in methods}
    found[PRESENT] = {name: ranges[name] for name in names}
    params = {m: activation_params(model, integer, values, found[m], policy) for m in found}
    scores = replay(model, integer, names, params, drawn(data, seed), policy, memory=memory)
    groups: dict[str, list[str]] = {}
    for name, leader in sharing(model, integer, values, policy).items():
        groups.setdefault(leader, []).append(name)
    listed = []
    for members in groups.values():
        means = {m: sum(scores[name][m] for name in members) / len(members) for m in found}
        proposals = [
            Proposal(m, means[m], {name: found[m][name] for name in members})
            for m in _others(members, params)
            if means[m] >= means[PRESENT] - EQUAL
        ]
        proposals.sort(key=lambda proposal: -proposal.score)
        listed.append(Alternatives(tuple(members), means[PRESENT], tuple(proposals)))
    return sorted(listed, key=lambda group: group.score)


def _others(members: Sequence[str], params: Mapping[str, Mapping[str, QuantParams]]) -> list[str]:
    """The methods whose integers differ from the present ones and from each other's."""

    def key(method: str) -> tuple[bytes, ...]:
        used = [params[method][name] for name in members]
        return tuple(p.scale.tobytes() + p.zero_point.tobytes() for p in used)

    known, others = {key(PRESENT)}, []
    for method in params:
        if key(method) not in known:
            known.add(key(method))
            others.append(method)
    return others
