"""A graph that lost something learns it back from the original's answers."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from calibration.dataset import CalibrationSet, open_dataset
from compressor.errors import DataError, RecipeError, UsageError
from compressor.graph.files import serialize
from compressor.graph.shapes import input_specs
from compressor.graph.writing import with_weights
from compressor.recipe.held_out import held_out_of
from compressor.recipe.training import TrainOptions, parse_length
from compressor.training.optimizers import RATES
from compressor.training.task import Task, Training
from compressor.training.train import train_graph

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def network(**weights: np.ndarray) -> ir.Model:
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        "g (float[n,8] x) => (float[n,4] logits) { h = MatMul (x, w) a = Add (h, b) r = Tanh (a) "
        "p = MatMul (r, v) q = Add (p, r) logits = MatMul (q, u) }"
    )
    for name, array in weights.items():
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(array, name=name),
        )
        for node in model.graph:
            for place, found in enumerate(node.inputs):
                if found is not None and found.name == name:
                    node.replace_input_with(place, value)
        model.graph.register_initializer(value)
    return model


WEIGHTS = {"w": normal(8, 16), "b": normal(16), "v": normal(16, 16), "u": normal(16, 4)}
TEACHER = network(**WEIGHTS)
STUDENT = network(**WEIGHTS | {"v": WEIGHTS["v"] + 0.3 * normal(16, 16)})
X = RNG.standard_normal((160, 8)).astype(np.float32)


def data_of(x: np.ndarray = X, **more: np.ndarray) -> tuple[CalibrationSet, CalibrationSet]:
    data = open_dataset({"x": x, **more}).bind(input_specs(TEACHER))
    return held_out_of(data, TrainOptions(), 0)


def trained(
    length: str = "40steps", student: ir.Model = STUDENT, x: np.ndarray = X, **options: object
) -> Training:
    used, held = data_of(x)
    found = TrainOptions(threads=1, **{"rate": 0.01, "batch": 32, **options})  # type: ignore[arg-type]
    return train_graph(Task(student, TEACHER, used, held, found, parse_length(length)))


def test_the_loss_falls_and_the_weights_come_back() -> None:
    found = trained()
    result = found.result
    assert result.kept
    assert result.steps == result.done == 40
    assert result.after is not None
    assert result.before is not None
    assert result.after < 0.5 * result.before
    assert result.features == ("q",)
    assert [one.batch for one in result.parity] == [1, 2]
    assert result.curve[0].step == 0
    assert result.curve[-1].step == 40
    assert set(found.weights) == set(WEIGHTS)


def test_the_same_training_gives_the_same_bytes() -> None:
    one, other = (serialize(with_weights(STUDENT, trained("6steps").weights)) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    "optimizer", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "lbfgs"]
)
def test_every_optimizer_makes_steps(optimizer: str) -> None:
    assert trained("8steps", optimizer=optimizer, rate=None).result.done == 8


@pytest.mark.parametrize("schedule", ["step", "exponential", "one-cycle", "constant"])
def test_every_schedule_goes_its_way(schedule: str) -> None:
    curve = trained("20steps", schedule=schedule).result.curve
    falls = curve[-1].rate < max(one.rate for one in curve)
    assert falls == (schedule != "constant")


def test_regularization_averages_and_half_precision_train() -> None:
    found = trained("8steps", l1=1e-4, l2=1e-4, ema=0.9, precision="bf16", weight_decay=0.01)
    assert found.result.done == 8
    assert all(np.isfinite(array).all() for array in found.weights.values())


@pytest.mark.parametrize(
    ("amiss", "factor"),
    [(1.0, 1.0), (1e-4, 0.1)],  # far from its original it may learn fast, and near it may not
)
def test_a_rate_that_throws_the_graph_far_off_is_not_taken(amiss: float, factor: float) -> None:
    student = network(**WEIGHTS | {"v": WEIGHTS["v"] + amiss * normal(16, 16)})
    result = trained("150steps", student, rate=None).result
    assert result.rate == pytest.approx(factor * RATES["adamw"])
    assert result.steps == result.done == 150
    brief = trained("100steps", student, rate=None).result  # too few steps for a trial
    assert brief.rate == RATES["adamw"]


class KilledError(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    class Kills:
        said: list[str] = []  # noqa: RUF012 - of one test

        def stage(self, name: str, total: int | None = None):
            from contextlib import nullcontext

            if name.startswith("step 8"):
                raise KilledError
            return nullcontext(lambda units: None)

        def notice(self, text: str) -> None:
            self.said.append(text)

    used, held = data_of()
    options = TrainOptions(threads=1, rate=0.01, batch=32, ema=0.5, checkpoint=tmp_path / "state")
    task = Task(STUDENT, TEACHER, used, held, options, parse_length("20steps"))
    with pytest.raises(KilledError):
        train_graph(task, Kills())
    again = train_graph(task)
    whole = trained("20steps", ema=0.5)
    assert not (tmp_path / "state").exists()
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(array, again.weights[name])
    assert [one.step for one in again.result.curve] == [one.step for one in whole.result.curve]


def test_sixteen_samples_are_too_few_and_that_is_said() -> None:
    found = trained(x=X[:16])
    assert not found.weights
    assert not found.result.kept
    assert "14 samples to train on are too few" in found.result.reason


def test_a_graph_that_is_the_original_stays_as_it_is() -> None:
    found = trained("4steps", student=TEACHER)
    assert not found.result.kept
    assert "did not fall" in found.result.reason


def test_a_time_becomes_a_number_of_steps() -> None:
    ticks = iter(range(10**6))
    used, held = data_of()
    options = TrainOptions(threads=1, batch=32)
    task = Task(STUDENT, TEACHER, used, held, options, parse_length("60s"))
    steps = {train_graph(task, clock=lambda: float(next(ticks))).result.steps}
    assert len(steps) == 1
    assert 1 < steps.pop() < 60


def test_labels_are_a_second_teacher_and_have_to_fit() -> None:
    used, held = data_of(label=np.arange(160) % 4)
    options = TrainOptions(threads=1, batch=32)
    task = Task(STUDENT, TEACHER, used, held, options, parse_length("4steps"))
    assert train_graph(task).result.mode == "labels"
    used, held = data_of(label=np.arange(160) % 9)
    options = TrainOptions(threads=1, batch=32, data="train.npz")
    with pytest.raises(DataError, match="label 8 is no class of output 'logits', which has 0 to 3"):
        train_graph(Task(STUDENT, TEACHER, used, held, options, parse_length("4steps")))
    used, held = data_of(label=np.arange(320).reshape(160, 2) % 4)
    with pytest.raises(DataError, match=r"labels of shape \[2, 2\] fit no output: logits"):
        train_graph(Task(STUDENT, TEACHER, used, held, options, parse_length("4steps")))


def test_a_loss_of_the_users_needs_no_original(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def small(outputs, batch):\n    return outputs['logits'].pow(2).mean()\n"
        "def wrong(outputs, batch):\n    return outputs['logits']\n"
    )
    used, held = data_of()
    for name, passes in (("small", True), ("wrong", False)):
        options = TrainOptions(threads=1, batch=32, loss=f"{file}:{name}")
        task = Task(STUDENT, None, used, held, options, parse_length("4steps"))
        if passes:
            assert train_graph(task).result.mode == "loss"
        else:
            with pytest.raises(RecipeError, match="should return a scalar"):
                train_graph(task)


@pytest.mark.parametrize(
    ("text", "amount"), [("5m", 300.0), ("90s", 90.0), ("20steps", 20), ("3 epochs", 3)]
)
def test_a_length_is_a_time_steps_or_epochs(text: str, amount: float) -> None:
    found = parse_length(text)
    assert amount in (found.seconds, found.steps, found.epochs)


@pytest.mark.parametrize(("text", "said"), [("5", "may mean"), ("0steps", "nothing"), ("x", "not")])
def test_a_length_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_length(text)


def stated(model: ir.Model, batch: int | str) -> ir.Model:
    copy = model.clone()
    for value in (*copy.graph.inputs, *copy.graph.outputs):
        value.shape = ir.Shape([batch, *list(value.shape or ())[1:]])
    return copy


@pytest.mark.parametrize(("own", "others"), [(4, 4), (16, 16), ("n", 4), (4, "n"), (150, 150)])
def test_fixed_batches_are_trained_in_whole_ones(own: int | str, others: int | str) -> None:
    used, held = data_of()
    options = TrainOptions(threads=1, rate=0.01)
    student, teacher = stated(STUDENT, own), stated(TEACHER, others)
    found = train_graph(Task(student, teacher, used, held, options, parse_length("10steps")))
    fixed = own if isinstance(own, int) else others
    assert found.result.kept, found.result.reason
    assert found.result.batch == fixed
    assert [one.batch for one in found.result.parity] == [fixed]


def test_two_fixed_batches_do_not_fit() -> None:
    used, held = data_of()
    task = Task(
        stated(STUDENT, 4), stated(TEACHER, 8), used, held, TrainOptions(), parse_length("2steps")
    )
    with pytest.raises(UsageError, match="batches of 4, and its teacher of 8"):
        train_graph(task)
