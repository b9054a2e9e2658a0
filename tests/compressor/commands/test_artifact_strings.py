"""What an exporter noted on the machine that it ran on does not go out with an artifact."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compressor import compress
from compressor.recipe.reading import load_recipe

MODES = {
    "int8": {"quantize": {"mode": "int8"}},
    "int4": {"quantize": {"mode": "int4"}},
    "int8-dynamic": {"quantize": {"mode": "int8-dynamic"}},
    "fp16": {"quantize": {"mode": "fp16"}},
    "pruned": {"quantize": {"mode": "none"}, "prune": {"params": "30%"}},
    "trt": {"target": "trt", "trt": {"backend": "script"}},
}


class Small(nn.Module):
    """Products and an activation that torch decomposes into several nodes with traces."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(nn.functional.gelu(self.first(x)))


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=1024)
    return torch.export.export(
        Small().eval(), (torch.randn(3, 64),), dynamic_shapes={"x": {0: batch}}
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("mode", MODES)
def test_no_file_names_sources_of_the_exporter(program, tmp_path: Path, mode: str) -> None:
    document = {"measure": {"seconds": 0.1}, "target": "ort", **MODES[mode]}
    x = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    out = tmp_path / "out"
    compress(program, recipe=load_recipe(None, document), calibration={"x": x}, output=out)
    told = ("stack_trace", "pkg.torch", "site-packages", str(Path(__file__).parent))
    files = [path for path in out.rglob("*") if path.is_file()]
    assert any(path.suffix == ".onnx" for path in files)
    found = {(f.name, text) for f in files for text in told if text.encode() in f.read_bytes()}
    assert not found
