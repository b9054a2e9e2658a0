"""Modules of nodes: from scopes, from names of weights, and from names of the older exporter."""

import numpy as np
import onnx_ir as ir
import pytest

from compressor.graph.modules import SCOPES, module_of, modules_of


def node(
    name: str = "node_conv2d", scopes: str | None = None, weight: str | None = None
) -> ir.Node:
    inputs = [ir.val("x")]
    if weight is not None:
        value = ir.val(weight, const_value=ir.tensor(np.zeros(1, np.float32), name=weight))
        inputs.append(value)
    made = ir.node("Conv", inputs, name=name)
    if scopes is not None:
        made.metadata_props[SCOPES] = scopes
    if weight is not None:
        ir.Graph([], [], nodes=[made], initializers=[inputs[1]])
    return made


@pytest.mark.parametrize(
    ("scopes", "module"),
    [
        ("['', 'source', 'source.layer1.0.conv1', 'conv2d']", "layer1.0.conv1"),
        ("['', 'source', 'mul']", None),
        ("['', 'add']", None),
        ("__import__('os')", None),
    ],
)
def test_the_innermost_scope_is_the_module(scopes: str, module: str | None):
    assert module_of(node(scopes=scopes)) == module


def test_a_weight_is_called_as_its_module():
    made = node(weight="source.encoder.dense.weight")
    assert module_of(made) == "encoder.dense"
    assert modules_of(ir.Model(made.graph, ir_version=10)) == {"node_conv2d": "encoder.dense"}
    assert module_of(node(weight="weight")) is None


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("/source/encoder/layers/layers.0/attention/MatMul_1", "encoder.layers.0.attention"),
        ("/Relu", None),
        ("Conv_0", None),
    ],
)
def test_the_older_exporter_names_nodes_by_modules(name: str, module: str | None):
    assert module_of(node(name)) == module
