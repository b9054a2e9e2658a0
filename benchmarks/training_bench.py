"""What rows of `training.py` are made of: the float ResNet-20, what is made of it, and the data."""

import time
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.folding import fold
from compressor.graph.files import load_model, save_model
from compressor.graph.shapes import infer_shapes, input_specs
from compressor.graph.writing import with_weights
from compressor.layerwise.activity import activity
from compressor.layerwise.im2col import Doubles
from compressor.layerwise.layers import layers_of
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.recipe.held_out import held_out_of
from compressor.recipe.training import TrainOptions, parse_length
from compressor.search.precision.adaptive_rounding import integers_of
from compressor.training.task import Task
from compressor.training.train import train_graph
from exporters.base import find_target
from pruning import Session
from versus import Job, bound, export_float, top1

Figures = dict[str, float]


class Bench:
    """The float model, what is made of it, and the data."""

    def __init__(self, job: Job, folder: Path, seed: int) -> None:
        """Nothing is made yet; what is made once lies in the folder."""
        self.job, self.folder, self.seed = job, folder, seed
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def whole(self) -> ir.Model:
        """The folded float graph."""
        path = self.folder / "float.onnx"
        if not path.exists():
            export_float(self.job, path)
        return infer_shapes(fold(infer_shapes(load_model(path)))[0])

    def pruned(self, ratio: float) -> ir.Model:
        """With so many times fewer MACs, repaired from 256 images."""
        path = self.folder / f"pruned-{ratio:g}.onnx"
        if not path.exists():
            data = self.data(self.job.calibration, 256)
            save_model(Session(self.job, self.whole, data, 1).pruned(ratio)[0], path)
        return infer_shapes(load_model(path))

    def quantized(self, model: ir.Model, bits: int) -> ir.Model:
        """Weights of so many bits, rounded by their inputs' moments (GPTQ); activations of 8."""
        policy, data = find_target("ort").policy("avx2"), self.data(self.job.calibration)
        choice = calibrate(model, data, policy, CalibrationOptions("mse", batch=32))
        scheme = policy.with_schemes(weight_bits=bits).weight
        layers = [one for name, one in layers_of(model).items() if name in choice.integer]
        seen = activity(model, layers, data.take(256), batch=16, memory=10**9)
        rounded = {
            one.name: integers_of(one, seen[one.name].moments.raw()[0], scheme) for one in layers
        }
        return quantize_static(
            model, choice.integer, choice.ranges, policy, weight_bits=bits, rounded=rounded
        )

    def data(self, file: str, most: int | None = None) -> CalibrationSet:
        """Samples of a file."""
        found = self.job.data(file).bind(input_specs(self.whole))
        return found if most is None else found.take(most)

    def trained(
        self, model: ir.Model, minutes: float, images: int | None = None, **options: object
    ) -> tuple[ir.Model, Figures]:
        """After so many minutes of processor time, without labels."""
        assert self.job.many is not None, "there is training data"
        chosen = TrainOptions.model_validate({"threads": 1, "labels": 0} | options)
        used, held = held_out_of(self.data(self.job.many), chosen, 0)
        used = used if images is None else used.take(images)
        task = Task(
            model,
            self.whole,
            used,
            held,
            chosen,
            parse_length(f"{60 * minutes:g}s"),
            seed=self.seed,
            classes=model.graph.outputs[0].name,
        )
        return carried_out(task)

    def top1(self, model: ir.Model) -> float:
        """On the test images, in percent."""
        with find_target("ort").open(model) as runner:
            return top1(runner, bound(self.job, runner, self.job.evaluation))

    def sqnr(self, model: ir.Model) -> float:
        """Of the outputs on the test images against the float graph's, in dB."""
        one, other = (self._outputs(graph) for graph in (self.whole, model))
        return float(10 * np.log10((one**2).sum() / ((one - other) ** 2).sum()))

    def _outputs(self, model: ir.Model) -> Doubles:
        with find_target("ort").open(model) as runner:
            data = bound(self.job, runner, self.job.evaluation)
            parts = (next(iter(runner.run(b.inputs).values())) for b in data.batches(100))
            return np.concatenate([np.asarray(part, np.float64) for part in parts])


def carried_out(task: Task) -> tuple[ir.Model, Figures]:
    """The graph of a training, by processor time, and what that took."""
    found = train_graph(task, clock=time.process_time)
    result = found.result
    made = with_weights(task.student, found.weights)
    assert result.before is not None, result.reason
    assert result.after is not None, result.reason
    gained = 1 - result.after / result.before
    return made, {
        "steps": result.done,
        "ms": 1e3 * result.cpu_seconds / result.done,
        "gain": gained,
    }
