"""Graphs as `torch.export` really writes them: no BatchNorm and no noise around shapes is left."""

import contextlib
import io
import warnings
from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from compressor.folding import equal_outputs, fold
from compressor.graph.cost import macs
from compressor.graph.shapes import input_specs

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Block(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.pad = width - width_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            half = self.pad // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half), "constant", 0)
        return F.relu(x + y)


class ResNet(nn.Module):
    """A CIFAR ResNet of option A: the shortcut subsamples and pads channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu(self.bn(self.stem(x))))
        return self.fc(F.avg_pool2d(x, x.size(3)).view(x.size(0), -1))


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.Hardswish(),
            nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16),
        )  # fmt: skip
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1)))


def capture(module: nn.Module, *shape: int, dynamic: tuple[int, ...] = (0,)) -> ir.Model:
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.2)
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2)
    sizes = {axis: torch.export.Dim(f"size{axis}") for axis in dynamic}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (torch.randn(*shape),),
            dynamo=True,
            optimize=False,
            dynamic_shapes=(sizes,),
            verbose=False,
        )
    return program.model


def assert_equal(before: ir.Model, after: ir.Model, *shapes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    (spec,) = input_specs(before)
    for shape in shapes:
        feeds = {spec.name: rng.standard_normal(shape).astype(np.float32)}
        assert equal_outputs(before, after, feeds, rtol=1e-5, atol=1e-6).equal
        assert macs(after, feeds) == macs(before, feeds)


def test_resnet() -> None:
    model = capture(ResNet(), 2, 3, 16, 16)
    folded, record = fold(model)
    assert Counter(node.op_type for node in folded.graph) == {
        "Conv": 5, "Relu": 5, "Add": 2, "Slice": 2, "Pad": 1,
        "AveragePool": 1, "Reshape": 1, "Gemm": 1,
    }  # fmt: skip
    for node in folded.graph:
        if node.op_type in ("Slice", "Pad"):
            assert all(value is None or value.is_initializer() for value in node.inputs[1:])
    assert record.changed["Conv+BatchNormalization"] == 5
    assert "stem.weight_folded" in folded.graph.initializers
    assert "stem.bias_folded" in folded.graph.initializers
    assert_equal(model, folded, (1, 3, 16, 16), (5, 3, 16, 16))


def test_mobilenet() -> None:
    model = capture(MobileNet(), 2, 3, 16, 16)
    folded, record = fold(model)
    assert Counter(node.op_type for node in folded.graph) == {
        "Conv": 3, "Clip": 1, "HardSwish": 1, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1,
    }  # fmt: skip
    assert record.changed["Conv+BatchNormalization"] == 3
    assert_equal(model, folded, (1, 3, 16, 16), (5, 3, 16, 16))


def test_transformer_encoder() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = capture(nn.Sequential(layer), 2, 7, 16, dynamic=(0, 1))
    folded, _ = fold(model)
    assert len(folded.graph) < len(model.graph) / 2
    assert "Constant" not in {node.op_type for node in folded.graph}
    assert_equal(model, folded, (1, 7, 16), (3, 4, 16))


def test_lstm() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.fc = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.lstm(x)[0][:, -1])

    model = capture(Last(), 2, 7, 8)
    folded, _ = fold(model)
    assert len(folded.graph) < len(model.graph) / 3
    assert_equal(model, folded, (1, 7, 8), (3, 7, 8))
