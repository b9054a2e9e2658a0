"""What was measured, as rows of before and after, for every form the report is shown in."""

from dataclasses import dataclass, replace
from typing import Literal

from compressor.report.conditions import time_words
from compressor.report.verdict import (
    Tone,
    engine_of,
    factor_words,
    is_relative,
    quality_name,
    quality_tone,
    speed_tone,
)
from compressor.results import format as fmt
from compressor.results.measured import Measured
from compressor.results.measurements import LatencyResult, OutputResult, QualityResult, UseResult

_MOST_STATES = 2
_IN_BYTES = ("file size", "ONNX file size", "engine size", "peak memory")


@dataclass(frozen=True)
class Row:
    """A figure before and after; texts are ready to show, `NOTHING` where not measured.

    Attributes:
        kind: Which figure: "latency", "quality", "output", "size" or "memory".
        label: What is compared, such as a configuration or the metric's name.
        change: The size of the change; its sign or words tell the direction.
        interval: Ends of the change, at `level` ("95 % interval"; empty where there is none).
        note: What the figure rests on.
        reason: Why something is missing.
        lead: Which of its texts tells most where there is room for one only.
    """

    kind: str
    label: str
    before: str = fmt.NOTHING
    after: str = fmt.NOTHING
    change: str = fmt.NOTHING
    interval: str = fmt.NOTHING
    level: str = ""
    tone: Tone = "unknown"
    note: str = ""
    reason: str = ""
    lead: Literal["change", "result"] = "change"

    @property
    def is_missing(self) -> bool:
        """Neither side was measured; `reason` says why."""
        return self.before == self.after == fmt.NOTHING


def all_rows(measured: Measured) -> tuple[Row, ...]:
    """Speed, quality, every output, size and memory, in this order."""
    return (
        *latency_rows(measured),
        *quality_rows(measured),
        *output_rows(measured),
        *size_rows(measured),
        memory_row(measured),
    )


def latency_rows(measured: Measured) -> tuple[Row, ...]:
    """One row a configuration, the deciding one first; one row with the reason where none."""
    if not measured.latency:
        return (Row("latency", "latency", reason=measured.latency_reason or "not measured"),)
    found = [latency_row(latency) for latency in measured.latency]
    return tuple(found if measured.use is None else [*found[:2], use_row(measured.use), *found[2:]])


def latency_row(latency: LatencyResult) -> Row:
    """Latencies of one configuration; the reason where the machine was too busy for them."""
    label = time_words(latency)
    if not latency.is_known:
        return Row("latency", label, reason=latency.reason or "not measured")
    before, after = latency.milliseconds
    return Row(
        kind="latency",
        label=label,
        before=fmt.milliseconds(before),
        after=fmt.milliseconds(after),
        change=fmt.ratio(latency.speed),
        interval=fmt.ratio_interval(latency.ends),
        level=fmt.level(latency.ends),
        tone=speed_tone(latency),
        note="decides" if latency.deciding else "",
    )


def use_row(use: UseResult) -> Row:
    """What one use of a decoder takes, by the latencies of both phases."""
    return Row(
        kind="latency",
        label=f"one use: {use.prompt} tokens read, {use.new} written",
        before=fmt.milliseconds(use.baseline_ms),
        after=fmt.milliseconds(use.result_ms),
        change=fmt.ratio(use.ratio),
        interval=fmt.ratio_interval(use.interval),
        level=fmt.level(use.interval),
        tone=speed_tone(use),
        note="decides, from both phases",
    )


def quality_rows(measured: Measured) -> tuple[Row, ...]:
    """One row a metric; one row with the reason where none was measured."""
    if not measured.quality:
        return (Row("quality", "quality", reason=measured.quality_reason or "not measured"),)
    return tuple(quality_row(quality) for quality in measured.quality)


def quality_row(quality: QualityResult) -> Row:
    """One metric of both models on the same samples."""
    told = fmt.plural(quality.samples, "sample")
    return Row(
        kind="quality",
        label=quality_name(quality),
        before=fmt.quality_value(quality, quality.baseline),
        after=fmt.quality_value(quality, quality.result),
        change=fmt.quality_difference(quality),
        interval=fmt.quality_interval(quality),
        level="" if quality.interval is None else fmt.level(quality.interval),
        tone=quality_tone(quality),
        lead="result" if is_relative(quality) or quality.difference is None else "change",
        note=", ".join(filter(None, (told, quality.data, quality.settings))),
        reason=quality.reason or "",
    )


def output_rows(measured: Measured, *, all_states: bool = False) -> tuple[Row, ...]:
    """One row for every output beside the one that decides; of several states the worst tells."""
    others = [one for one in measured.outputs if one.role == "output"]
    states = [one for one in measured.outputs if one.role == "state"]
    rows = [_output_row(one, "output") for one in others]
    if all_states or len(states) <= _MOST_STATES:
        return (*rows, *(_output_row(one, "state") for one in states))
    told = [one for one in states if one.value is not None]
    worst = min(told, key=lambda one: one.value or 0.0) if told else states[0]
    return (*rows, _output_row(worst, f"worst of {len(states)} states:"))


def _output_row(output: OutputResult, kind: str) -> Row:
    """The closeness of one output to the original's."""
    text = fmt.NOTHING
    if output.value is not None:
        plain = fmt.fixed(output.value, 2) if output.unit else fmt.significant(output.value, 4)
        text = f"{plain} {output.unit}".rstrip()
    label = f"{kind} {output.name}"
    return Row(
        kind="output",
        label=f"{label}, {output.metric}" if output.metric else label,
        after=text,
        reason=output.reason or "",
        note="against the original",
    )


def size_rows(measured: Measured) -> tuple[Row, ...]:
    """File size, parameters and MACs; these are exact and have no interval.

    Where the target compiles engines, the files compared are the ONNX graphs, as no engine is built
    of the original; the engine has a row of its own.
    """
    before, after = measured.baseline_size, measured.result_size
    macs_reason = before.macs_reason or after.macs_reason or ""
    engine = engine_of(measured)
    label = "file size" if engine is None else "ONNX file size"
    return (
        _amount_row("size", label, before.file_bytes, after.file_bytes, ("smaller", "larger")),
        *(
            ()
            if engine is None or engine.file_bytes is None
            else (_amount_row("size", "engine size", None, engine.file_bytes, ("", "")),)
        ),
        _amount_row("size", "parameters", before.parameters, after.parameters, ("fewer", "more")),
        _amount_row(
            "size", "MACs a sample", before.macs, after.macs, ("fewer", "more"), macs_reason
        ),
    )


def memory_row(measured: Measured) -> Row:
    """Peak resident memory of a child process each."""
    memory = measured.memory
    if memory is None:
        return Row("memory", "peak memory", reason=measured.memory_reason or "not measured")
    before, after = memory.baseline_bytes, memory.result_bytes
    row = _amount_row("memory", "peak memory", before, after, ("less", "more"), memory.reason)
    return replace(row, note="one process each")


def _amount_row(
    kind: str,
    label: str,
    before: int | None,
    after: int | None,
    words: tuple[str, str],
    reason: str | None = None,
) -> Row:
    """An amount of which less is better, in bytes or as a count.

    A change of less than a hundredth is told as such where the two texts differ.
    """

    def shown(value: int | None, other: int | None) -> str:
        if value is None:
            return fmt.NOTHING
        in_bytes = label in _IN_BYTES
        return fmt.size(value, beside=other or 0) if in_bytes else fmt.count(value)

    change = fmt.NOTHING
    tone: Tone = "unknown"
    if before is not None and after is not None:
        change = factor_words(before, after, words)
        tone = ("better" if after < before else "worse") if change else "even"
        if not change and shown(before, after) != shown(after, before):
            change = f"<1 % {words[0] if after < before else words[1]}"
    return Row(
        kind=kind,
        label=label,
        before=shown(before, after),
        after=shown(after, before),
        change=change or "same",
        tone=tone,
        reason=reason or "",
    )
