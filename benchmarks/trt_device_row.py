"""One row's engine, built, checked and timed: for `trt_device.py`, in a process of its own.

    python benchmarks/trt_device_row.py JOB

JOB is a JSON file that names the file of the answer. Native code that crashes or hangs here costs
this row alone.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx_ir as ir

from compressor.errors import CompressorError
from compressor.graph.tensors import Array, Arrays
from compressor.report.files import load_report
from compressor.report.verdict import headline
from compressor.results.engine import EngineBuild
from compressor.system.progress import SILENT
from compressor.system.userfile import load_object
from exporters.base import Runner, Samples
from exporters.base.reference import REFERENCE, read_reference
from exporters.ort.target import OrtRunner
from exporters.trt.backends import ChosenBackend, Name
from exporters.trt.build_engine import ENGINES
from exporters.trt.building import build_engine
from exporters.trt.notation import Profile, Span
from exporters.trt.target import ran
from exporters.trt.timed import open_engine
from trt_device_nets import Net, net_of
from trt_device_parts import WHOLE, Part, slug, written
from trt_device_place import asked_of_smi
from trt_device_timing import Timed, figures, interleaved

SEED = 7
Generate = Callable[[dict[str, Any], int, int], dict[str, Array]]


def measure(job: dict[str, Any]) -> Part:
    """Build the engines of a row, hold them against ONNX Runtime, and time them."""
    net, kind, folder = net_of(job["network"]), job["kind"], Path(job["folder"])
    chosen = ChosenBackend(**job["chosen"])
    if kind == WHOLE:
        return whole(net, folder, chosen.name)
    output, limit = folder / slug(net.name, kind), float(job["seconds"])
    places = places_of(output)
    engines = {
        name: built(place, engine_of(output, name), chosen, Path(job["cache"]), limit)
        for name, place in places.items()
    }
    part = Part(network=net.name, kind=kind, state="failed", engines=engines)
    for engine in engines.values():
        if engine.file is None:
            return part.model_copy(update={"words": f"no engine: {engine.reason}"})
    if chosen.why_not_run is not None:
        untried = {"state": "built, not run", "words": chosen.why_not_run}
        return part.model_copy(update=untried)
    engines = {name: checked(places[name], engine) for name, engine in engines.items()}
    part = part.model_copy(update={"engines": engines})
    for engine in engines.values():
        if engine.status != "built":
            return part.model_copy(update={"words": engine.reason or "it does not run"})
    base = folder / slug(net.name, job["base"]) if job["base"] else None
    outputs = (output,) if base is None else (output, base)
    assert chosen.name is not None, "it built"
    told = (loop_figures if net.loop else net_figures)(net, outputs, chosen.name)
    told |= verdict(engines, told.get("cosine")) | {"clock": clocks()}
    return part.model_copy(update=told)


def places_of(output: Path) -> dict[str, Path]:
    """Graph → its folder."""
    report = load_report(output)
    return {name: output if report.pipeline is None else output / name for name in report.graphs}


def engine_of(output: Path, name: str) -> EngineBuild:
    """What the run of `compress` knows of a graph's engine: none was to be built."""
    engine = load_report(output).graphs[name].engine
    assert engine is not None, "the target is trt"
    return engine


def built(
    place: Path, engine: EngineBuild, chosen: ChosenBackend, cache: Path, limit: float
) -> EngineBuild:
    """An engine by the script that ships, with the timings of all engines before."""
    nodes = list(ir.load(place / "model.onnx").graph)
    made = build_engine(place, chosen, nodes, cache=cache, time_limit=limit, progress=SILENT)
    file = made.engine
    known = {
        "status": "script only" if file is None else "built, not run",
        "backend": chosen.name,
        "version": chosen.version,
        "file": file and file.name,
        "file_bytes": file and file.stat().st_size,
        "seconds": made.seconds,
        "reason": made.failure or chosen.why_not_run,
        "failed": file is None,
        "integer": dict(made.integer),
        "floating": dict(made.floating),
    }
    return engine.model_copy(update=known)


def checked(place: Path, engine: EngineBuild) -> EngineBuild:
    """An engine that was run on the reference inputs of its folder."""
    profiles: tuple[Profile, ...] = tuple(
        {one: Span(*shapes) for one, shapes in profile.items()} for profile in engine.profiles
    )
    feeds = read_reference(place / REFERENCE)[0]
    batch = len(next(iter(feeds.values())))
    samples = Samples(feeds, (batch, batch, batch))
    assert engine.file is not None, "it was built"
    return ran(engine, place / "model.onnx", place / engine.file, profiles, samples)


def verdict(engines: dict[str, EngineBuild], cosine: float | None) -> dict[str, Any]:
    """Whether outputs agree: state, words and the least cosine.

    Args:
        engines: What was run.
        cosine: Of what a loop makes, where there is one: it is told, and each call decides.
    """
    found = [
        (one.output, one.cosine, engine.tolerance or 0.0)
        for engine in engines.values()
        for one in engine.agreement
    ]
    far = [
        f"{output}: cosine {at:.5f}, {wanted:g} or more is asked for"
        for output, at, wanted in found
        if not at >= wanted
    ]
    if not found:
        far = ["no output was compared with those of ONNX Runtime"]
    least = min((at for _, at, _ in found), default=None) if cosine is None else cosine
    return {"state": "disagrees" if far else "measured", "words": "; ".join(far), "cosine": least}


def net_figures(net: Net, outputs: Sequence[Path], backend: Name) -> dict[str, Any]:
    """Times of a network's engine, in turn with the FP16 one where that is the second."""
    del net
    with ExitStack() as opened:
        runs = []
        for output in outputs:
            runner = opened.enter_context(open_engine(output / ENGINES[backend], backend))
            runs.append(runner.bind_timed(read_reference(output / REFERENCE)[0]))
        return figures(*interleaved(runs))


def loop_figures(net: Net, outputs: Sequence[Path], backend: Name) -> dict[str, Any]:
    """What the loop makes on its engines, against ONNX Runtime, and its times likewise."""
    assert net.loop is not None, "it is a pipeline"
    generate = cast(Generate, load_object(net.loop, "loop"))
    with ExitStack() as opened:
        models: list[dict[str, Runner]] = [
            {
                name: opened.enter_context(open_engine(place / ENGINES[backend], backend))
                for name, place in places_of(output).items()
            }
            for output in outputs
        ]
        reference: dict[str, Runner] = {
            name: opened.enter_context(OrtRunner(at / "model.onnx", 0, spin=False, integers=False))
            for name, at in places_of(outputs[0]).items()
        }
        made, expected = (
            np.concatenate([array.ravel() for array in made_by(generate, some, net.count).values()])
            for some in (models[0], reference)
        )
        lengths = float(np.linalg.norm(made) * np.linalg.norm(expected)) or 1.0
        cosine = float(np.vdot(made, expected)) / lengths
        runs = [timed_loop(generate, some, net.count) for some in models]
        return {**figures(*interleaved(runs, turn=1)), "cosine": cosine}


def made_by(generate: Generate, runners: dict[str, Runner], count: int) -> dict[str, Array]:
    """What a loop makes of a seed."""

    def call(runner: Runner) -> Callable[..., dict[str, Array]]:
        return lambda **feeds: runner.run(cast(Arrays, feeds))

    return generate({name: call(runner) for name, runner in runners.items()}, SEED, count)


def timed_loop(generate: Generate, runners: dict[str, Runner], count: int) -> Timed:
    """A loop's milliseconds."""

    def run() -> float:
        began = time.perf_counter()
        made_by(generate, runners, count)
        return 1000 * (time.perf_counter() - began)

    return run


def clocks() -> tuple[int, int] | None:
    """MHz of the multiprocessors now, and the most they can."""
    told = [asked_of_smi(field) for field in ("clocks.sm", "clocks.max.sm")]
    return (int(told[0]), int(told[1])) if all(one.isdecimal() for one in told) else None


def whole(net: Net, folder: Path, backend: str | None) -> Part:
    """A run of `compress` on this machine, which races its candidates itself."""
    from trt_device_graphs import compressed, recipe  # noqa: PLC0415 - seconds, of this row alone

    asked = recipe(net, "INT8", backend or "auto")
    report = compressed(net, folder / f"{net.name}.onnx", asked, folder / slug(net.name, WHOLE))
    (graph,) = report.graphs.values()
    engine = graph.engine
    assert engine is not None, "the target is trt"
    part = Part(network=net.name, kind=WHOLE, state="failed", engines={"model": engine})
    if engine.status != "built":
        state = "built, not run" if engine.file and not engine.failed else "failed"
        return part.model_copy(update={"state": state, "words": engine.reason or ""})
    told = verdict({"model": engine}, None)
    return part.model_copy(update={**told, "words": told["words"] or headline(graph)})


@contextmanager
def told_in(answer: Path, network: str, kind: str) -> Iterator[list[Part]]:
    """Keep the part that is put into the list; an error that was foreseen is one, too."""
    began, parts = time.perf_counter(), list[Part]()
    try:
        yield parts
    except CompressorError as error:
        parts = [Part(network=network, kind=kind, state="failed", words=str(error))]
    took = round(time.perf_counter() - began, 2)
    written(answer, parts[0].model_copy(update={"seconds": took}).model_dump(mode="json"))


def main() -> None:
    """Do what the job says, and write its answer."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with told_in(Path(job["answer"]), job["network"], job["kind"]) as parts:
        parts.append(measure(job))


if __name__ == "__main__":
    main()
