"""One comparison of our INT8 with float and with ONNX Runtime's own `quantize_static`.

    python benchmarks/versus.py compare JOB.json FOLDER
    python benchmarks/versus.py memory JOB.json FOLDER SAMPLES

Each prints one JSON object of figures; `processes.py` starts them, each in a fresh process. The
first writes FOLDER/float.onnx, which the second reads.
"""

import io
import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import onnx_ir as ir
import psutil
from rich.console import Console

from calibration.collect import collect
from calibration.dataset import CalibrationSet, open_dataset
from calibration.preprocess import Preprocess
from compressor import Recipe, compress
from compressor.evaluation.latency import compare_latency
from compressor.graph.files import load_model
from compressor.graph.shapes import infer_shapes, input_specs
from compressor.graph.tensors import Array, Arrays
from compressor.results.measurements import LatencyConfig
from compressor.system.hardware import has_int8_dot
from exporters.base import Runner, find_target

CALIBRATION_SAMPLES = 512
CALIBRATION_BATCH = 32
FEW, MANY = 512, 4096
"""Calibration samples between which memory may not grow."""
SECONDS = 3.0
INTEGER = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat")
FLOATING = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul")
"""What Conv and Gemm nodes are called in the runtime's optimized graph."""


@dataclass(frozen=True)
class Job:
    """What is compared; paths are absolute.

    Attributes:
        model: A checkpoint with a state dict.
        factory: file.py:function that makes its module.
        calibration: Data that both quantizers see.
        evaluation: Labelled data for top-1.
        preprocess: Fields of `Preprocess`.
        many: Data of `MANY` samples or more, for the growth of memory.
    """

    model: str
    factory: str
    calibration: str
    evaluation: str
    preprocess: dict[str, Any]
    many: str | None = None

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text()))

    def data(self, source: str, samples: int | None = None) -> CalibrationSet:
        """The data set, preprocessed for the model."""
        data = open_dataset(source, preprocess=Preprocess.model_validate(self.preprocess))
        return data if samples is None else data.take(samples)


def compare(job: Job, folder: Path) -> dict[str, float]:
    """Quality and speed of float, ours and ONNX Runtime's, and what runs as integer in ours."""
    target = find_target("ort")
    export_float(job, folder / "float.onnx")
    quantize_by_runtime(job, folder / "float.onnx", folder / "runtime.onnx")
    # Shipped as INT8 whatever its speed, which is measured here.
    compress_as_user(
        job,
        folder / "ours",
        {
            "quantize": {"keep_slower": True, "batch": CALIBRATION_BATCH},
            "measure": {"seconds": 0.5},
        },
    )
    paths = {
        "float": folder / "float.onnx",
        "runtime": folder / "runtime.onnx",
        "ours": folder / "ours" / "model.onnx",
    }
    integer, floating = target.integer_nodes(paths["ours"])
    integer_nodes = sum(integer.get(operator, 0) for operator in INTEGER)
    figures: dict[str, float] = {
        "integer": integer_nodes,
        "weighted": integer_nodes + sum(floating.get(operator, 0) for operator in FLOATING),
    }
    for name, path in paths.items():
        with target.open(path, threads=1) as runner:
            figures[f"top1 {name}"] = top1(runner, bound(job, runner, job.evaluation))
    for batch in (1, 32):
        for other in ("float", "runtime"):
            ratio = faster_than(target.open(paths[other]), target.open(paths["ours"]), job, batch)
            figures[f"speed-up over {other}, batch {batch}"] = ratio
    return figures


def export_float(job: Job, path: Path) -> None:
    """The baseline: torch's own export, with BatchNorm folded by the exporter."""
    import torch  # noqa: PLC0415 - the memory measurement must not carry torch

    from compressor.system.userfile import load_object  # noqa: PLC0415 - likewise

    factory = load_object(job.factory, "model factory")
    assert callable(factory)
    module = factory()
    module.load_state_dict(torch.load(job.model, weights_only=True)["state_dict"])
    example = next(iter(next(job.data(job.calibration).batches(2)).inputs.values()))
    logging.disable(logging.WARNING)
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.from_numpy(example),),
            path,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )


def quantize_by_runtime(job: Job, source: Path, path: Path, method: str = "MinMax") -> None:
    """`onnxruntime.quantization.quantize_static` as its documentation recommends for x86.

    U8S8, per channel, the same calibration samples and as many weight bits as ours; `method` is
    one of its `CalibrationMethod`.
    """
    from onnxruntime import quantization  # noqa: PLC0415 - ours is measured without it

    name = input_specs(load_model(source))[0].name
    batches = job.data(job.calibration, CALIBRATION_SAMPLES).batches(CALIBRATION_BATCH)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(batches, None)
            return None if batch is None else {name: next(iter(batch.inputs.values()))}

    logging.disable(logging.WARNING)
    with redirect_stdout(io.StringIO()):
        quantization.quantize_static(
            source,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=not has_int8_dot("host"),
            calibrate_method=quantization.CalibrationMethod[method],
        )


def compress_as_user(job: Job, folder: Path, options: dict[str, Any]) -> Path:
    """The artifact of the whole job as a user runs it, and on stderr why it ships.

    Args:
        job: What is compressed.
        folder: Where to.
        options: Sections of the recipe, each beside or in place of what is said here.
    """
    sections: dict[str, dict[str, Any]] = {
        "model": {"factory": job.factory},
        "data": {"samples": CALIBRATION_SAMPLES, "preprocess": job.preprocess},
        "measure": {"threads": 1, "seconds": 2.0, "metric": "accuracy"},
    }
    for name, section in options.items():
        sections[name] = sections.get(name, {}) | section
    report = compress(
        job.model,
        target="ort",
        calibration=job.calibration,
        evaluation=job.evaluation,
        recipe=Recipe.model_validate(sections),
        output=folder,
    )
    Console(stderr=True).print(report.graphs["model"].shipped_reason, style="dim")
    return folder / "model.onnx"


def top1(runner: Runner, data: CalibrationSet) -> float:
    """Share of samples whose largest output is their label, in percent."""
    hits = total = 0
    for batch in data.batches(100):
        logits = next(iter(runner.run(batch.inputs).values()))
        assert batch.labels is not None
        hits += int((logits.argmax(1) == batch.labels).sum())
        total += len(batch)
    return 100 * hits / total


def faster_than(other: Runner, ours: Runner, job: Job, batch: int) -> float:
    """median(other) / median(ours), timed in turn on one thread."""
    with other as baseline, ours as result:
        feeds: dict[str, Array] = {}
        for runner in (baseline, result):
            feeds |= bound(job, runner, job.evaluation).head(batch).inputs
        return latency_ratio(baseline, result, feeds, batch)


def latency_ratio(baseline: Runner, result: Runner, feeds: Arrays, batch: int) -> float:
    """median(baseline) / median(result), timed in turn; both were opened with one thread."""
    config = LatencyConfig(batch=batch, threads=1)
    return compare_latency(baseline, result, feeds, config, deciding=True, seconds=SECONDS).speed


def bound(job: Job, runner: Runner, source: str) -> CalibrationSet:
    """The data under the name that this runner's input has."""
    return job.data(source).bind(runner.inputs)


def memory(job: Job, folder: Path, samples: int) -> dict[str, float]:
    """Growth of resident memory while every value of the graph is calibrated, in MB."""
    model = infer_shapes(load_model(folder / "float.onnx"))
    assert job.many is not None
    data = job.data(job.many, samples).bind(input_specs(model))
    values = [value for node in model.graph for value in node.outputs]
    names = [value.name for value in values if value.name and value.dtype == ir.DataType.FLOAT]
    with resident_peak() as peak:
        before = peak[0]
        stats = collect(model, names, data, batch=CALIBRATION_BATCH, threads=1)
    assert stats.samples == samples, f"{job.many} has {stats.samples} samples, not {samples}"
    return {f"growth with {samples}": (peak[0] - before) / 1e6}


@contextmanager
def resident_peak() -> Iterator[list[float]]:
    """A list of one: the greatest resident size seen so far, in bytes, looked at every 2 ms."""
    process, done = psutil.Process(), threading.Event()
    peak = [float(process.memory_info().rss)]

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def main() -> None:
    """Run the one measurement that the command line names."""
    what, job, folder, *samples = sys.argv[1:]
    if what == "compare":
        figures = compare(Job.load(Path(job)), Path(folder))
    else:
        figures = memory(Job.load(Path(job)), Path(folder), int(samples[0]))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
