"""What a training cannot learn from is refused in words, before the first step."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch.nn import functional

from calibration.dataset import open_dataset
from compressor.errors import DataError, OutputError, RecipeError
from compressor.graph.shapes import input_specs
from compressor.recipe.held_out import held_out_of
from compressor.recipe.training import TrainOptions, parse_length
from compressor.training.augmentation import augmenting
from compressor.training.labels import entropy
from compressor.training.task import Task, Training
from compressor.training.train import train_graph

RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 8)).astype(np.float32)
CLASSES = np.arange(48) % 4


def network(end: str = "y = Identity (logits)", output: str = "float[n,4] y") -> ir.Model:
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        f"g (float[n,8] x, float[8,4] w) => ({output}) {{ logits = MatMul (x, w) {end} }}"
    )
    value = model.graph.inputs.pop()
    value.const_value = ir.tensor(np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4), name="w")
    model.graph.register_initializer(value)
    return model


def trained(model: ir.Model, label: np.ndarray | None = None, **options: object) -> Training:
    given = {"x": X} if label is None else {"x": X, "label": label}
    used, held = held_out_of(open_dataset(given).bind(input_specs(model)), TrainOptions(), 0)
    found = TrainOptions(threads=1, batch=16, **options)  # type: ignore[arg-type]
    teacher = None if found.loss else model
    return train_graph(Task(model, teacher, used, held, found, parse_length("2steps")))


@pytest.mark.parametrize("wrong", [-1, 4])
def test_labels_that_are_no_classes_are_refused_wherever_they_come_from(wrong: int) -> None:
    labels = np.where(CLASSES == 0, wrong, CLASSES)
    low, high = min(wrong, 1), max(wrong, 3)
    with pytest.raises(DataError, match=f"label {wrong} is no .* go from {low} to {high}"):
        trained(network(), labels)


def test_the_label_of_no_class_does_not_count() -> None:
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    alone = functional.cross_entropy(scores[:2], torch.tensor([0, 1]))
    torch.testing.assert_close(entropy(scores, torch.tensor([0, 1, -100])), alone)
    assert entropy(scores, torch.tensor([-100] * 3)).item() == 0
    assert trained(network(), np.where(CLASSES, CLASSES, -100)).result.mode == "labels"


@pytest.mark.parametrize(
    ("end", "output"),
    [
        ("y = ArgMax <axis = 1> (logits)", "int64[n,1] y"),
        ("t = ArgMax <axis = 1> (logits) y = Cast <to = 1> (t)", "float[n,1] y"),
    ],
)
def test_an_output_that_tells_its_winner_alone_teaches_nothing(end: str, output: str) -> None:
    found = trained(network(end, output)).result
    assert not found.done
    assert "no floating-point output that tells more than its winner: y" in found.reason


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("(outputs, batch): return outputs['y'].mean().detach()", "with a gradient, and returned"),
        ("(outputs, batch): return float(outputs['y'].mean())", "tensor, and returned float"),
        ("(outputs, batch): return outputs['y']", r"returned \[\d+, 4\]"),
        ("(outputs): return outputs['y'].mean()", r"expected a function of \(outputs, batch\)"),
        ("(outputs, batch): return outputs['y'].mean() * float('nan')", "is nan on the held-out"),
    ],
)
def test_a_loss_of_the_users_that_teaches_nothing_is_refused(
    body: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def loss{body}\n")
    with pytest.raises(RecipeError, match=said):
        trained(network(), loss=f"{file}:loss")


def test_a_file_of_the_users_is_no_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save({"state_dict": {"w": torch.ones(2)}}, file)
    before = file.read_bytes()
    with pytest.raises(OutputError, match="is no state of a training, and stays"):
        trained(network(), checkpoint=file)
    assert file.read_bytes() == before
    with pytest.raises(OutputError, match="is a folder"):
        trained(network(), checkpoint=tmp_path)


def test_augmentation_that_would_change_labels_is_refused() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        "g (float[n,3,16,16] x) => (float[n,3,16,16] y) { y = Relu (x) }"
    )
    with pytest.raises(RecipeError, match="'mixup' blends two samples, and labels"):
        augmenting(["mixup"], model, labelled=True)
    with pytest.raises(RecipeError, match="'flip' moves what labels lie beside"):
        augmenting(["flip"], model, labelled=True, dense=True)
    assert augmenting(["mixup", "flip"], model).names == ("mixup", "flip")


def test_an_augmentation_that_returns_nothing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "vary.py"
    file.write_text("def vary(inputs, generator):\n    inputs['x'] = 2 * inputs['x']\n")
    with pytest.raises(RecipeError, match="should return a dict of all inputs, and returned None"):
        trained(network(), augment=[f"{file}:vary"])


def test_what_does_nothing_is_said() -> None:
    found = trained(network(), leave=("conv*",), match=("x*",)).result
    assert found.done
    leave, match = found.notices
    assert "'conv*' matches no node, value or weight" in leave
    assert "'x*' matches no value that both graphs compute" in match


def test_a_batch_beside_the_graphs_own_is_said() -> None:
    model = network()
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape([4, *list(value.shape or ())[1:]])
    (said,) = trained(model).result.notices
    assert "`batch` in [train] is 16, and the graph takes 4" in said
