"""Repair brings back what can be brought back, and nothing gets worse."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual

from calibration.dataset import CalibrationSet, open_dataset
from compressor.graph.session import open_session
from compressor.pruning import cut, find_groups
from compressor.pruning.output_error import output_error
from compressor.pruning.reconstruction.fitting import Options
from compressor.pruning.reconstruction.repair import Repair, repair

EXACT = Repair(options=Options(ridges=(1e-9,)), batch=8)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def first_two(grouping, units_gone=(1,)):
    group = grouping.groups[0]
    mask = np.ones(group.units, bool)
    mask[list(units_gone)] = False
    return {group.name: mask}


def outputs(made: ir.Model, x: np.ndarray) -> np.ndarray:
    return open_session(made).run(None, {"x": x})[0]


CONSUMERS = {
    "Conv": ("float[n,6,9,9]", "Conv<pads=[1,1,1,1]>(h, w)", [6, 4, 3, 3]),
    "Conv, strided and dilated": ("float[n,6,3,3]", "Conv<strides=[2,2], dilations=[2,2]>(h, w)",
                                  [6, 4, 3, 3]),
    "ConvTranspose": ("float[n,6,18,18]", "ConvTranspose<strides=[2,2]>(h, w)", [4, 6, 2, 2]),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONSUMERS)
def test_a_channel_that_is_a_combination_of_others_is_recovered(kind):
    shape, consumer, weight = CONSUMERS[kind]
    made = model(
        f"g (float[n,3,9,9] x, float[4,3,3,3] v, float[{','.join(map(str, weight))}] w)"
        f" => ({shape} y) {{ h = Conv<pads=[1,1,1,1]>(x, v)\n y = {consumer} }}",
        v=[4, 3, 3, 3],
        w=weight,
    )
    value = made.graph.initializers["v"]
    array = value.const_value.numpy().copy()
    array[1] = 2 * array[0] - array[3]
    value.const_value = ir.tensor(array, name="v")
    recovered(made, images(32, 3, 9, 9))


@pytest.mark.parametrize("operator", ["MatMul(h, w)", "Gemm(h, w)"])
def test_a_hidden_unit_that_is_a_combination_of_others_is_recovered(operator):
    batch, x = ("n,5", (32, 5, 8)) if "MatMul" in operator else ("n", (64, 8))
    made = model(
        f"g (float[{batch},8] x, float[8,4] v, float[4,6] w) => (float[{batch},6] y)"
        f" {{ h = MatMul(x, v)\n y = {operator} }}",
        v=[8, 4],
        w=[4, 6],
    )
    value = made.graph.initializers["v"]
    array = value.const_value.numpy().copy()
    array[:, 1] = array[:, 0] + 0.5 * array[:, 2]
    value.const_value = ir.tensor(array, name="v")
    recovered(made, images(*x))


def recovered(made: ir.Model, x: np.ndarray) -> None:
    data, grouping = open_dataset({"x": x}), find_groups(made, {"x": x[:2]})
    keep = first_two(grouping)
    pruned = cut(made, grouping, keep)
    found, record = repair(made, pruned, grouping, keep, data, EXACT)
    fresh = images(*x.shape, seed=9)
    expected = outputs(made, fresh)
    scale = np.abs(expected).max()
    assert np.abs(outputs(pruned, fresh) - expected).max() > 0.05 * scale
    assert np.abs(outputs(found, fresh) - expected).max() < 1e-3 * scale
    assert record.changed["layers repaired"] >= 1


def half(grouping) -> dict[str, np.ndarray]:
    return {g.name: np.arange(g.units) % 2 == 0 for g in grouping.groups}


def prepared(x: np.ndarray, keep_of=half):
    made = residual()
    grouping = find_groups(made, {"x": x[:2]})
    keep = keep_of(grouping)
    return made, grouping, keep, cut(made, grouping, keep)


def test_a_pruned_residual_net_comes_closer_on_samples_it_has_not_seen():
    x = images(48, 32, 8, 8)
    made, grouping, keep, pruned = prepared(x)
    data, fresh = open_dataset({"x": x}), open_dataset({"x": images(48, 32, 8, 8, seed=5)})
    found, record = repair(made, pruned, grouping, keep, data)
    before = output_error(made, pruned, fresh, batch=16)
    assert output_error(made, found, fresh, batch=16) < 0.5 * before
    layers = record.parameters["layers"]
    assert layers.keys() == {"Conv_0", "Conv_2", "Gemm_7"}
    assert layers["Conv_0"]["reason"] == "nothing to repair"
    for report in layers.values():
        assert report["seconds"] > 0
    for report in (layers["Conv_2"], layers["Gemm_7"]):
        assert (report["verdict"] == "repaired") == (report["error_after"] < report["error_before"])
        assert report["bytes"] > 0


def test_layers_that_make_what_they_did_are_not_fitted():
    x = images(32, 32, 8, 8)
    made, grouping, keep, whole = prepared(x, lambda grouping: {})
    found, record = repair(made, whole, grouping, keep, open_dataset({"x": x}))
    assert record.changed["layers repaired"] == 0
    layers = record.parameters["layers"].values()
    assert [layer["reason"] for layer in layers] == 3 * ["nothing to repair"]
    np.testing.assert_array_equal(outputs(found, x), outputs(made, x))


def test_the_inputs_stay_as_they_are():
    x = images(16, 32, 8, 8)
    made, grouping, keep, pruned = prepared(x)
    before = outputs(made, x), outputs(pruned, x)
    repair(made, pruned, grouping, keep, open_dataset({"x": x}))
    np.testing.assert_array_equal(outputs(made, x), before[0])
    np.testing.assert_array_equal(outputs(pruned, x), before[1])


def test_memory_and_batch_change_little():
    x = images(32, 32, 8, 8)
    made, grouping, keep, pruned = prepared(x)
    data = open_dataset({"x": x})
    wide, _ = repair(made, pruned, grouping, keep, data)
    narrow, _ = repair(made, pruned, grouping, keep, data, Repair(memory=2_500_000))
    np.testing.assert_allclose(outputs(narrow, x), outputs(wide, x), atol=2e-4)


def test_a_layer_too_wide_for_the_memory_is_left_alone():
    x = images(32, 32, 8, 8)
    made, grouping, keep, pruned = prepared(x)
    _, record = repair(made, pruned, grouping, keep, open_dataset({"x": x}), Repair(memory=10_000))
    reasons = {decision.reason for decision in record.decisions}
    assert any("and --memory allows 0 MB" in reason for reason in reasons), reasons


def test_the_branch_repairs_the_stream():
    """What goes missing in the skip is made up for by the branch that is added to it."""
    made = model(
        """g (float[n,4,6,6] x, float[4,4,1,1] a, float[4,4,1,1] b, float[4,4,1,1] c)
           => (float[n,4,6,6] y)
        {
            h = Conv(x, a)
            s = Conv(h, c)
            o = Conv(x, b)
            y = Add(s, o)
        }""",
        a=[4, 4, 1, 1], b=[4, 4, 1, 1], c=[4, 4, 1, 1],
    )  # fmt: skip
    x = images(32, 4, 6, 6)
    data, grouping = open_dataset({"x": x}), find_groups(made, {"x": x[:2]})
    keep = {"Conv_0": np.array([True, False, False, True])}
    pruned = cut(made, grouping, keep)
    only = replace(EXACT, only=frozenset({"Conv_2"}))
    found, _ = repair(made, pruned, grouping, keep, data, only)
    np.testing.assert_allclose(outputs(found, x), outputs(made, x), atol=1e-4)


def test_a_repair_that_does_not_help_is_left_out():
    """Noise cannot be learnt from: what was exact stays exact."""
    x = images(8, 32, 8, 8)
    made = residual()
    grouping = find_groups(made, {"x": x[:2]})
    how = Repair(options=Options(ridges=(10.0,), prior=False))
    found, record = repair(made, made, grouping, {}, open_dataset({"x": x}), how)
    assert record.changed["layers repaired"] == 0
    assert {d.verdict for d in record.decisions} == {"left alone"}
    np.testing.assert_array_equal(outputs(found, x), outputs(made, x))


def test_a_shared_weight_is_left_alone_and_says_so():
    made = model(
        """g (float[n,4] x, float[4,4] w, float[4,6] u, float[6,4] v) => (float[n,4] y)
        { a = MatMul(x, w)
          r = Relu(a)
          b = MatMul(r, w)
          h = MatMul(b, u)
          y = MatMul(h, v) }""",
        w=[4, 4], u=[4, 6], v=[6, 4],
    )  # fmt: skip
    data = open_dataset({"x": images(32, 4)})
    _, record = repair(made, made, find_groups(made), {}, data)
    said = {d.subject: d for d in record.decisions}
    assert "other readers" in said["MatMul_0"].reason
    assert "other readers" in said["MatMul_2"].reason


def calibrated(x: np.ndarray) -> CalibrationSet:
    return open_dataset({"x": x})


def branch() -> ir.Model:
    return model(
        """g (float[n,6,8,8] x, float[12,6,3,3] v, float[12] a, float[6,12,3,3] w, float[6] b)
           => (float[n,6,8,8] y)
        { c = Conv<pads=[1,1,1,1]>(x, v, a)
          r = Relu(c)
          o = Conv<pads=[1,1,1,1]>(r, w, b)
          y = Add(o, x) }""",
        v=[12, 6, 3, 3], a=[12], w=[6, 12, 3, 3], b=[6],
    )  # fmt: skip


def test_a_repair_that_spans_two_convolutions_beats_one_that_does_not():
    made, x = branch(), images(48, 6, 8, 8)
    grouping = find_groups(made, {"x": x[:2]})
    keep = {"Conv_0": np.arange(12) < 6}
    pruned, data = cut(made, grouping, keep), open_dataset({"x": x})
    fresh = open_dataset({"x": images(48, 6, 8, 8, seed=5)})
    errors = []
    for rounds in (0, 3):
        found, record = repair(made, pruned, grouping, keep, data, Repair(rounds=rounds))
        errors.append(output_error(made, found, fresh, batch=16))
    assert errors[1] < 0.9 * errors[0]
    assert 1 <= record.parameters["layers"]["Conv_0"]["steps"] <= 3


def test_nothing_is_moved_where_nothing_was_lost():
    made, x = branch(), images(16, 6, 8, 8)
    grouping = find_groups(made, {"x": x[:2]})
    found, _ = repair(made, made, grouping, {}, open_dataset({"x": x}))
    np.testing.assert_allclose(outputs(found, x), outputs(made, x), atol=1e-4)


@pytest.mark.parametrize("samples", [8, 20, 40])
def test_a_baked_in_batch_is_repaired_too(samples):
    made = model(
        """g (float[8,6,8,8] x, float[12,6,3,3] v, float[6,12,3,3] w) => (float[8,6,8,8] y)
        { c = Conv<pads=[1,1,1,1]>(x, v)
          r = Relu(c)
          o = Conv<pads=[1,1,1,1]>(r, w)
          y = Add(o, x) }""",
        v=[12, 6, 3, 3], w=[6, 12, 3, 3],
    )  # fmt: skip
    x = images(samples, 6, 8, 8)
    grouping = find_groups(made, {"x": x[:8]})
    keep = {"Conv_0": np.arange(12) < 6}
    pruned = cut(made, grouping, keep)
    found, record = repair(made, pruned, grouping, keep, open_dataset({"x": x}))
    fresh = images(8, 6, 8, 8, seed=5)
    before, after = (
        np.square(outputs(one, fresh) - outputs(made, fresh)).sum() for one in (pruned, found)
    )
    assert after < 0.7 * before
    assert bool(record.notices) == (samples == 8)


@pytest.mark.parametrize(("samples", "ridge"), [(64, 1e-1), (2048, 1e-3)])
def test_a_matrix_product_is_held_closer_to_its_weights_the_fewer_samples_there_are(samples, ridge):
    made = model(
        "g (float[n,8] x, float[8,48] v, float[48,8] w) => (float[n,8] y)"
        " { h = MatMul(x, v)\n r = Relu(h)\n y = MatMul(r, w) }",
        v=[8, 48],
        w=[48, 8],
    )
    data = open_dataset({"x": images(samples, 8)})
    grouping = find_groups(made)
    keep = first_two(grouping, units_gone=range(4))
    _, record = repair(made, cut(made, grouping, keep), grouping, keep, data)
    last = list(record.parameters["layers"].values())[-1]
    assert last["ridge"] == ridge
    assert last["error_after"] < last["error_before"]
