"""Shares of parameters and work, against figures worked out by hand."""

import numpy as np
import pruning_graphs
import pytest

from compressor import inspect
from compressor.pruning import find_groups
from compressor.pruning.coupling.summary import summarize


def test_what_hangs_on_a_group():
    model = pruning_graphs.mlp()
    found = summarize(model, find_groups(model, {"x": np.ones((2, 4), np.float32)}), "mlp")
    (group,) = found.groups
    assert (group.name, group.units, group.weights) == ("MatMul_0", 5, ("a", "b"))
    assert (group.macs, group.parameters, found.prunable) == (1.0, 1.0, 1.0)
    assert {(row.node, row.operator, row.parameters) for row in found.frozen} == {
        ("x", None, 20),
        ("y", None, 15),
    }


def test_shares_of_a_residual_stream_and_of_what_is_inside():
    model = pruning_graphs.residual()
    feeds = {"x": np.ones((2, 3, 8, 8), np.float32)}
    found = {g.units: g for g in summarize(model, find_groups(model, feeds), "net").groups}
    conv = {"w0": 8 * 3 * 64, "w1": 16 * 72 * 64, "w2": 8 * 144 * 64, "w3": 8 * 72 * 64, "w4": 32}
    inside = conv["w1"] + conv["w2"]
    assert found[16].macs == pytest.approx(inside / sum(conv.values()))
    assert found[8].macs == 1.0
    assert set(found[16].weights) == {"w1", "w2"}


def test_the_face(tmp_path):
    from compressor.graph.files import save_model
    from compressor.graph.names import make_unique

    model = pruning_graphs.two_heads()
    make_unique(model)
    save_model(model, tmp_path / "net.onnx")
    found = inspect(tmp_path / "net.onnx")
    assert [group.units for group in found.groups] == [8]
