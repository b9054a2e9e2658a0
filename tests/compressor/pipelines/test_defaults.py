"""Inputs that only some calls pass."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from compressor.capture.source import ModelSource
from compressor.errors import UsageError
from compressor.pipelines.defaults import defaults_of
from compressor.pipelines.tracing import Trace

X = np.ones((1, 4), np.float32)


def forward(x, scale=1.5, context=None):
    return x


SOURCE = ModelSource("module", "net", module=SimpleNamespace(forward=forward))


def traced(folder: Path, *calls: dict) -> Trace:
    trace = Trace(folder, 16, 0, {"net": len(calls)})
    trace.began()
    for call in calls:
        trace.record("net", call)
    return trace


def test_scalars_are_filled_with_their_defaults(tmp_path: Path):
    trace = traced(tmp_path, {"x": X}, {"x": X, "scale": np.float32(2)}, {"x": X})
    found = defaults_of("net", SOURCE, trace)
    assert found == {"scale": 1.5}
    trace.fill("net", found)
    calls = list(trace.calls("net")())
    assert sorted(float(call["scale"]) for call in calls) == [1.5, 1.5, 2.0]
    assert {call["scale"].dtype for call in calls} == {np.dtype(np.float32)}
    assert dict(trace.shapes["net"]) == {(("scale", ()), ("x", (1, 4))): 3}


def test_the_same_inputs_every_time_need_none(tmp_path: Path):
    trace = traced(tmp_path, {"x": X}, {"x": X})
    assert defaults_of("net", SOURCE, trace) == {}
    assert defaults_of("net", ModelSource("onnx", "net.onnx"), trace) == {}


@pytest.mark.parametrize("more", [{"context": X}, {"scale": np.ones(1, np.float32)}])
def test_what_is_another_graph_is_refused_by_name(tmp_path: Path, more: dict):
    trace = traced(tmp_path, {"x": X}, {"x": X, **more})
    with pytest.raises(UsageError, match=f"with '{next(iter(more))}' and without it") as error:
        defaults_of("net", SOURCE, trace)
    assert "--graph net_bare=MODEL" in (error.value.hint or "")
