"""Matrices in blocks of 4 bits by DequantizeLinear: what is stored, and the numbers."""

import numpy as np
import onnx_ir as ir
import pytest

from calibration.dataset import open_dataset
from compressor.errors import RecipeError
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs
from compressor.quantization import weight_only
from compressor.quantization.blocks import unpacked
from compressor.quantization.dequantizing import dequantizing

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((128, 48)),
    "v": RNG.standard_normal((20, 128)),
    "odd": RNG.standard_normal((20, 7)),
    "table": RNG.standard_normal((50, 128)),
}
TEXT = """<ir_version: 10, opset_import: ["": 21]>
g (float[n,128] x, int64[n] i) => (float[n,48] y, float[n,20] z, float[n,7] o, float[n,128] t)
{ y = MatMul(x, w)
  z = Gemm<transB=1>(x, v)
  o = MatMul(z, odd)
  t = Gather(table, i) }"""
FEEDS = {"x": RNG.standard_normal((9, 128)).astype(np.float32), "i": np.arange(9)}


def graph() -> ir.Model:
    tensors = [ir.tensor(array.astype(np.float32), name=name) for name, array in WEIGHTS.items()]
    made = ir.from_onnx_text(TEXT, initializers=tensors)
    for node in made.graph:
        node.name = node.op_type + node.outputs[0].name
    return made


def chosen(block: int = 64) -> weight_only.Storing:
    how = weight_only.StoringOptions(bits=4, block=block, symmetric=True, standard=True)
    return weight_only.choose(graph(), None, how)


def outputs(model: ir.Model) -> dict[str, np.ndarray]:
    session = open_session(model, integers=False)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, FEEDS), strict=True))


@pytest.mark.parametrize("block", [64, 128])
def test_the_runtime_computes_with_the_matrices_that_were_chosen(block: int):
    found = chosen(block)
    made = dequantizing(graph(), found.forms, found.packed)
    w = unpacked(found.packed["w"], 128, found.forms["w"])
    v = unpacked(found.packed["v"], 128, found.forms["v"])
    result = outputs(made)
    np.testing.assert_allclose(result["y"], FEEDS["x"] @ w.T, atol=1e-4)
    np.testing.assert_allclose(result["z"], FEEDS["x"] @ v.T, atol=1e-4)


def test_matrices_are_stored_where_they_are_read_and_in_4_bits():
    found = chosen()
    made = dequantizing(graph(), found.forms, found.packed)
    stored = {
        node.inputs[0].name: (
            node.inputs[0].const_value.dtype,
            tuple(node.inputs[0].shape.numpy()),
            node.attributes.get_int("axis"),
            tuple(node.inputs[1].shape.numpy()),
        )
        for node in made.graph
        if node.op_type == "DequantizeLinear"
    }
    assert stored == {
        "w_codes": (ir.DataType.INT4, (128, 48), 0, (2, 48)),
        "v_codes": (ir.DataType.INT4, (20, 128), 1, (20, 2)),
    }
    assert not {"w", "v"} & set(made.graph.initializers)


def test_tables_and_broken_blocks_stay_float_with_a_reason():
    found = chosen()
    assert found.nodes == ("MatMuly", "Gemmz")
    assert sorted(found.packed) == ["v", "w"]
    told = " ".join(found.float_reasons.values())
    assert "rows are looked up" in told
    assert "not whole blocks of 64" in told
    np.testing.assert_array_equal(
        outputs(dequantizing(graph(), found.forms, found.packed))["t"], outputs(graph())["t"]
    )


def test_on_data_the_integers_make_up_for_each_other():
    mixed = np.random.default_rng(1).standard_normal((256, 12)) @ RNG.standard_normal((12, 128))
    feeds = {"x": mixed.astype(np.float32), "i": np.zeros(256, np.int64)}
    data = open_dataset(feeds, role="calibration").bind(input_specs(graph()))
    how = weight_only.StoringOptions(bits=4, block=64, symmetric=True, standard=True)
    found = weight_only.choose(graph(), data, how)
    assert found.record.parameters["chosen"] == {"GPTQ": 2}
    assert found.errors["w"] < chosen().errors["w"]


def test_too_low_an_opset_is_an_error():
    found = chosen()
    old = graph()
    old.opset_imports[""] = 20
    with pytest.raises(RecipeError, match="need opset 21, the model has 20"):
        dequantizing(old, found.forms, found.packed)


def test_a_plan_of_another_graph_is_an_error():
    found = chosen()
    forms = {"nothing": found.forms["w"]}
    with pytest.raises(RecipeError, match="does not fit the graph"):
        dequantizing(graph(), forms, found.packed)
