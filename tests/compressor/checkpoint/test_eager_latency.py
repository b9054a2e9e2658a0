"""What the source itself takes: timed as it is, and never in the way of a run."""

import numpy as np
import pytest
import torch

from compressor.capture.source import ModelSource
from compressor.checkpoint import eager_latency as module
from compressor.checkpoint.eager_latency import eager_latency
from compressor.graph.tensors import TensorSpec
from compressor.results.measurements import LatencyConfig

SPECS = (TensorSpec("x", np.dtype(np.float32), ("batch", 4)),)
FEEDS = {"x": np.ones((2, 4), np.float32)}
CONFIG = LatencyConfig(batch=2, threads=1)


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.02)


class Counting(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[bool, int]] = []

    def forward(self, x):
        self.calls.append((torch.is_grad_enabled(), torch.get_num_threads()))
        return x * 2


def of(source: torch.nn.Module) -> ModelSource:
    return ModelSource("module", "net", module=source)


def test_a_module_is_timed_on_the_threads_that_are_asked_for() -> None:
    net, before = Counting(), torch.get_num_threads()
    timing = eager_latency(of(net), SPECS, FEEDS, CONFIG)
    assert timing is not None
    assert 0 < timing.median_ms <= timing.p95_ms
    assert set(net.calls) == {(False, 1)}
    assert torch.get_num_threads() == before


def test_what_the_inputs_do_not_run_has_no_latency() -> None:
    class Broken(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    assert eager_latency(of(Broken()), SPECS, FEEDS, CONFIG) is None
    assert (
        eager_latency(of(Counting()), SPECS, {"other": FEEDS["x"], "y": FEEDS["x"]}, CONFIG) is None
    )
