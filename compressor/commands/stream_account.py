"""The artifact and the account of a run block by block: blocks become one graph and one report."""

import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.checkpoint.features import asked_metric
from compressor.commands.account import GRAPH, accounts, write_account
from compressor.commands.stating import PRODUCER, source_digest, tool_version
from compressor.commands.stream_block import MODEL, WEIGHTS, BlockDone, BlockTask, Part
from compressor.commands.stream_plan import StreamedPlan
from compressor.commands.stream_recorded import recorded
from compressor.commands.stream_ruined import TakenBack, in_float
from compressor.commands.stream_runner import BlockRunner
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.per_output import output_results
from compressor.evaluation.roles import roles_of
from compressor.evaluation.ruin import why_ruined
from compressor.evaluation.yardstick import Yardstick, choose
from compressor.folding.duplicates import merge_equal_initializers
from compressor.graph.files import load_model, save_model, tensors
from compressor.graph.joining import computed_once, joined
from compressor.graph.shapes import input_specs, output_specs
from compressor.graph.stretches import Stretch
from compressor.graph.tensor_bytes import forget_pages
from compressor.recipe.recipe import Recipe
from compressor.results.environment import environment
from compressor.results.format import milliseconds, plural
from compressor.results.format import size as size_words
from compressor.results.graph_report import GraphReport, NodePlacement
from compressor.results.measurements import OutputResult, QualityResult, Size
from compressor.results.precision import WORDS, Precision
from compressor.results.records import Decision, StageRecord
from compressor.results.report import Report
from compressor.search.data_split import DataSplit
from compressor.search.measure import told
from compressor.system.cache import taken
from compressor.system.progress import Progress
from compressor.system.stopwatch import Stopwatch
from exporters.base import Runner, Target

WHY_NOT = "the model was worked on block by block, as its weights exceed --memory"


@dataclass(frozen=True)
class Streamed:
    """What became of a model that was worked on block by block.

    Attributes:
        path: Its file.
        recipe: What was asked for.
        target: What it is for.
        model: The float graph, without a weight in memory.
        cut: Its blocks.
        split: Which samples serve which purpose.
        scratch: A folder of a block's name for each holds what it became.
        done: What became of each.
        tasks: What was asked of each.
        batch: Samples per run that fit into memory.
    """

    path: Path
    recipe: Recipe
    target: Target
    model: ir.Model
    cut: tuple[Stretch, ...]
    split: DataSplit
    scratch: Path
    done: tuple[BlockDone, ...]
    tasks: tuple[BlockTask, ...]
    batch: int

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of each block."""
        return tuple(self.scratch / f"block-{index:03}" for index in range(len(self.cut)))

    @property
    def replays(self) -> bool:
        """Whether the plan of an earlier run was carried out."""
        return any(task.plan is not None for task in self.tasks)

    @property
    def ship(self) -> Precision:
        """What ships of most blocks that are not float; float where all are."""
        found = Counter(one.plan.ship for one in self.done if one.plan.ship != "float")
        return found.most_common(1)[0][0] if found else "float"


@dataclass(frozen=True)
class _Quality:
    quality: tuple[QualityResult, ...] = ()
    reason: str | None = None
    outputs: tuple[OutputResult, ...] = ()
    notices: tuple[str, ...] = ()
    back: TakenBack | None = None


def written(
    run: Streamed,
    directory: Path,
    folder: Path,
    *,
    progress: Progress,
    watch: Stopwatch,
    command: str | None,
) -> Report:
    """Write artifact, plan, report and manifest.

    Args:
        run: What became of the blocks.
        directory: The output folder.
        folder: Where it is made, before it takes the place of that.
        progress: Where progress is shown.
        watch: Since when the run takes time.
        command: The command line, for the report.
    """
    quality = _measured(run, progress)
    if quality.back is not None:
        run = replace(run, done=quality.back.done)
    with progress.stage("write the model"):
        files = _artifact(run, folder)
    graph = _graph_report(run, quality, files)
    plan = StreamedPlan(
        target=run.target.name,
        seed=run.recipe.seed,
        calibration=run.split.fingerprint,
        graphs={f.name: one.plan for f, one in zip(run.folders, run.done, strict=True)},
        sources=tuple(f / WEIGHTS for f in run.folders if (f / WEIGHTS).exists()),
    )
    back = () if quality.back is None else (quality.back.record,)
    stages = (_blocks(run), *_merged(run.done), *back)
    notices = [*run.split.notices, *quality.notices]
    notices += [notice for stage in stages for notice in stage.notices]
    report = Report(
        source=str(run.path),
        target=run.target.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=watch.seconds,
        command=command,
        artifact=str(directory),
        files=_names(directory, files, plan),
        data=run.split.uses,
        graphs={GRAPH: graph},
        stages=stages,
        notices=tuple(dict.fromkeys(notices)),
        environment=environment(),
        reused=taken(),
    )
    return write_account(folder, plan, report, run.recipe)


def _measured(run: Streamed, progress: Progress) -> _Quality:
    """All blocks in turn, in float and as they would ship, on the samples that judge.

    Where the outputs are ruined, the blocks are taken back to float, and what is told is of that.
    """
    data = run.split.quality
    if data is None:
        return _Quality(reason=run.split.quality_reason)
    inputs, outputs = input_specs(run.model), output_specs(run.model)
    parts = [Part(folder / "float.onnx", run.path.resolve().parent) for folder in run.folders]
    files = [folder / MODEL for folder in run.folders]
    opened = {
        BASELINE: BlockRunner([part.opened for part in parts], inputs, outputs),
        RESULT: BlockRunner([_opener(file) for file in files], inputs, outputs),
    }
    with progress.stage("measure quality", total=len(opened) * len(run.cut)) as advance:
        runners = {
            name: recorded(runner, data, run.batch, run.scratch / f"quality-{name}", advance)
            for name, runner in opened.items()
        }
        metric, output = asked_metric(run.recipe), run.recipe.measure.output
        yardstick = choose(
            runners[BASELINE], data, run.batch,
            roles=roles_of(run.model), metric=metric, output=output,
        )  # fmt: skip
        found = _scored(run, data, runners, yardstick)
    if run.recipe.quantize.keep_ruined or run.replays or run.ship == "float":
        return found
    why = why_ruined(found.quality, found.outputs, yardstick.continued)
    if why is None:
        return found
    back = in_float(run.tasks, run.done, run.ship, why, progress)
    both = dict.fromkeys((BASELINE, RESULT), runners[BASELINE])
    return replace(_scored(run, data, both, yardstick), back=back)


def _scored(
    run: Streamed, data: CalibrationSet, runners: Mapping[str, Runner], yardstick: Yardstick
) -> _Quality:
    scored = [(m, yardstick.scores(m, runners, data, run.batch)) for m in yardstick.metrics]
    found = output_results(runners, data, run.batch, yardstick)
    quality = told(scored, yardstick, run.split.words, run.recipe.seed)
    return _Quality(quality, None if scored else yardstick.reason, found, yardstick.notices)


def _opener(file: Path) -> Callable[[], ir.Model]:
    return lambda: load_model(file)


def _artifact(run: Streamed, folder: Path) -> tuple[Path, ...]:
    """The blocks as one graph; its weights are copied from file to file."""
    model = joined((load_model(one / MODEL) for one in run.folders), run.model)
    merge_equal_initializers(model, Counter())
    computed_once(model)
    model.metadata_props.update(_metadata(run))
    path = folder / "model.onnx"
    before = set(folder.iterdir())
    forget_pages(tensors(model))  # which were looked at for equal ones
    save_model(model, path)
    return (path, *sorted(set(folder.iterdir()) - before - {path}))


def _metadata(run: Streamed) -> dict[str, str]:
    """What the artifact says of itself."""
    found = {
        "producer": f"{PRODUCER} {tool_version()}",
        "version": tool_version(),
        "source": run.path.name,
        "precision": run.ship,
        "verdict": f"ships as {run.ship}",
    }
    digest = source_digest(run.path)
    return found if digest is None else found | {"source_sha256": digest}


def _graph_report(run: Streamed, quality: _Quality, files: Sequence[Path]) -> GraphReport:
    counts = [[one.macs[side] for one in run.done] for side in (0, 1)]
    reason = next((one.macs_reason for one in run.done if one.macs_reason), None)
    before, after = (
        None if any(n is None for n in side) else sum(n for n in side if n is not None)
        for side in counts
    )
    floats = {node: why for one in run.done for node, why in one.float_reasons.items()}
    own = run.path.stat().st_size + sum(path.stat().st_size for path in _weight_files(run.model))
    return GraphReport(
        shipped=run.ship,
        shipped_reason=_reason(run) if quality.back is None else quality.back.reason,
        baseline="the captured graph in float",
        latency_reason=_latency_reason(run),
        quality=quality.quality,
        quality_reason=quality.reason,
        outputs=quality.outputs,
        memory_reason=f"not measured: {WHY_NOT}",
        baseline_size=Size(
            file_bytes=own,
            parameters=sum(one.parameters[0] for one in run.done),
            macs=before,
            macs_reason=reason,
        ),
        result_size=Size(
            file_bytes=sum(path.stat().st_size for path in files),
            parameters=sum(one.parameters[1] for one in run.done),
            macs=after,
            macs_reason=reason,
        ),
        placement=_placement(run.done),
        float_reasons=floats,
        layers_reason=f"not measured: {WHY_NOT}",
        changed_reason=f"not looked at: {WHY_NOT}",
    )


def _weight_files(model: ir.Model) -> set[Path]:
    return {Path(t.path) for t in tensors(model) if isinstance(t, ir.ExternalTensor)}


def _reason(run: Streamed) -> str:
    """Why that ships, in a sentence."""
    count = Counter(one.plan.ship for one in run.done)
    told_words = [f"{n} of {len(run.done)} blocks as {WORDS[k]}" for k, n in count.most_common()]
    return f"decided block by block: {', '.join(told_words)}"


def _latency_reason(run: Streamed) -> str:
    """Blocks are raced by themselves, one after the other, and never the whole."""
    raced = [one.race for one in run.done if one.race is not None and one.race.is_known]
    if not raced:
        return f"not measured: {WHY_NOT}"
    before, after = (sum(race.milliseconds[side] for race in raced) for side in (0, 1))
    return (
        f"not measured: {WHY_NOT}. The {plural(len(raced), 'block')} that could be raced take "
        f"{milliseconds(before)} in float and {milliseconds(after)} as they ship, one after the "
        "other"
    )


def _placement(done: Iterable[BlockDone]) -> tuple[NodePlacement, ...]:
    """What runs as integer, of all blocks together."""
    integer, floating = Counter[str](), Counter[str]()
    for one in done:
        integer.update({row.operator: row.integer for row in one.placement})
        floating.update({row.operator: row.floating for row in one.placement})
    return tuple(
        NodePlacement(operator=op, integer=integer[op], floating=floating[op])
        for op in sorted(integer.keys() | floating.keys())
    )


def _blocks(run: Streamed) -> StageRecord:
    """How the graph was cut, and what it took."""
    decisions = tuple(
        Decision(
            subject=folder.name,
            verdict=one.plan.ship,
            reason=f"{stretch.ends}, {size_words(stretch.weight_bytes)} of weights: {one.reason}",
        )
        for folder, stretch, one in zip(run.folders, run.cut, run.done, strict=True)
    )
    return StageRecord(
        name="block by block",
        seconds=sum(record.seconds for one in run.done for record in one.records),
        parameters={
            "memory": run.recipe.quantize.memory,
            "peak bytes of this process": peak_bytes(),
            "blocks": len(run.cut),
            "bytes of the largest": max(stretch.weight_bytes for stretch in run.cut),
        },
        decisions=decisions,
    )


def peak_bytes() -> int:
    """The most memory that this process has had resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _merged(done: Sequence[BlockDone]) -> tuple[StageRecord, ...]:
    """The stages of all blocks, those of one name together."""
    by_name: dict[str, list[StageRecord]] = {}
    for one in done:
        for record in one.records:
            by_name.setdefault(record.name, []).append(record)
    return tuple(_one_of(name, records) for name, records in by_name.items())


def _one_of(name: str, records: Sequence[StageRecord]) -> StageRecord:
    changed: Counter[str] = Counter()
    for record in records:
        changed.update(record.changed)
    alike = {
        key: value
        for key, value in records[0].parameters.items()
        if all(record.parameters.get(key) == value for record in records)
    }
    return StageRecord(
        name=name,
        seconds=sum(record.seconds for record in records),
        parameters=alike,
        changed=dict(changed),
        decisions=tuple(decision for record in records for decision in record.decisions),
        notices=tuple(dict.fromkeys(n for record in records for n in record.notices)),
    )


def _names(directory: Path, files: Sequence[Path], plan: StreamedPlan) -> dict[str, str]:
    found = {"model": files[0].name} | accounts(weights=bool(plan.sources))
    return {role: str(directory / name) for role, name in found.items()}
