"""ONNX files: any field, what graphs are of, bytes, and weights in other files."""

import contextlib
import os
import shutil
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from fuzz import hostile
from fuzz.case import Case
from fuzz.commands import compress, of_model
from fuzz.graph_steps import Step, broken_graph, odd_graph
from fuzz.graph_steps.weights import lies_outside
from fuzz.messages import broken_field


def _chosen(case: Case) -> tuple[str, Any]:
    name = case.rng("base").choice(sorted(case.bases.models))
    case.copy(f"{name}.npz")
    return name, onnx.ModelProto.FromString(case.bases.models[name].SerializeToString())


def _steps(case: Case, step: Step) -> str:
    """Write a model after the steps that are taken; the name of what it was."""
    name, model = _chosen(case)
    for rng in case.each():
        with contextlib.suppress(DecodeError, IndexError, TypeError, ValueError):  # broken before
            step(rng, model)
    (case.folder / "model.onnx").write_bytes(model.SerializeToString())
    return name


def _broken(case: Case, step: Step) -> list[str]:
    name = _steps(case, step)
    return of_model(case, "model.onnx", f"{name}.npz" if case.rng("data").random() < 0.7 else None)


def fields(case: Case) -> list[str]:
    """Any field of any message."""
    return _broken(case, broken_field)


def graphs(case: Case) -> list[str]:
    """What graphs are of."""
    return _broken(case, broken_graph)


_MODES = (
    (), ("--keep-slower",), ("--keep-slower", "--keep-ruined"), ("--quantize", "int8-dynamic"),
    ("--quantize", "int8-weights"), ("--quantize", "int4"), ("--quantize", "fp16"),
    ("--quantize", "none", "--prune", "40%"), ("--prune", "30%", "--keep-slower"),
    ("--quantize", "none", "--target", "trt", "--trt-backend", "script"),
)  # fmt: skip


def odd(case: Case) -> list[str]:
    """Graphs that are right and odd, through all of a run."""
    name = _steps(case, odd_graph)
    rng = case.rng("command")
    if rng.random() < 0.1:
        return ["sensitivity", "model.onnx", "--calib", f"{name}.npz", "--measure-seconds", "0.01"]
    case.model, case.feeds = case.folder / "model.onnx", case.folder / f"{name}.npz"
    return compress(case, "model.onnx", "--calib", f"{name}.npz", *rng.choice(_MODES))


def anything(case: Case) -> list[str]:
    """Bytes."""
    name, model = _chosen(case)
    (case.folder / "model.onnx").write_bytes(case.broken(model.SerializeToString()))
    return of_model(case, "model.onnx", f"{name}.npz")


def outside(case: Case) -> list[str]:
    """Weights in another file, which may lie outside the folder of the model."""
    inner = case.folder / "model"
    shutil.copytree(case.bases.folder / "apart", inner)
    case.copy("mlp.npz")
    shutil.copy(inner / "weights.bin", case.folder / "outside.bin")
    (inner / "inner").mkdir()
    (inner / "link.bin").symlink_to(case.folder / "outside.bin")
    (inner / "linked").symlink_to(case.folder)
    os.mkfifo(inner / "fifo.bin")
    model = onnx.load(inner / "mlp.onnx", load_external_data=False)
    for rng in case.each():
        if rng.random() < 0.15:
            content = (inner / "weights.bin").read_bytes()
            (inner / "weights.bin").write_bytes(hostile.broken_bytes(rng, content))
        else:
            lies_outside(rng, model)
    (inner / "mlp.onnx").write_bytes(model.SerializeToString())
    return of_model(case, "model/mlp.onnx", "mlp.npz")
