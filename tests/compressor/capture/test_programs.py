"""Exported programs: translated with the sizes that they were exported with."""

import io
import logging

import numpy as np
import pytest

from compressor.capture import capture
from compressor.capture.torch_attempts import TRANSLATION
from compressor.checkpoint import source_of
from compressor.errors import CaptureError
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs, output_specs
from compressor.recipe.notation import parse_input
from compressor.system.third_party_output import relayed

torch = pytest.importorskip("torch")
nn = torch.nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.source = nn.Linear(3, 4)  # bears the name of the wrapper's attribute
        self.bn = nn.BatchNorm1d(4)

    def forward(self, x, n: int, skip=None, *, extra):
        y = self.bn(self.source(x)) * extra["scale"]
        return {"y": y, "nothing": skip, "sum": (y.sum(0), x[:, : n - 1])}


def _export(module, *args, **options):
    with relayed(logging.getLogger("test")):
        program = torch.export.export(module.eval(), args, **options)
        archive = io.BytesIO()
        torch.export.save(program, archive)
        archive.seek(0)
        return torch.export.load(archive)


@pytest.fixture(scope="module")
def program():
    batch = torch.export.Dim("anything")
    return _export(
        Two(), torch.randn(3, 3), 2, None, kwargs={"extra": {"scale": torch.ones(3, 4)}},
        dynamic_shapes={
            "x": {0: batch}, "n": None, "skip": None, "extra": {"scale": {0: batch}},
        },
    )  # fmt: skip


def _capture(program, examples=None, declared=()):
    inputs = [parse_input(text) for text in declared]
    return capture(source_of(program), inputs=inputs, examples=examples, opset=21)


def test_names_sizes_and_samples_come_from_the_program(program):
    captured = _capture(program)
    assert [str(s) for s in input_specs(captured.model)] == [
        "x:float32[batch,3]",
        "extra_scale:float32[batch,4]",
    ]
    assert [(s.name, s.shape) for s in output_specs(captured.model)] == [
        ("y", ("batch", 4)),
        ("sum_0", (4,)),
        ("sum_1", ("batch", 1)),
    ]
    assert [(p.batch, p.output) for p in captured.parity[::3]] == [(2, "y"), (1, "y")]
    assert [(d.subject, d.verdict) for d in captured.record.decisions] == [(TRANSLATION, "ok")]
    assert {"source.weight", "bn.running_var"} <= set(captured.model.graph.initializers)
    assert "BatchNormalization" in [node.op_type for node in captured.model.graph]
    session = open_session(captured.model)
    feeds = {"x": np.ones((5, 3), np.float32), "extra_scale": np.ones((5, 4), np.float32)}
    assert session.run(["y"], feeds)[0].shape == (5, 4)


def test_several_samples_bind_by_name(program):
    rng = np.random.default_rng(0)
    examples = {
        "extra_scale": rng.standard_normal((8, 4), np.float32),
        "x": rng.standard_normal((8, 3), np.float32),
    }
    captured = _capture(program, examples)
    assert [s.name for s in input_specs(captured.model)] == ["x", "extra_scale"]
    with pytest.raises(CaptureError, match=r"takes x:float32\[batch,3\].*data has scale, x"):
        _capture(program, {"scale": examples["extra_scale"], "x": examples["x"]})


def test_a_single_input_takes_the_name_of_the_data_and_a_baked_batch_is_a_notice():
    program = _export(nn.Sequential(nn.Linear(3, 4)), torch.randn(3, 3))
    captured = _capture(program, {"features": np.ones((8, 3), np.float32)})
    assert [str(s) for s in input_specs(captured.model)] == ["features:float32[3,3]"]
    assert [p.batch for p in captured.parity] == [3]
    assert "baked in at 3 (the program was exported so)" in captured.record.notices[0]
    named = {"features": np.ones((8, 3), np.float32)}
    _capture(program, named, declared=["features:float32[3,3]"])
    with pytest.raises(CaptureError, match=r"takes input:.*data has input:int64\[8,3\]"):
        _capture(program, {"features": np.ones((8, 3), np.int64)})


def test_declared_inputs_must_agree_with_the_program(program):
    _capture(program, declared=["x:float32[7,3]"])
    with pytest.raises(
        CaptureError, match=r"--input declares x:float32\[n,5\].*x:float32\[batch,3"
    ):
        _capture(program, declared=["x:float32[n,5]"])
    with pytest.raises(CaptureError, match="--input declares features:"):
        _capture(program, declared=["features:float32[n,3]"])


def test_what_the_translation_refuses_goes_through_the_exporters():
    class Counting(nn.Module):
        def forward(self, x):
            return x * 2, 7  # a number among the outputs of a program has no translation

    program = _export(
        Counting(), torch.randn(3, 3), dynamic_shapes={"x": {0: torch.export.Dim("b")}}
    )
    captured = _capture(program)
    assert [d.verdict for d in captured.record.decisions] == ["failed", "ok"]
    assert [str(s) for s in input_specs(captured.model)] == ["x:float32[batch,3]"]
    assert captured.record.notices == ("output '1' is no tensor but of type int: left out",)
