"""`auto` chooses what the consumers of a tensor lose least by."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual

from calibration.collect import collect
from calibration.dataset import open_dataset
from calibration.scheme import dequantize, params_from_range, quantize
from compressor.quantization.auto import CANDIDATES, EQUAL, drawn, select
from compressor.quantization.placement import place, quantized_values
from compressor.quantization.ranges import activation_params
from compressor.quantization.replay import replay
from compressor.quantization.static import CalibrationOptions, calibrate
from exporters.ort.target import TARGET

POLICY = TARGET.policy("vnni")
SHAPE = (24, 32, 8, 8)


def images(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


def chosen(graph: ir.Model, values: np.ndarray, memory: int | None = None):
    data = open_dataset({"x": values})
    placed = place(graph, POLICY)
    tensors = quantized_values(graph, placed.integer, POLICY)
    stats = collect(graph, [tensor.name or "" for tensor in tensors], data)
    return select(graph, placed.integer, tensors, stats, data, POLICY, memory=memory)


def convolution() -> ir.Model:
    return model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w) => (float[n,32,8,8] y)
        { y = Conv<pads=[1,1,1,1]>(x, w) }""",
        w=[32, 32, 3, 3],
    )


def test_the_score_is_the_signal_to_noise_ratio_of_the_consumer():
    graph, values = convolution(), images()
    scheme = POLICY.activation
    params = {"wide": params_from_range(-40, 40, scheme), "right": params_from_range(-4, 4, scheme)}
    float_weights = replace(POLICY, weighted=frozenset())
    scores = replay(
        graph,
        [str(graph.graph[0].name)],
        ["x"],
        {name: {"x": p} for name, p in params.items()},
        open_dataset({"x": values}),
        float_weights,
    )
    with TARGET.open(graph) as runner:
        expected = runner.run({"x": values})["y"]
        for name, p in params.items():
            found = runner.run({"x": dequantize(quantize(values, p), p)})["y"]
            noise = ((found - expected) ** 2).sum((1, 2, 3)) / (expected**2).sum((1, 2, 3))
            score = (-10 * np.log10(noise).mean() - 10 * np.log10(noise.mean())) / 2
            assert scores["x"][name] == pytest.approx(score, abs=0.05)


def test_an_outlier_is_clipped_and_the_score_says_why():
    dirty = images()
    dirty[3, 0, 0, 0] = 400.0
    found = chosen(residual(), dirty)
    assert found.methods["x"] != "minmax"
    assert found.ranges["x"][1] < 8
    scores = found.scores["x"]
    assert scores[found.methods["x"]] > scores["minmax"] + 10


def test_values_that_carry_the_meaning_are_kept():
    """One channel is rare and large, and the only one that the convolution reads."""
    graph = convolution()
    weight = np.zeros((32, 32, 3, 3), np.float32)
    weight[:, 0] = np.random.default_rng(0).standard_normal((32, 3, 3))
    graph.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
    values = images() * 0.01
    values[:, 0] = 0
    values[:, 0, 4, 4] = 50 + np.arange(len(values))
    found = chosen(graph, values)
    assert found.ranges["x"][1] > 60


def test_samples_whose_energy_float32_cannot_hold_do_not_judge():
    values = images()
    values[:3] *= np.float32(1e20)
    found = chosen(residual(), values)
    assert set(found.methods.values()) <= set(CANDIDATES)
    assert all(np.isfinite(score) for one in found.scores.values() for score in one.values())


def test_where_no_sample_has_a_ratio_candidates_count_as_equal():
    found = chosen(residual(), images() * np.float32(1e20))
    assert found.methods["x"] == CANDIDATES[0]


def test_nothing_is_clipped_without_a_reason():
    found = chosen(residual(), np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32))
    low, high = found.ranges["x"]
    assert low < -0.99
    assert high > 0.99
    for name, scores in found.scores.items():
        assert scores.keys() == set(CANDIDATES)
        best = max(scores.values())
        assert scores[found.methods[name]] >= best - EQUAL or name != "x"


def test_windows_do_not_change_the_choice():
    whole, cut = chosen(residual(), images()), chosen(residual(), images(), memory=100_000)
    assert whole.methods == cut.methods
    for name in whole.scores:
        assert cut.scores[name] == pytest.approx(whole.scores[name], abs=0.5)


def test_values_on_both_sides_of_a_mover_share_method_and_parameters():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v) => (float[n,32,6,6] y)
        {
            a = Conv<pads=[1,1,1,1]>(x, w)
            r = Relu(a)
            m = MaxPool<kernel_shape=[3,3]>(r)
            y = Conv<pads=[1,1,1,1]>(m, v)
        }""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3],
    )  # fmt: skip
    found = chosen(graph, images())
    assert found.methods["r"] == found.methods["m"]
    placed = place(graph, POLICY)
    tensors = quantized_values(graph, placed.integer, POLICY)
    params = activation_params(graph, placed.integer, tensors, found.ranges, POLICY)
    assert params["r"].scale == params["m"].scale


def test_a_baked_in_batch_replays_too():
    graph = model(
        """g (float[5,32,8,8] x, float[32,32,3,3] w) => (float[5,32,8,8] y)
        { y = Conv<pads=[1,1,1,1]>(x, w) }""",
        w=[32, 32, 3, 3],
    )
    fixed, free = chosen(graph, images()), chosen(convolution(), images())
    for method in CANDIDATES:
        assert fixed.scores["x"][method] == pytest.approx(free.scores["x"][method], abs=0.01)


def test_the_sample_is_seeded_and_small():
    data = open_dataset({"x": np.arange(500, dtype=np.float32).reshape(-1, 1)})
    one, same, other = (drawn(data, seed) for seed in (0, 0, 1))
    assert len(one) == 64
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert len(drawn(data.take(10), 0)) == 10


def test_calibrate_records_the_method_of_every_tensor():
    data = open_dataset({"x": images()})
    auto = calibrate(residual(), data, POLICY, CalibrationOptions())
    assert auto.record.parameters["method"] == "auto"
    counts = auto.record.parameters["chosen"]
    assert sum(counts.values()) == auto.record.parameters["tensors"] == len(auto.ranges)
    said = {d.subject: d for d in auto.record.decisions if d.verdict != "float"}
    assert said.keys() == auto.ranges.keys()
    assert "dB" in said["x"].reason
    again = calibrate(residual(), data, POLICY, CalibrationOptions())
    assert again.ranges == auto.ranges


def test_without_data_to_replay_auto_says_what_it_used():
    data = open_dataset({"x": images()})
    first = calibrate(residual(), data, POLICY, CalibrationOptions("mse"))
    names = list(first.ranges)
    stats = collect(residual(), names, data)
    later = calibrate(residual(), None, POLICY, CalibrationOptions(stats=(stats, "s.npz")))
    assert later.ranges == first.ranges
    assert "mse" in later.record.notices[0]
