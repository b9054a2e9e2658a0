"""`compress train`: the front door of training alone."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor import Recipe, train
from compressor.errors import OutputError, UsageError
from compressor.graph.files import load_model, save_model
from compressor.system.progress import Advance

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 6)).astype(np.float32)
RECIPE = Recipe.model_validate({"train": {"threads": 1, "batch": 16}})


def linear(weight: np.ndarray, output: str = "logits") -> ir.Model:
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        f"g (float[n,6] x, float[6,3] w) => (float[n,3] {output}) {{ {output} = MatMul (x, w) }}"
    )
    value = model.graph.inputs.pop()
    value.const_value = ir.tensor(weight, name="w")
    model.graph.register_initializer(value)
    return model


def models(folder: Path) -> tuple[Path, Path]:
    weight = RNG.standard_normal((6, 3)).astype(np.float32)
    student, teacher = folder / "student.onnx", folder / "teacher.onnx"
    save_model(linear(weight + np.float32(0.3) * RNG.standard_normal((6, 3), np.float32)), student)
    save_model(linear(weight), teacher)
    return student, teacher


def test_a_file_is_trained_and_written_beside_it(tmp_path: Path) -> None:
    student, teacher = models(tmp_path)
    report = train(student, teacher, X, length="30steps", recipe=RECIPE)
    assert report.training.kept
    assert Path(report.file) == tmp_path / "student-trained.onnx"
    before, after, aim = (
        load_model(path).graph.initializers["w"].const_value.numpy()
        for path in (student, Path(report.file), teacher)
    )
    assert np.abs(after - aim).mean() < np.abs(before - aim).mean()


def test_the_likeliest_mistakes_are_told(tmp_path: Path) -> None:
    student, teacher = models(tmp_path)
    with pytest.raises(UsageError, match="nothing to learn from"):
        train(student, data=X)
    with pytest.raises(UsageError, match="no data to train on"):
        train(student, teacher)
    with pytest.raises(OutputError, match="is the model that is trained"):
        train(student, teacher, X, output=student)
    with pytest.raises(UsageError, match=r"nothing was trained, and .* is not written: 14 samples"):
        train(student, teacher, X[:16], recipe=RECIPE)
    assert not (tmp_path / "student-trained.onnx").exists()
    other = tmp_path / "other.onnx"
    save_model(linear(np.zeros((6, 3), np.float32), "scores"), other)
    with pytest.raises(UsageError, match="the output 'logits' is in one alone"):
        train(student, other, X, recipe=RECIPE)


def test_an_interruption_leaves_the_best_so_far(tmp_path: Path) -> None:
    class Stops:
        def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Advance]:
            if name.startswith("step 18"):
                raise KeyboardInterrupt
            return nullcontext(lambda units: None)

        def notice(self, text: str) -> None:
            raise AssertionError(text)

    student, teacher = models(tmp_path)
    with pytest.raises(KeyboardInterrupt, match="the best so far was written"):
        train(student, teacher, X, length="30steps", recipe=RECIPE, progress=Stops())
    before, after = (
        load_model(path).graph.initializers["w"].const_value.numpy()
        for path in (student, tmp_path / "student-trained.onnx")
    )
    assert not np.array_equal(before, after)
