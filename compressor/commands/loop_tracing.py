"""Runs a loop on its graphs as they are, and prepares them on what it feeds them."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.collect import MEMORY
from calibration.preprocess import Preprocess
from compressor.capture.eager import runs_as_it_is
from compressor.checkpoint import ModelSource, load_checkpoint, source_of
from compressor.checkpoint.features import asked_metric
from compressor.checkpoint.prepare import prepare
from compressor.commands.loop_data import dealt, judging
from compressor.commands.loop_job import BATCH, Given, Graph, Job, Pipeline, Units, naming
from compressor.errors import CompressorError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import TARGET
from compressor.evaluation.roles import Roles
from compressor.evaluation.yardstick import choose
from compressor.graph.tensors import Array, Arrays
from compressor.pipelines.defaults import defaults_of
from compressor.pipelines.judgeable import require_judgeable
from compressor.pipelines.loop import SEED, Builtin, Loop, Opener, UserLoop
from compressor.pipelines.together import Together, of_several
from compressor.pipelines.tracing import Trace, recorded, shapes_of
from compressor.recipe.data import DataOptions
from compressor.recipe.notation import parse_input
from compressor.recipe.recipe import Recipe
from compressor.search.data_split import examined, looked_at, of_calls, split_data
from compressor.search.session import Session
from compressor.system.stopwatch import Stopwatch
from exporters.base import CallShapes
from exporters.base.of_graph import of_graph

JUDGING_SECONDS = 60.0
"""What generating the units that judge may take, once."""
TRACING_SECONDS = 10.0
"""What generating those that calibrate may take."""
LEAST_UNITS, MOST_UNITS = 64, 2048
LEAST_TRACED, MOST_TRACED = 8, 64
SEEN = 8
"""Units of which it is looked whether they can be judged at all."""
CALLS = 512
"""Calls of a graph that are kept to calibrate it, unless told otherwise."""


def traced(given: Given, models: Mapping[str, object], units: int | None) -> Job:
    """Run the loop on the graphs as they are, and prepare them on what it feeds them.

    Args:
        given: The loop, the target, and what is asked for.
        models: Name → model: a path, `path@factory`, or a live module.
        units: How many judge; as many as a minute makes without.

    Raises:
        UsageError: Two runs of one seed differ, or a graph is never called.
    """
    named = {
        name: with_factory(model, with_own_inputs(given.recipe, name, models))
        for name, model in models.items()
    }
    sources = {name: _source(*one) for name, one in named.items()}

    def opener(name: str) -> Opener:
        declared = [parse_input(text) for text in named[name][1].model.inputs]
        return lambda: runs_as_it_is(sources[name], given.target, declared)

    openers = {name: opener(name) for name in sources}
    with given.progress.stage("run the pipeline twice"):
        calls, seconds = _twice(given, openers)
    seeds = _units(given.recipe.seed, units, seconds)
    notices: list[str] = []
    if isinstance(given.loop, Builtin):
        blocks = judging(given.recipe, len(models))
        seeds, notices = dealt(given.loop, seeds, blocks, given.recipe, asked=units)
    for notice in notices:
        given.progress.notice(notice)
    trace, looked_into = _recorded(given, openers, seeds, calls)
    notices += _look_at_several(given, openers, trace, seconds)
    unused = [name for name in named if not trace.seen[name]]
    if unused:
        raise UsageError(
            f"pipeline {given.loop.name} never calls graph {unused[0]!r}",
            hint="Leave it out, or call it as models[NAME](...).",
        )
    given = _with_defaults(given, sources, trace)
    graphs: dict[str, Graph] = {}
    for name, (model, own) in named.items():
        with naming(name):
            graphs[name] = _prepared(given, name, model, own, trace)
        graphs[name].calls = trace.seen[name] / seeds.traced
    originals = {name: one.session.prepared.model for name, one in graphs.items()}
    pipeline = Pipeline(given.loop, given.target, originals, dict(originals), trace.shapes)
    job = Job(
        **vars(given), units=seeds, looked_into=looked_into, pipeline=pipeline, graphs=graphs,
        notices=notices,
    )  # fmt: skip
    _look(job)
    return job


def _with_defaults(given: Given, sources: Mapping[str, ModelSource], trace: Trace) -> Given:
    """The loop with what graphs are called with where it leaves an input out."""
    found = {name: defaults_of(name, source, trace) for name, source in sources.items()}
    for name, defaults in found.items():
        trace.fill(name, defaults)
    return replace(given, loop=replace(given.loop, defaults=found))


def _recorded(
    given: Given, openers: Mapping[str, Opener], units: Units, calls: Mapping[str, int]
) -> tuple[Trace, tuple[int, ...]]:
    """What the loop feeds its graphs, of the units that calibrate; and seeds that call all."""
    folder = given.scratch / "calls"
    folder.mkdir()
    recipe = given.recipe
    memory = recipe.quantize.memory or MEMORY
    trace = Trace(folder, recipe.data.samples or CALLS, recipe.seed, calls, memory)
    called, seeds = {name for name, count in calls.items() if count}, [given.seed]
    with (
        given.progress.stage("record its calls", total=units.traced) as advance,
        Loop(given.loop, recorded(openers, trace.record)) as tracing,
    ):
        for batch in units.of(0, units.traced).batches(1):
            trace.began()
            tracing.run(batch.inputs)
            advance(1)
            if not called.issuperset(trace.seen):
                called.update(trace.seen)
                seeds.append(int(batch.inputs[SEED][0]))
    return trace, tuple(seeds)


def _look_at_several(
    given: Given, openers: Mapping[str, Opener], trace: Trace, seconds: float
) -> list[str]:
    """The shapes that several units at a time have, where what ships is built for shapes.

    Returns:
        What is to be said of it.
    """
    asked, target = given.recipe.measure.batch, given.target
    count = max(asked, BATCH if BATCH * seconds <= TRACING_SECONDS else 1)
    if count == 1 or not (target.built_for_shapes or asked > 1):
        return []
    try:
        with given.progress.stage("look at several units at a time"):
            alone, several = (_shapes(given, openers, n) for n in (1, count))
    except CompressorError as error:
        if asked > 1:
            raise
        said = f"engines take one unit at a time, as the loop fails with {count}: {error.message}"
        given.progress.notice(said)
        return [said]
    for name, seen in trace.shapes.items():
        likely = 1 + max(seen.values()) if asked > 1 else 0
        for shapes in of_several(seen, alone[name], several[name], count):
            seen[shapes] += likely
    return []


def _shapes(
    given: Given, openers: Mapping[str, Opener], count: int
) -> defaultdict[str, list[CallShapes]]:
    """Graph → the shapes of its calls in a run for so many units, in order."""
    found: defaultdict[str, list[CallShapes]] = defaultdict(list)

    def look(name: str, feeds: Arrays) -> None:
        found[name].append(shapes_of(feeds))

    with Together(given.loop, recorded(openers, look)) as loop:
        loop.run({SEED: np.full(count, given.seed, np.int64)})
    return found


def _twice(given: Given, openers: Mapping[str, Opener]) -> tuple[dict[str, int], float]:
    """Calls of each graph in one unit, and what a unit takes; the same seed gives the same."""
    made = []
    for _ in range(2):
        watch = Stopwatch()
        with Loop(given.loop, openers) as loop:
            made.append(loop.run({SEED: np.array([given.seed], np.int64)}))
            calls, seconds = loop.calls, watch.seconds
    first, second = made
    require_target(given.recipe, first, given.loop)
    for name, array in first.items():
        other = second.get(name)
        if other is None or not np.array_equal(array, other, equal_nan=array.dtype.kind == "f"):
            raise UsageError(
                f"pipeline {given.loop.name} returns another {name!r} for the same seed: what "
                "ships could not be compared with the original",
                hint="Draw all randomness from the seed: np.random.default_rng(seed), or "
                "torch.Generator().manual_seed(seed).",
            )
    return calls, seconds


def require_target(recipe: Recipe, outputs: Mapping[str, Array], loop: UserLoop) -> None:
    """Refuse a metric that needs labels where the loop does not return what would be right.

    Raises:
        UsageError: There is no output `target`.
    """
    name = recipe.measure.metric
    if name is not None and find_metric(name).needs_labels and TARGET not in outputs:
        option = loop.labelled
        if option is not None:
            raise UsageError(
                f"metric {name} needs what would be right, and {loop.name} returns none as it is",
                hint=f"--pipeline-option {option}=true feeds the data itself, and returns that.",
            )
        raise UsageError(
            f"metric {name} needs labels, and what a pipeline generates has none: it returns "
            f"{', '.join(outputs)}, and no {TARGET}",
            hint=f'Return what would be right as "{TARGET}" beside it, choose a metric that '
            "compares with the original, such as psnr or cosine, or write file.py:function.",
        )


def _prepared(given: Given, name: str, model: object, recipe: Recipe, trace: Trace) -> Graph:
    """A graph and its recorded calls; its own quality is in the metric that fits it."""
    unasked = {"metric": None, "features": None, "output": None}
    options = recipe.measure.model_copy(update=unasked)
    asked = recipe.data
    own = given.calibration.get(name)
    prepares = asked.preprocess if own is not None else Preprocess()
    kept = DataOptions(samples=asked.samples, cache=asked.cache, preprocess=prepares)
    recipe = recipe.model_copy(update={"measure": options, "data": kept})
    target = given.target.for_graph(name, trace.shapes)
    prepared = prepare(
        model,
        target=target,
        recipe=recipe,
        calibration=trace.calls(name) if own is None else own,
        progress=given.progress,
    )
    prepared = replace(prepared, calls=trace.shapes[name])
    target.require_buildable(prepared.model)
    data = split_data(prepared, recipe.seed)
    data = examined(prepared, of_calls(data) if own is None else data, given.progress)
    prepared = looked_at(prepared, data, recipe, target, given.progress)
    return Graph(Session(prepared, recipe, target, given.progress), data)


def _look(job: Job) -> None:
    """What the final outputs are judged in, and what each graph costs."""
    pipeline, options = job.pipeline, job.recipe.measure
    metric, again = asked_metric(job.recipe), job.units.reseeded
    output = options.output or (job.loop.judged if metric is None else None)
    data = job.units.of(1, job.units.count)
    with job.progress.stage("look at outputs"), pipeline.opened(pipeline.originals) as loop:
        few = next(iter(data.batches(SEEN))).inputs
        unjudged = require_judgeable(job.loop.name, loop.run(few), output)
        found = choose(
            loop,
            data,
            BATCH,
            roles=Roles(),
            metric=metric,
            output=output,
            reseeded=again,
        )
    with pipeline.opened(pipeline.originals, options.threads) as loop:
        loop.run({SEED: np.array(job.looked_into, np.int64)})
        for name, graph in job.graphs.items():
            graph.seconds = loop.seconds[name]
    pipeline.yardstick = replace(found, continued=job.loop.continued)
    for notice in (*unjudged, *found.notices):
        job.progress.notice(notice)
    job.notices += [*unjudged, *found.notices]


def with_factory(model: object, recipe: Recipe) -> tuple[object, Recipe]:
    """The model, and the recipe with its factory: `unet.pt@net.py:build` names both."""
    if not isinstance(model, str) or "@" not in model or Path(model).exists():
        return model, recipe
    path, _, factory = model.partition("@")
    own = recipe.model.model_copy(update={"factory": factory})
    return path, recipe.model_copy(update={"model": own})


def with_own_inputs(recipe: Recipe, name: str, names: Collection[str]) -> Recipe:
    """The recipe with the inputs that are declared for a graph, and for all of them."""
    own = recipe.graphs[name].inputs if name in recipe.graphs else ()
    inputs = (*of_graph(recipe.model.inputs, name, names), *own)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"inputs": inputs})})


def _source(model: object, recipe: Recipe) -> ModelSource:
    if isinstance(model, str | Path):
        return load_checkpoint(Path(model), recipe.model)
    return source_of(model)


def _units(seed: int, asked: int | None, seconds: float) -> Units:
    """As many as time allows, of one unit's seconds."""

    def fitting(time: float, least: int, most: int) -> int:
        return int(min(max(time / max(seconds, 1e-6), least), most))

    count = asked or fitting(JUDGING_SECONDS, LEAST_UNITS, MOST_UNITS)
    return Units(seed, count, fitting(TRACING_SECONDS, LEAST_TRACED, MOST_TRACED))
