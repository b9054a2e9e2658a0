"""Scores: what does nothing costs nothing, and groups compare."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual

from calibration.dataset import open_dataset
from compressor.errors import RecipeError
from compressor.layerwise.moments import Moments, solve
from compressor.pruning import find_groups
from compressor.pruning.selection import importance
from compressor.pruning.selection.importance import GRAPH_METHODS, Scoring, scores, unscored
from compressor.recipe.methods import METHODS

X = np.random.default_rng(0).standard_normal((16, 32, 8, 8)).astype(np.float32)
DATA = open_dataset({"x": X})


def changed(made: ir.Model, name: str, change) -> ir.Model:
    value = made.graph.initializers[name]
    array = value.const_value.numpy().copy()
    change(array)
    value.const_value = ir.tensor(array, name=name)
    return made


@pytest.mark.parametrize("method", [method for method in GRAPH_METHODS if method != "random"])
def test_a_dead_channel_goes_first(method):
    def kill(array):
        array[5] = 0

    made = residual()
    for name in ("w1", "b1", "w2", "b2"):
        changed(made, name, kill)
    grouping = find_groups(made, {"x": X[:2]})
    found = scores(made, grouping, DATA, Scoring(method))
    assert found.keys() == {g.name for g in grouping.groups}
    for values in found.values():
        assert values.argmin() == 5
        assert np.isfinite(values).all()


def test_a_constant_channel_costs_nothing_once_its_mean_is_folded():
    def still(array):
        array[3] = 0

    made = changed(residual(), "w1", still)
    b1 = made.graph.initializers["b1"]
    b1.const_value = ir.tensor(np.full(32, 9.0, np.float32), name="b1")
    for value in ("w2", "b2"):
        changed(made, value, still)
    grouping = find_groups(made, {"x": X[:2]})
    (group,) = grouping.groups
    by = {m: scores(made, grouping, DATA, Scoring(m))[group.name] for m in ("flap", "wanda")}
    assert by["flap"].argmin() == 3
    assert by["wanda"].argmin() != 3


def test_memory_does_not_change_the_scores():
    made = residual()
    grouping = find_groups(made, {"x": X[:2]})
    wide = scores(made, grouping, DATA, Scoring("flap"))
    narrow = scores(made, grouping, DATA, Scoring("flap", memory=2_500_000, batch=4))
    for name in wide:
        np.testing.assert_allclose(narrow[name], wide[name], rtol=1e-3)


def test_random_is_the_same_for_the_same_seed():
    made = residual()
    grouping = find_groups(made, {"x": X[:2]})
    one, same, other = (scores(made, grouping, None, Scoring("random", seed=s)) for s in (0, 0, 1))
    (name,) = one
    np.testing.assert_array_equal(one[name], same[name])
    assert (one[name] != other[name]).any()


def test_a_grouped_convolution_is_read_in_each_of_its_groups():
    made = model(
        """g (float[n,3,8,8] x, float[8,3,1,1] v, float[4,4,3,3] w) => (float[n,4,6,6] y)
        { h = Conv(x, v)
          y = Conv<group=2>(h, w) }""",
        v=[8, 3, 1, 1], w=[4, 4, 3, 3],
    )  # fmt: skip
    x = np.random.default_rng(1).standard_normal((16, 3, 8, 8)).astype(np.float32)

    def silent(array):
        array[:, 2] = 0

    changed(made, "w", silent)
    grouping = find_groups(made, {"x": x[:2]})
    (group,) = grouping.groups
    for method in ("obs", "wanda"):
        found = scores(made, grouping, open_dataset({"x": x}), Scoring(method))[group.name]
        assert found.shape == (group.units,)
        assert found.argmin() == 2


def test_an_unknown_method_and_missing_data_are_refused():
    made = residual()
    grouping = find_groups(made, {"x": X[:2]})
    with pytest.raises(RecipeError, match="no importance method"):
        scores(made, grouping, DATA, Scoring("best"))
    with pytest.raises(RecipeError, match="needs calibration data"):
        scores(made, grouping, None, Scoring(METHODS[0]))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_moments_that_are_not_finite_have_no_solution(value: float):
    moments = Moments.about(np.zeros((1, 3)), np.zeros((1, 2)))
    moments.add(np.ones((1, 4, 3)), np.ones((1, 4, 2)))
    moments.xx[0, 1, 1] = value
    with pytest.raises(np.linalg.LinAlgError):
        solve(moments, 1e-3)


def test_rows_that_float32_cannot_square_are_summed_in_float64():
    rows = np.random.default_rng(0).standard_normal((1, 64, 3)).astype(np.float32) * 1e23
    moments = Moments.about(np.zeros((1, 3)), np.zeros((1, 1)))
    moments.add(rows, rows[..., :1])
    matrix, _ = solve(moments, 1e-9)
    np.testing.assert_allclose(matrix[0, 0], [1, 0, 0], atol=1e-6)


def test_what_moments_cannot_score_magnitudes_do(monkeypatch: pytest.MonkeyPatch):
    def singular(*_: object) -> np.ndarray:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(importance, "_METHODS", {"obs": singular})
    model, feeds = residual(), np.zeros((8, 32, 8, 8), np.float32)
    grouping = find_groups(model, {"x": feeds[:2]})
    data = open_dataset({"x": feeds})
    found = scores(model, grouping, data, Scoring("obs"))
    expected = scores(model, grouping, None, Scoring("l2"))
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_layer_too_wide_for_the_memory_is_scored_by_magnitude():
    """Of a graph whose other layers fit, and without a sum of its rows being taken."""
    made = model(
        """g (float[n,8] x, float[8,400] u, float[400,8] d, float[8,8] v) => (float[n,8] y)
        {
            h = MatMul(x, u)
            r = Relu(h)
            o = MatMul(r, d)
            s = Relu(o)
            y = MatMul(s, v)
        }""",
        u=[8, 400], d=[400, 8], v=[8, 8],
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    grouping, data = find_groups(made, {"x": x[:2]}), open_dataset({"x": x})
    told = unscored(made, grouping, 10**6)
    assert [layer for _, layer, _ in told] == ["MatMul_2"]
    assert "400 wide: 4 MB are needed, and --memory allows 1 MB" in told[0][2]
    found, whole = (scores(made, grouping, data, Scoring(memory=m)) for m in (10**6, 10**8))
    by_norm = scores(made, grouping, None, Scoring("l2"))
    (wide,) = (name for name, _, _ in told)
    np.testing.assert_array_equal(found[wide], by_norm[wide])
    for name in whole:
        assert (name == wide) == (not np.allclose(found[name], whole[name]))
