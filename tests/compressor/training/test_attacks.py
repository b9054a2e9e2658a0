"""Attacks on graphs, and training that withstands them."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from calibration.dataset import CalibrationSet, open_dataset
from compressor.errors import RecipeError
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.metrics.robust_accuracy import METRIC
from compressor.evaluation.views import OfGraph, only
from compressor.graph.shapes import input_specs
from compressor.graph.writing import with_weights
from compressor.recipe.held_out import held_out_of
from compressor.recipe.training import TrainOptions, parse_length
from compressor.training.attacks import Attack, GraphAttacks, attacked, ranges_of
from compressor.training.executor import GraphModule
from compressor.training.task import Task
from compressor.training.train import train_graph
from exporters.base import find_target

TARGET = find_target("ort")
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 256)
SIGNS = (2.0 * LABELS - 1)[:, None]
# One number says the class plainly, eight say it a little each, and by less than the radius.
X = np.concatenate(
    [
        SIGNS + 0.1 * RNG.standard_normal((256, 1)),
        0.2 * SIGNS + 0.3 * RNG.standard_normal((256, 8)),
    ],
    axis=1,
).astype(np.float32)
RADIUS = 0.4


def linear(batch: str = "n", scales: str = "") -> ir.Model:
    """All nine numbers count alike."""
    rows = ", ".join("-1, 1" for _ in range(9))
    product = "logits = MatMul (x, w)"
    if scales:
        product = (
            "q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) logits = MatMul (d, w)"
        )
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        f"g (float[{batch},9] x) => (float[{batch},2] logits)\n"
        f"<float[9,2] w = {{{rows}}}{scales}> {{ {product} }}"
    )
    for value in model.graph.initializers.values():
        value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)  # type: ignore[union-attr]
    return model


def data_of(model: ir.Model) -> CalibrationSet:
    return open_dataset({"x": X, "label": LABELS}).bind(input_specs(model))


def accuracies(model: ir.Model, other: ir.Model, steps: int = 10) -> dict[str, tuple[float, float]]:
    """Metric → of the original and of the result."""
    data = data_of(model)
    attacks = GraphAttacks(RADIUS, steps, ranges_of([{"x": X}]))
    with TARGET.open(model) as one, TARGET.open(other) as two:
        runners = {BASELINE: OfGraph(one, model), RESULT: OfGraph(two, other)}
        shown = only(runners, ["logits"])
        found = {}
        for metric in METRIC.under(attacks):
            units = metric.evaluate(shown, data, 32).units
            found[metric.name] = tuple(float(metric.aggregate(units[n])) for n in runners)
    return found  # type: ignore[return-value]


def test_fgsm_goes_against_the_weights_and_stays_in_range() -> None:
    module, labels = GraphModule(linear()), torch.from_numpy(LABELS)

    def loss(feeds: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(module(feeds)["logits"], labels, reduction="sum")

    ranges = ranges_of([{"x": X}])
    moved = attacked(Attack("fgsm", 0.1, 1), {"x": torch.from_numpy(X)}, loss, ranges, RNG)
    low, high = ranges["x"]
    expected = np.clip(X - np.float32(0.1) * SIGNS, low, high)
    np.testing.assert_allclose(moved["x"].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_no_number_changes_by_more_than_the_radius(name: str) -> None:
    model = linear()
    attacks = GraphAttacks(RADIUS, 5, ranges_of([{"x": X}]))
    step = next(data_of(model).batches(64))
    with TARGET.open(model) as runner:
        shown = only({"": OfGraph(runner, model)}, ["logits"])[""]
        moved = attacks.made(shown, step, LABELS[:64], name)["x"]  # type: ignore[arg-type]
    assert moved.dtype == np.float32
    assert np.abs(moved - step.inputs["x"]).max() <= RADIUS + 1e-6
    assert np.abs(moved - step.inputs["x"]).max() > 0.9 * RADIUS


def test_what_counts_little_is_taken_by_attacks_and_each_attack_is_told() -> None:
    found = accuracies(linear(), linear())
    robust, fgsm, pgd = (found[n] for n in ("robust_accuracy", "fgsm_accuracy", "pgd_accuracy"))
    assert robust[0] <= min(fgsm[0], pgd[0]) < 30
    assert found["transferred_pgd_accuracy"] == pgd
    assert robust[0] == robust[1]


def test_a_graph_with_a_fixed_batch_is_attacked_in_pieces() -> None:
    open_one, fixed = accuracies(linear(), linear(), 1), accuracies(linear("48"), linear("48"), 1)
    assert fixed["fgsm_accuracy"] == open_one["fgsm_accuracy"]


def test_rounding_hides_no_gradient() -> None:
    rounds = linear(scales=", float s = {0.05}, uint8 z = {128}")
    found = accuracies(linear(), rounds)
    before, after = found["pgd_accuracy"]
    assert abs(before - after) < 5


def test_a_model_without_gradients_has_none_of_its_own_and_is_told() -> None:
    strange = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        "g (float[n,9] x) => (float[n,2] logits) <int64[1] a = {1}, int64[1] b = {0}, "
        "int64[1] c = {2}> { h = Det (x) logits = Slice (x, b, c, a) }"
    )
    attacks = GraphAttacks(RADIUS, 1, ranges_of([{"x": X}]))
    with TARGET.open(linear()) as runner:
        reason = attacks.why_not(OfGraph(runner, strange), data_of(linear()))
    assert reason is not None
    assert "Det" in reason


def test_adversarial_training_withstands_what_plain_training_does_not() -> None:
    model = linear()
    used, held = held_out_of(data_of(model), TrainOptions(), 0)
    made = {}
    for attack in ("pgd", None):
        options = TrainOptions(
            threads=1, rate=0.05, batch=64, labels=1.0, attack=attack,  # type: ignore[arg-type]
            radius=None if attack is None else RADIUS, attack_steps=3,
        )  # fmt: skip
        task = Task(model, model, used, held, options, parse_length("60steps"), classes="logits")
        found = train_graph(task)
        assert (found.result.attack is None) == (attack is None)
        made[attack] = with_weights(model, found.weights) if found.weights else model
    plain = accuracies(model, made[None], 5)["robust_accuracy"][1]
    robust = accuracies(model, made["pgd"], 5)["robust_accuracy"][1]
    assert plain < 50
    assert robust > plain + 30


def test_attacks_want_numbers_that_can_change_a_little() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        "g (int64[n,4] x) => (float[n,4] y) { f = Cast <to = 1> (x) y = Mul (f, w) }"
    )
    weight = ir.Value(
        name="w", shape=ir.Shape([4]), type=ir.TensorType(ir.DataType.FLOAT),
        const_value=ir.tensor(np.ones(4, np.float32), name="w"),
    )  # fmt: skip
    model.graph[1].replace_input_with(1, weight)
    model.graph.register_initializer(weight)
    data = open_dataset({"x": np.ones((96, 4), np.int64)}).bind(input_specs(model))
    used, held = held_out_of(data, TrainOptions(), 0)
    options = TrainOptions(threads=1, attack="fgsm", radius=0.1)
    task = Task(model, model, used, held, options, parse_length("2steps"))
    with pytest.raises(RecipeError, match="floating-point inputs, and the model has none: x"):
        train_graph(task)


def test_an_attack_and_its_radius_belong_together() -> None:
    assert TrainOptions(attack="pgd", radius="8/255").radius == 8 / 255  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there is no radius"):
        TrainOptions(attack="pgd")
    with pytest.raises(ValueError, match="there is no attack"):
        TrainOptions(radius=0.1)
