"""The verdict of a measurement in one sentence, and everything that speaks against it."""

import math
from typing import Literal

from compressor.evaluation.ruin import DEPARTURE
from compressor.results import format as fmt
from compressor.results.engine import EngineBuild
from compressor.results.graph_report import GraphReport
from compressor.results.measured import Measured
from compressor.results.measurements import LatencyResult, QualityResult, UseResult, Verdict
from compressor.results.pipeline import PipelineResult
from compressor.results.precision import EIGHT_BITS, WORDS
from compressor.results.report import Report

Tone = Literal["better", "worse", "even", "unknown"]
"""Whether a change is a gain, a loss, neither for certain, or not known."""

_SPEED_TONES: dict[Verdict, Tone] = {
    "faster": "better",
    "slower": "worse",
    "no significant difference": "even",
    "undecided": "unknown",
}


_MOST_OUTPUTS = 3

_SLIGHT = 1e-3
"""Of the original's value."""

_SPELLED = {
    "elbo": "ELBO",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "sqnr": "SQNR",
    "bleu": "BLEU",
    "chrf": "chrF",
    "fid": "FID",
    "kid": "KID",
    "kl": "KL",
    "map": "mAP",
    "map50": "mAP50",
    "f1": "F1",
    "mse": "MSE",
    "nrmse": "NRMSE",
    "r2": "R²",
}
"""Metrics that a sentence writes otherwise than `--metric` does."""


def shipped_name(graph: GraphReport) -> str:
    """What shipped, as it is written: `INT8`, `Float`, `Pruned INT8`, `Float in bf16`."""
    name = WORDS[graph.shipped]
    name = name if graph.arithmetic is None else f"{name} in {graph.arithmetic}"
    return f"Pruned {name}" if graph.pruning is not None else name[0].upper() + name[1:]


def headline(graph: GraphReport) -> str:
    """The verdict on a shipped graph.

    Such as: "INT8 ships: 1.56× faster (95 % interval 1.52–1.60) at batch 1, one thread; accuracy
    86.95 % → 86.80 % (−0.15 points, 95 % interval −0.50…+0.20); 3.8× smaller".
    """
    measured = summary(graph)
    quantized = graph.shipped in (*EIGHT_BITS, "int4")
    unproven = graph.engine is not None and not graph.latency and quantized
    ships = f"{shipped_name(graph)} ships" + (", speed unproven" if unproven else "")
    return ships + (f": {measured}" if measured else "")


def engine_words(graph: GraphReport) -> str:
    """What became of the engine; empty for targets without."""
    engine = graph.engine
    if engine is None:
        return ""
    reason = f": {engine.reason}" if engine.reason else ""
    if engine.sparse:
        reason += f"; {fmt.plural(engine.sparse, 'layer')} with 2:4 sparse weights"
    if engine.file is None:
        return fmt.sentence(f"Engine: {engine.status}{reason}")
    made = f"{engine.file}, {fmt.size(engine.file_bytes or 0)}, by {engine.backend}"
    told = f"Engine: {engine.status} ({made} {engine.version}){reason}"
    if engine.agreement:
        least = min(one.cosine for one in engine.agreement)
        told += f"; its outputs have a cosine of {least:.4f} or more with ONNX Runtime's"
    if engine.kernels:
        told += f"; its kernels: {kernel_words(engine)}"
    if engine.not_integer:
        precision = WORDS["fp8" if engine.precision == "fp8" else "int8"]
        told += f"; not {precision} in it: {', '.join(engine.not_integer)}"
    return fmt.sentence(told)


def kernel_words(engine: EngineBuild) -> str:
    """What the kernels of an engine read: `19 INT8, 3 half; 12 of them sparse`."""
    told = ", ".join(f"{count} {kind}" for kind, count in engine.kernels.items())
    return f"{told}; {engine.sparse_kernels} of them sparse" if engine.sparse else told


def budget_words(graph: GraphReport | PipelineResult) -> str:
    """`Budget of 1%: met, …`; empty where none was asked for."""
    budget = graph.budget
    if budget is None:
        return ""
    verdict = "not confirmed" if budget.interrupted else "met" if budget.met else "NOT met"
    return fmt.sentence(f"Budget of {budget.asked} in {budget.metric}: {verdict}: {budget.reason}")


def budget_tone(graph: GraphReport | PipelineResult) -> Tone:
    """Kept or not."""
    if graph.budget is None:
        return "unknown"
    return "better" if graph.budget.met else "worse"


def summary(measured: Measured) -> str:
    """Speed, quality and size of a result against its baseline; empty where nothing is known."""
    parts = [speed_words(latency) for latency in measured.latency[:1]]
    parts += [_beside(latency) for latency in _other_phases(measured)]
    parts += [quality_words(quality) for quality in measured.quality[:1]]
    parts.append(size_words(measured))
    return "; ".join(part for part in parts if part)


def _other_phases(measured: Measured) -> list[LatencyResult]:
    """What a decoder does beside what decides, where all else is as it is there."""
    first, *others = measured.latency or (None,)
    if first is None or first.config.phase is None:
        return []
    here = (first.config.batch, first.config.threads)
    return [one for one in others if one and (one.config.batch, one.config.threads) == here]


def _beside(latency: LatencyResult) -> str:
    """`prefill (sequence 64, past 0) 1.25× (1.20–1.30)`."""
    told = f"{latency.config.phase} ({fmt.size_words(latency.config.sizes)})"
    if not latency.is_known:
        return f"{told} not known, as the machine was too busy"
    return f"{told} {fmt.ratio(latency.speed)} ({fmt.ratio_interval(latency.ends)})"


def speed_words(latency: LatencyResult) -> str:
    """The speed of one configuration with its interval."""
    where = f"at {fmt.configuration(latency.config)}"
    if not latency.is_known:
        return f"speed not known {where}, as the machine was too busy"
    interval = f"{fmt.level(latency.ends)} {fmt.ratio_interval(latency.ends)}"
    factor = fmt.ratio(latency.speed)
    if latency.verdict == "faster":
        return f"{factor} faster ({interval}) {where}"
    if latency.verdict == "slower":
        return f"slower, {factor} the speed ({interval}) {where}"
    if latency.verdict == "undecided":
        return f"speed undecided ({factor}, {interval}) {where}"
    return f"no significant difference in speed ({factor}, {interval}) {where}"


def quality_words(quality: QualityResult) -> str:
    """One metric of both models, with the difference and its interval where there are any."""
    if quality.result is None:
        return ""
    text = fmt.quality_value(quality, quality.result)
    if quality.baseline is not None and not is_relative(quality):
        text = f"{fmt.quality_value(quality, quality.baseline)} → {text}"
    text = f"{quality_name(quality)} {text}"
    if quality.difference is None:
        return text
    interval = ""
    if quality.interval is not None:
        interval = f", {fmt.level(quality.interval)} {fmt.quality_interval(quality)}"
    return f"{text} ({fmt.quality_difference(quality)}{interval})"


def quality_name(quality: QualityResult) -> str:
    """The metric's name, telling when the original's outputs stood in for labels."""
    metric = _SPELLED.get(quality.metric, quality.metric)
    if not is_relative(quality):
        return metric
    preposition = "with" if quality.metric == "agreement" else "against"
    return f"{metric} {preposition} the original"


def is_relative(quality: QualityResult) -> bool:
    """Whether it is scored against the original, which then is perfect and says nothing."""
    return quality.reference == "original"


def size_words(measured: Measured) -> str:
    """`3.8× smaller`; empty where the file is about as large as before.

    Where the target compiles engines, the files compared are the ONNX graphs, and it says so.
    """
    before, after = measured.baseline_size.file_bytes, measured.result_size.file_bytes
    words = factor_words(before, after, ("smaller", "larger"))
    return f"{words} as ONNX" if words and engine_of(measured) is not None else words


def engine_of(measured: Measured) -> EngineBuild | None:
    """The compiled engine beside the model, where the target has one."""
    return measured.engine if isinstance(measured, GraphReport) else None


def factor_words(before: int, after: int, words: tuple[str, str]) -> str:
    """How many times less or more `after` is; empty below a hundredth."""
    if min(before, after) <= 0:
        return ""
    factor = max(before, after) / min(before, after)
    if factor < 1.01:
        return ""
    return f"{fmt.ratio(factor)} {words[0] if after < before else words[1]}"


def speed_tone(latency: LatencyResult | UseResult) -> Tone:
    """The tone of the measurement's own verdict."""
    return _SPEED_TONES[latency.verdict]


def quality_tone(quality: QualityResult) -> Tone:
    """A gain or loss only where the interval of the difference leaves out zero, and shows.

    Any difference from the original is a distance to it, never a gain, and its being there says
    nothing about whether the result is worse: it is not judged.
    """
    if quality.interval is None or is_relative(quality):
        return "unknown"
    if 0 in quality.interval or _is_slight(quality):
        return "even"
    return "better" if (quality.interval.low > 0) == quality.higher_is_better else "worse"


def _is_slight(quality: QualityResult) -> bool:
    """Whether a difference is certain and yet too small to matter: below a part of the value.

    Shares are not looked at so: where 99.99 % are right a hundredth is all that is wrong.
    """
    if quality.unit == "%" or quality.difference is None or quality.baseline is None:
        return False
    return abs(quality.difference) < _SLIGHT * abs(quality.baseline)


_ADVICE = {
    False: "Judge on labelled data (--eval), or stay in float (--quantize none).",
    True: "Judge by a metric of its field (--metric), or stay in float (--quantize none).",
}
"""Whether it is of a pipeline → what to do about outputs that depart."""


def losses(measured: Measured) -> tuple[str, ...]:
    """Every significant loss, each in words that stand alone."""
    slower = [
        f"Slower at {fmt.configuration(latency.config)}: {fmt.ratio(latency.speed)} the speed "
        f"({fmt.level(latency.ends)} {fmt.ratio_interval(latency.ends)})."
        for latency in measured.latency
        if latency.verdict == "slower"
    ]
    lower = [
        fmt.sentence(
            f"{quality_name(quality)} is significantly worse: {fmt.quality_difference(quality)} "
            f"({fmt.level(quality.interval)} {fmt.quality_interval(quality)})"
        )
        for quality in measured.quality
        if quality.interval is not None and quality_tone(quality) == "worse"
    ]
    far = [
        f"Outputs depart from the original's: {quality.metric} "
        f"{fmt.quality_value(quality, found)}. "
        f"{_ADVICE[isinstance(measured, PipelineResult)]}"
        for quality in measured.quality
        if is_relative(quality)
        and (found := quality.result) is not None
        and found < DEPARTURE.get(quality.metric, -math.inf)
    ]
    others = [
        f"{'State' if output.role == 'state' else 'Output'} {output.name} departs from the "
        f"original's: {output.metric} {fmt.significant(output.value, 3)} {output.unit}".rstrip()
        + "."
        for output in measured.outputs
        if output.departs and output.role != "primary" and output.value is not None
    ]
    return (*slower, *lower, *far, *others[:_MOST_OUTPUTS])


def reused_words(report: Report) -> str:
    """What was not done anew; empty where all was."""
    if not report.reused:
        return ""
    return f"taken from earlier runs: {', '.join(report.reused)} (--no-cache does all anew)"
