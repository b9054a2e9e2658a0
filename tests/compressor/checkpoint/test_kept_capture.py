"""Captures that are kept: by files, code, state and what they are traced with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.capture import Captured, capture
from compressor.capture.source import ModelSource
from compressor.checkpoint.code_of import code_of
from compressor.checkpoint.kept_capture import Question, captured_once
from compressor.graph.fingerprint import fingerprint
from compressor.graph.tensors import TensorSpec
from compressor.recipe.loading import ModelOptions
from compressor.system.cache import Cache, counting, taken

INPUT = TensorSpec("x", np.dtype(np.float32), ("batch", 4))


class Scaled(torch.nn.Module):
    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 3)
        self.norm = torch.nn.LayerNorm(3, eps=1e-5)
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(x)) * self.factor + torch.randn_like(x[:, :3])


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Question:
    path = tmp_path_factory.mktemp("model") / "net.pt"
    torch.save(Scaled().state_dict(), path)
    source = ModelSource("module", str(path), path, module=Scaled().eval())
    return Question(source, path, ModelOptions(factory="net.py:build"), {"opset": [21, 13]})


@pytest.fixture(scope="module")
def made(question: Question) -> Captured:
    return capture(question.source, inputs=[INPUT], examples=None, opset=21)


def never() -> Captured:
    raise AssertionError("it is kept")


def test_a_kept_capture_is_what_was_captured(question: Question, made: Captured, tmp_path: Path):
    cache = Cache(tmp_path)
    assert captured_once(cache, question, lambda: made) is made
    with counting():
        found = captured_once(cache, question, never)
        assert taken() == ("capture",)
    assert fingerprint(found.model) == fingerprint(made.model)
    assert (found.parity, found.inputs, found.noises) == (made.parity, made.inputs, made.noises)
    assert found.noises, "what it draws is an input"
    assert found.record.parameters == {**made.record.parameters, "cache": "taken"}
    assert found.record.decisions == made.record.decisions


def test_whatever_decides_is_a_part_of_the_key(question: Question, tmp_path: Path):
    other = tmp_path / "other.pt"
    other.write_bytes(b"other weights")
    module = replace(question.source, module=Scaled(3.0).eval())
    sample = np.zeros((2, 4), np.float32)
    changed = [
        replace(question, path=other),
        replace(question, source=module),
        replace(question, options=ModelOptions(factory="net.py:other")),
        replace(question, traced={"opset": [18, 13]}),
        replace(question, arrays={"x": sample}),
        replace(question, arrays={"x": sample + 1}),
    ]
    keys = [str(one.key) for one in (question, *changed)]
    assert len(set(keys)) == len(keys)


def test_live_modules_and_onnx_are_captured_anew(question: Question):
    assert replace(question, path=None).key is None
    assert replace(question, source=replace(question.source, kind="onnx")).key is None


def test_a_graph_that_is_not_the_one_that_was_kept_is_made_anew(
    question: Question, made: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = Cache(tmp_path)
    captured_once(cache, question, lambda: made)
    monkeypatch.setattr("compressor.checkpoint.kept_capture.fingerprint", lambda model: "other")
    assert captured_once(cache, question, lambda: made) is made


def test_state_and_plain_values_tell_modules_apart():
    assert code_of(Scaled()) == code_of(Scaled())
    assert code_of(Scaled()) != code_of(Scaled(2.5))
    other = Scaled()
    with torch.no_grad():
        other.linear.bias[0] += 1
    assert code_of(other) != code_of(Scaled())


def test_a_closure_tells_modules_apart():
    def with_slope(slope: float) -> torch.nn.Module:
        module = Scaled()
        module.activation = lambda x: x * slope
        return module

    assert code_of(with_slope(1.0)) != code_of(with_slope(2.0))


def test_code_without_a_file_is_not_kept():
    kind = type("Typed", (torch.nn.Module,), {"__module__": "a_notebook"})
    assert code_of(kind()) is None
