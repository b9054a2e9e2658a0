"""What a repair changed, taken out and put back."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual

from calibration.dataset import open_dataset
from compressor.errors import RecipeError
from compressor.graph.session import open_session
from compressor.pruning import cut, find_groups
from compressor.pruning.reconstruction.patching import patch_of, patched
from compressor.pruning.reconstruction.repair import Repair, repair


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def scaled() -> ir.Model:
    """A Gemm that scales, a MatMul with a bias behind it, and one without."""
    return model(
        """g (float[n,8] x, float[8,16] u, float[16] a, float[16,12] v, float[12] b,
              float[12,5] w) => (float[n,5] y)
        { h = Gemm<alpha=0.5, beta=2.0>(x, u, a)
          r = Relu(h)
          m = MatMul(r, v)
          s = Add(m, b)
          q = Relu(s)
          y = MatMul(q, w) }""",
        u=[8, 16], a=[16], v=[16, 12], b=[12], w=[12, 5],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "x"), [(residual(), images(32, 32, 8, 8)), (scaled(), images(64, 8))],
    ids=["convolutions", "products"],
)  # fmt: skip
def test_a_repair_is_put_back_byte_for_byte(made: ir.Model, x: np.ndarray):
    grouping = find_groups(made, {"x": x[:2]})
    keep = {g.name: np.arange(g.units) % 2 == 0 for g in grouping.groups}
    smaller = cut(made, grouping, keep)
    repaired, record = repair(made, smaller, grouping, keep, open_dataset({"x": x}), Repair())
    assert record.changed["layers repaired"] > 0
    patch = patch_of(smaller, repaired)
    assert patch
    before = ir.to_proto(smaller).SerializeToString()
    again = patched(smaller, patch)
    assert ir.to_proto(smaller).SerializeToString() == before, "the model stays as it is"
    expected, found = (
        {name: value.const_value.numpy() for name, value in one.graph.initializers.items()}
        for one in (repaired, again)
    )
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name
    outputs = [open_session(one, threads=1).run(None, {"x": x})[0] for one in (repaired, again)]
    np.testing.assert_array_equal(*outputs)


def test_where_nothing_was_repaired_there_is_nothing_to_put_back():
    assert patch_of(residual(), residual()) == {}


def test_a_patch_of_another_graph_is_refused():
    with pytest.raises(RecipeError, match="'Conv_9', which the graph lacks"):
        patched(residual(), {"Conv_9/weight": np.zeros((1, 1, 1, 1), np.float32)})
    with pytest.raises(RecipeError, match="of shape"):
        patched(residual(), {"Conv_0/weight": np.zeros((1, 1, 1, 1), np.float32)})
