"""What other range methods offer, the worst tensor first."""

import numpy as np
import onnx_ir as ir
from graphs import model, residual

from calibration.dataset import open_dataset
from compressor.quantization.alternatives import Alternatives, alternatives
from compressor.quantization.auto import EQUAL
from compressor.quantization.placement import quantized_values
from compressor.quantization.ranges import activation_params
from compressor.quantization.static import CalibrationOptions, StaticChoice, calibrate
from exporters.ort.target import TARGET

POLICY = TARGET.policy("vnni")


def images(outlier: float = 0.0) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((40, 32, 8, 8)).astype(np.float32)
    if outlier:
        x[3, 0, 0, 0] = outlier
    return x


def listed(
    graph: ir.Model, x: np.ndarray, *, histograms: bool = True
) -> tuple[StaticChoice, list[Alternatives]]:
    data = open_dataset({"x": x})
    chosen = calibrate(graph, data, POLICY, CalibrationOptions("minmax", alternatives=histograms))
    assert chosen.stats is not None
    found = alternatives(graph, chosen.integer, chosen.ranges, chosen.stats, data, POLICY, seed=1)
    return chosen, found


def test_the_tensor_that_an_outlier_widens_is_the_worst_and_gets_a_narrow_range():
    chosen, found = listed(residual(), images(outlier=400.0))
    assert chosen.ranges["x"][1] == 400
    assert found[0].values == ("x",)
    assert [group.score for group in found] == sorted(group.score for group in found)
    best = found[0].proposals[0]
    assert best.ranges["x"][1] < 8
    assert best.score > found[0].score + 10
    scores = [proposal.score for proposal in found[0].proposals]
    assert scores == sorted(scores, reverse=True)


def test_what_is_listed_differs_from_what_is_there_and_is_not_clearly_worse():
    graph = residual()
    chosen, found = listed(graph, images())
    values = quantized_values(graph, chosen.integer, POLICY)

    def integers(changes: dict[str, tuple[float, float]]) -> list[bytes]:
        ranges = {**chosen.ranges, **changes}
        params = activation_params(graph, chosen.integer, values, ranges, POLICY)
        return [p.scale.tobytes() + p.zero_point.tobytes() for p in params.values()]

    assert any(group.proposals for group in found)
    for group in found:
        made = [integers(dict(proposal.ranges)) for proposal in group.proposals]
        assert len({tuple(each) for each in [*made, integers({})]}) == len(made) + 1
        assert all(p.score >= group.score - EQUAL for p in group.proposals)


def test_values_that_share_a_range_change_together():
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
    _, found = listed(graph, images())
    groups = {group.values: group.proposals for group in found}
    assert groups.keys() == {("x",), ("r", "m"), ("y",)}
    assert all(p.ranges.keys() == {"r", "m"} for p in groups["r", "m"])


def test_extremes_alone_offer_nothing_beside_minmax():
    chosen, found = listed(residual(), images(), histograms=False)
    assert not chosen.stats.origin.histograms
    assert found
    assert not any(group.proposals for group in found)
