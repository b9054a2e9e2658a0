"""Models written past the serializer: the same bytes, and sessions that copy no large weight."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.graph import session
from compressor.graph.files import load_model, save_model, serialize
from compressor.graph.lean import without_turned_weights
from compressor.graph.pieces import pieces
from compressor.graph.session import open_session
from compressor.graph.tensor_bytes import forget_pages

TABLE = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)


def tied() -> ir.Model:
    """A table that rows are looked up in, and that is the last product's weight, turned round."""
    model = ir.from_onnx_text(
        """
        <ir_version: 9, opset_import: ["" : 17]>
        tied (int64[n] i) => (float[n, 40] y) {
            x = Gather (table, i)
            t = Transpose <perm = [1, 0]> (table)
            y = MatMul (x, t)
        }
        """,
        initializers=[ir.tensor(TABLE, name="table", doc_string="doc")],
    )
    model.doc_string = "what comes before the graph"
    model.metadata_props["behind"] = "it"
    return model


def apart(folder: Path) -> ir.Model:
    """The same with its weights in a file."""
    save_model(tied(), folder / "m.onnx", apart=True)
    model = load_model(folder / "m.onnx")
    weight = model.graph.initializers["table"].const_value
    assert isinstance(weight, ir.ExternalTensor) == (TABLE.nbytes >= 1024)
    return model


def run(model: ir.Model | Path, **options: bool) -> np.ndarray:
    return open_session(model, **options).run(None, {"i": np.array([3, 7])})[0]


@pytest.mark.parametrize("least", [1, 10**9])
def test_the_bytes_are_the_serializers_own(tmp_path: Path, least: int):
    assert b"".join(pieces(tied(), least)) == serialize(tied())
    model = apart(tmp_path)
    assert b"".join(pieces(model, least)) == serialize(model)


@pytest.mark.parametrize("timed", [False, True])
def test_large_weights_are_mapped_from_where_they_lie(tmp_path, monkeypatch, timed):
    monkeypatch.setattr(session, "LARGE", 1)
    monkeypatch.setattr(session, "serialize", None)  # it would copy them
    expected = TABLE[[3, 7]] @ TABLE.T
    for model in (apart(tmp_path), tied()):
        np.testing.assert_allclose(run(model, timed=timed), expected, rtol=1e-5, atol=1e-5)
    moved = apart(tmp_path)
    moved.graph.initializers["table"].const_value = ir.tensor(2 * TABLE, name="table")
    np.testing.assert_allclose(run(moved, timed=timed), 4 * expected, rtol=1e-5, atol=1e-5)


def test_products_read_a_turned_weight_as_it_is_stored():
    lean = without_turned_weights(tied())
    product = next(node for node in lean.graph if node.op_type == "FusedMatMul")
    assert product.inputs[1].name == "table"
    np.testing.assert_allclose(run(lean), TABLE[[3, 7]] @ TABLE.T, rtol=1e-5, atol=1e-5)


def test_forgotten_pages_are_read_again(tmp_path: Path):
    weight = apart(tmp_path).graph.initializers["table"].const_value
    assert weight is not None
    before = weight.numpy().copy()
    forget_pages([weight])
    np.testing.assert_array_equal(weight.numpy(), before)
