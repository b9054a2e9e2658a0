"""Calls that a loop makes: right ones run, wrong ones say the graph's signature."""

import numpy as np
import pytest

from compressor.errors import CaptureError, DataError, UsageError
from compressor.graph.tensors import TensorSpec
from compressor.pipelines.calls import GraphCall

SPECS = (
    TensorSpec("x", np.dtype(np.float32), ("batch", 4)),
    TensorSpec("t", np.dtype(np.int64), ()),
)
X = np.ones((2, 4), np.float32)


def called() -> tuple[GraphCall, list[dict[str, np.ndarray]]]:
    seen: list[dict[str, np.ndarray]] = []

    def run(feeds):
        seen.append(dict(feeds))
        return {"y": feeds["x"]}

    return GraphCall("unet", SPECS, run), seen


def test_a_call_runs_and_is_counted():
    graph, seen = called()
    np.testing.assert_array_equal(graph(x=X, t=np.int64(3))["y"], X)
    assert graph.calls == 1
    assert graph.seconds >= 0
    assert seen[0]["t"] == 3


def test_an_output_that_is_not_there_is_told_with_those_that_are():
    graph, _ = called()
    with pytest.raises(UsageError, match="has no output 'z'") as error:
        graph(x=X, t=np.int64(3))["z"]
    assert error.value.hint == "It has y."


def test_a_graph_that_fails_says_its_signature():
    def fail(feeds):
        raise DataError("the runtime refuses it")

    graph = GraphCall("unet", SPECS, fail)
    with pytest.raises(UsageError, match="graph 'unet': the runtime refuses it") as error:
        graph(x=X, t=np.int64(3))
    assert "It is unet(x:" in (error.value.hint or "")


def test_a_plain_number_becomes_the_type_of_its_input():
    graph = GraphCall("g", (TensorSpec("s", np.dtype(np.float32), ()),), dict)
    assert graph(s=0.5)["s"].dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X, "t": np.int64(1), "z": X}, "has no input 'z'"),
        ({"x": X}, "needs 't'"),
        ({"x": X.astype(np.float64), "t": np.int64(1)}, "takes 'x' as float32, and got float64"),
        ({"x": X, "t": 0.5}, "takes 't' as int64, and got float64"),
    ],
)
def test_a_wrong_call_says_what_the_graph_takes(arrays, words: str):
    graph, seen = called()
    with pytest.raises(UsageError, match=words) as error:
        graph(**arrays)
    assert "unet(x: float32[batch, 4], t: int64[])" in (error.value.hint or "")
    assert not seen
    assert graph.calls == 0


def test_what_a_call_may_leave_out_is_what_it_is_by_default():
    graph, seen = called()
    graph.defaults = {"t": 7}
    graph(x=X)
    graph(x=X, t=np.int64(3))
    assert [int(feeds["t"]) for feeds in seen] == [7, 3]
    assert seen[0]["t"].dtype == np.int64


def test_an_output_that_bears_an_inputs_name_is_found_by_it():
    """A graph cannot have both, and a recurrent loop wants to write `made["state"]`."""
    run = GraphCall("cell", (), lambda feeds: {"state_out": feeds["state"] + 1})
    made = run(state=X)
    assert np.array_equal(made["state"], X + 1)
    assert list(made) == ["state_out"]
    with pytest.raises(UsageError, match="no output 'frame'"):
        made["frame"]


def test_a_module_that_fails_says_how_it_was_called():
    def run(feeds):
        raise CaptureError("it takes float32")

    with pytest.raises(UsageError, match="it takes float32") as error:
        GraphCall("net", (), run)(x=X.astype(np.float64), t=np.int64(1))
    assert "net(x: float64[2, 4], t: int64[])" in error.value.hint
    assert ".astype('float32')" in error.value.hint
