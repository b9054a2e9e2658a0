"""The account of a finished run: its report, and what is written beside the artifact."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from calibration.encoders.model_folder import ModelFolder
from compressor.commands.carrying import carry
from compressor.commands.final_measurements import Measurements
from compressor.commands.goals_met import goal_result
from compressor.commands.packaging import package
from compressor.graph.modules import modules_of
from compressor.graph.tensors import Arrays
from compressor.plan.plan import Plan
from compressor.plan.realize import planned_policy
from compressor.recipe.recipe import Recipe
from compressor.report.files import pages
from compressor.report.usage import USAGE, usage_page
from compressor.results.environment import environment
from compressor.results.format import configuration, ratio
from compressor.results.graph_report import GraphReport
from compressor.results.pruning import PruningResult
from compressor.results.records import StageRecord
from compressor.results.report import Report
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.in_use import use_of
from compressor.search.measure import Pair, placement, size, surplus_threads
from compressor.search.precision.unquantized import Unquantized, unquantized
from compressor.search.quality_budget import QualityBudget
from compressor.system.cache import taken
from compressor.system.output_folder import write_manifest
from compressor.system.sparing import spared
from exporters.base import Artifact

GRAPH = "model"
"""The name of the only graph of a single model; reports and plans are keyed by graph."""
PLAN = "plan.json"


@dataclass(frozen=True)
class Finished:
    """A run when all is measured.

    Attributes:
        outcome: What ships, and why.
        pair: Original, baseline and result, built.
        found: What was measured of them.
        data: Which samples served which purpose.
        budget: The quality budget, if there was one.
        plan: What was decided, or replayed.
    """

    outcome: Outcome
    pair: Pair
    found: Measurements
    data: DataSplit
    budget: QualityBudget | None
    plan: Plan


def account(
    runs: Mapping[str, Finished],
    directory: Path,
    *,
    seconds: float,
    command: str | None,
    notices: tuple[str, ...] = (),
) -> Report:
    """The report of a run that ends now.

    Args:
        runs: Graph → what became of it.
        directory: The output folder.
        seconds: How long it took.
        command: The command line that repeats it.
        notices: What was said of all of them.
    """
    graphs = {name: _graph_report(run.outcome, run.pair, run.found) for name, run in runs.items()}
    own = {name: _notices(run, graphs[name]) for name, run in runs.items()}
    first = next(iter(runs.values()))
    return Report(
        source=", ".join(run.pair.prepared.name for run in runs.values()),
        target=first.pair.target.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        command=command,
        artifact=str(directory),
        files=_files(directory, {name: run.pair.result for name, run in runs.items()}, first.plan),
        data=tuple(use for run in runs.values() for use in run.data.uses),
        graphs=graphs,
        stages=tuple(one for name, run in runs.items() for one in _stages(name, run, len(runs))),
        notices=tuple(dict.fromkeys([*notices, *_of_graphs(own)])),
        environment=environment(first.pair.target.runtime),
        reused=taken(),
    )


def _stages(name: str, run: Finished, graphs: int) -> tuple[StageRecord, ...]:
    """The stages of a graph, with its name where there are several."""
    stages = (*run.pair.prepared.records, *run.outcome.records, *run.found.records)
    if graphs == 1:
        return stages
    return tuple(one.model_copy(update={"name": f"{name}: {one.name}"}) for one in stages)


def _of_graphs(notices: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """What is to be known of each, with its name where there are several."""
    for name, said in notices.items():
        yield from said if len(notices) == 1 else (f"graph {name}: {one}" for one in said)


def _graph_report(outcome: Outcome, pair: Pair, found: Measurements) -> GraphReport:
    feeds = pair.feeds(1 if pair.prepared.fixed_batch is None else pair.prepared.fixed_batch)
    before, after = (
        size(built, model, feeds)
        for built, model in ((pair.original, pair.prepared.model), (pair.result, outcome.shipped))
    )
    floats = spared(
        lambda: _floats(outcome, pair, feeds),
        lambda _: Unquantized(dict(outcome.float_reasons), {}),
    )
    goal = pair.recipe.prune.goal
    first = "captured" if pair.baseline is pair.original else "folded"
    return GraphReport(
        shipped=outcome.plan.ship,
        shipped_reason=outcome.reason,
        baseline=f"the {first} graph in float",
        parity=pair.prepared.parity,
        source_latency=pair.prepared.source_latency,
        candidates=outcome.considered,
        budget=found.budget,
        goal=None if goal is None else goal_result(goal, outcome, found.latency, before, after),
        pruning=_pruning(outcome, found),
        training=outcome.training,
        integer_training=outcome.integer_training,
        attention=outcome.attention,
        exits=outcome.exits,
        latency=found.latency,
        latency_reason=found.latency_reason,
        use=use_of(found.latency, pair.recipe.measure.usage, pair.prepared.phases.prompt),
        quality=found.quality,
        quality_reason=found.quality_reason,
        outputs=found.outputs,
        memory=found.memory,
        memory_reason=found.memory_reason,
        baseline_size=before,
        result_size=after,
        placement=spared(lambda: placement(pair.target, pair.result), lambda _: ()),
        arithmetic=outcome.plan.floats,
        engine=pair.result.engine,
        float_reasons=floats.reasons,
        float_work=floats.work,
        layers_precision=None if outcome.quantized is None else outcome.quantized.plan.ship,
        regions=outcome.regions,
        layers=found.explained.layers,
        tensors=found.explained.tensors,
        layers_reason=found.explained.reason,
        changed=found.changed.samples,
        changed_total=found.changed.total,
        changed_reason=found.changed.reason,
        modules=_modules(outcome, pair, found, floats),
    )


def _pruning(outcome: Outcome, found: Measurements) -> PruningResult | None:
    """What was pruned, with the latency that was measured in the end."""
    pruning = outcome.pruning
    if pruning is None or not found.latency or not found.latency[0].is_known:
        return pruning
    return pruning.model_copy(update={"measured_ms": found.latency[0].milliseconds[1]})


def _modules(
    outcome: Outcome, pair: Pair, found: Measurements, floats: Unquantized
) -> dict[str, str]:
    """Modules of the nodes that the report names."""
    known = modules_of(pair.prepared.model) | modules_of(outcome.graph)
    named = [layer.node for layer in found.explained.layers]
    named += [*floats.reasons, *(node for region in outcome.regions for node in region.nodes)]
    return {node: known[node] for node in dict.fromkeys(named) if node in known}


def _floats(outcome: Outcome, pair: Pair, feeds: Arrays) -> Unquantized:
    """What stays float of what was quantized, or could have been."""
    mode, seen = pair.recipe.quantize.mode, pair.prepared.calibration is not None
    tried = outcome.quantized
    if tried is None and not (seen and mode in ("int8", "int8-static")):
        return Unquantized(dict(outcome.float_reasons), {})
    plan = outcome.plan if tried is None or outcome.plan.ship != "float" else tried.plan
    policy = planned_policy(plan, pair.target)
    return unquantized(outcome.graph, plan, policy, outcome.float_reasons, feeds)


def _notices(run: Finished, graph: GraphReport) -> tuple[str, ...]:
    """What the user should know, from every stage, each once."""
    prepared, data = run.pair.prepared, run.data
    metric = run.pair.recipe.measure.metric
    stages = (*prepared.records, *run.outcome.records, *run.found.records)
    said = [notice for stage in stages for notice in stage.notices]
    if graph.latency and not prepared.feeds_are_real:
        said.append("no data was given: latency is of random inputs")
    if graph.latency:
        said.extend(surplus_threads(run.pair.recipe))
        said.extend(prepared.phases.notices)
        said.extend(measured_again(graph))
    relative = bool(graph.quality) and graph.quality[0].reference == "original"
    labelled = data.quality is not None and data.quality.has_labels
    if relative and labelled and metric is None:
        said.append(
            "the labels were not used: they do not fit the output that decides as class numbers, "
            "tokens or values. Quality is of the outputs against the original's"
        )
    before = () if run.budget is None else run.budget.notices
    looked = () if prepared.yardstick is None else prepared.yardstick.notices
    return tuple(dict.fromkeys([*before, *looked, *run.found.notices, *data.notices, *said]))


def measured_again(graph: GraphReport) -> tuple[str, ...]:
    """Why the speed-up of what ships is not the figure that decided, where they differ."""
    final = graph.latency[0]
    raced = [one.latency for one in graph.candidates if one.shipped and one.latency is not None]
    if not raced or not raced[-1].is_known or raced[-1].ratio == final.ratio:
        return ()
    told = f"{ratio(raced[-1].speed)} at {configuration(raced[-1].config)}"
    if raced[-1].config != final.config:
        return (f"the race that decided, {told}, was on one thread, as others used the machine",)
    return (
        f"the race that decided, {told}, was not of quite the two graphs that the report compares. "
        "That pair was timed again when it was finished",
    )


def _files(directory: Path, artifacts: Mapping[str, Artifact], plan: Plan) -> dict[str, str]:
    names = accounts(weights=bool(plan.weights))
    found: dict[str, str] = {}
    for name, artifact in artifacts.items():
        own = {"model": artifact.model, **artifact.roles}
        within = artifact.model.parent.name == name
        alone = len(artifacts) == 1 and not within
        found |= {
            (role if alone else f"{name}/{role}"): f"{name}/{path.name}" if within else path.name
            for role, path in own.items()
        }
    return {role: str(directory / name) for role, name in (found | names).items()}


def accounts(*, weights: bool) -> dict[str, str]:
    """Role → the file that accounts for it; `weights` of the plan have one of their own."""
    own = {"plan.safetensors": "plan.safetensors"} if weights else {}
    return {
        "report": "report.html",
        "report.md": "report.md",
        "report.json": "report.json",
        "plan": PLAN,
        "manifest": "manifest.json",
        "usage": USAGE,
    } | own


def write_account(
    folder: Path,
    plan: Plan,
    report: Report,
    recipe: Recipe,
    defaults: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    *,
    beside: ModelFolder | None = None,
) -> Report:
    """Plan, report in all its forms, and the manifest that seals them.

    A page, or a chart in it, that fails costs no more than itself: the report says so.

    Args:
        folder: Holds the artifact.
        plan: What was decided.
        report: The account of the run.
        recipe: What was asked for.
        defaults: Graph → inputs that a call may leave out, and what they are then.
        beside: The model's folder, whose configuration, tokenizer and the like are carried along.

    Returns:
        The report, as it was written.
    """
    plan.save(folder / PLAN)
    carry(beside, folder)
    if recipe.package is not None:
        package(recipe.package, report, folder, recipe.measure.threads)
    usage = spared(lambda: usage_page(report, folder, beside), lambda reason: reason + "\n")
    (folder / USAGE).write_text(usage, encoding="utf-8")
    failures: list[str] = []
    texts = pages(report, failures)
    if failures:
        told = dict.fromkeys((*report.notices, *failures))
        report = report.model_copy(update={"notices": tuple(told)})
        texts = pages(report, [])
    (folder / "report.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_manifest(
        folder,
        {
            "source": report.source,
            "target": report.target,
            "created": report.created,
            "seed": recipe.seed,
            "recipe": recipe.model_dump(mode="json"),
            "environment": report.environment.model_dump(mode="json"),
            "graphs": {name: _file_of(name, report) for name in report.graphs},
            **_engines(report),
            **_caches(plan),
            **(
                {"defaults": told}
                if (told := {k: dict(v) for k, v in defaults.items() if v})
                else {}
            ),
        },
    )
    return report


def _file_of(name: str, report: Report) -> str:
    """The file of a graph, from the folder on."""
    path = report.files.get(f"{name}/model") or report.files["model"]
    return Path(path).relative_to(report.artifact or "").as_posix()


def _caches(plan: Plan) -> dict[str, object]:
    """Graph → input → its cache, of decoders with one in 8 bits or in shared buffers."""
    found = {
        name: {key: one.model_dump(exclude={"query"}) for key, one in graph.cache.items()}
        | {
            key: {"output": one.output, "scale": one.scale, "shared": True}
            for key, one in graph.shared.items()
        }
        for name, graph in plan.graphs.items()
        if graph.cache or graph.shared
    }
    return {"caches": found} if found else {}


def _engines(report: Report) -> dict[str, object]:
    """Graph → its engine, for targets that have one."""
    engines = {
        name: graph.engine.model_dump(mode="json")
        for name, graph in report.graphs.items()
        if graph.engine is not None
    }
    return {"engines": engines} if engines else {}
