import numpy as np
import pytest
from graphs import model, residual

from compressor.errors import DataError, UsageError
from compressor.system import hardware
from exporters.base import find_target, target_names
from exporters.ort.target import TARGET


def test_targets_are_found_by_file_name():
    assert target_names() == ["openvino", "ort", "trt"]
    assert find_target("ort") is TARGET
    assert TARGET.why_not_available() is None


def test_unknown_target_lists_the_known():
    with pytest.raises(UsageError, match="unknown target 'tflite'") as error:
        find_target("tflite")
    assert "ort" in str(error.value)


def feeds(samples: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.standard_normal((samples, 32, 8, 8)).astype(np.float32)}


def test_build_opens_and_gives_the_same_numbers(tmp_path):
    graph = residual()
    artifact = TARGET.build(graph, tmp_path)
    assert artifact.files == (tmp_path / "model.onnx",)
    with TARGET.open(graph) as memory, TARGET.open(artifact.model) as disk:
        assert [str(spec) for spec in disk.inputs] == ["x:float32[n,32,8,8]"]
        assert [spec.name for spec in disk.outputs] == ["y"]
        np.testing.assert_array_equal(memory.run(feeds())["y"], disk.run(feeds())["y"])


@pytest.mark.parametrize("batch", [1, 2])
def test_what_squeezes_a_batch_of_one_away_is_bound_all_the_same(batch: int):
    graph = model("g (float[n,3,1] x) => (float[n,3] y) { y = Squeeze(x) }")
    with TARGET.open(graph) as runner:
        given = {"x": np.ones((batch, 3, 1), np.float32)}
        call = runner.bind(given)
        for _ in range(3):
            call()
        assert runner.run(given)["y"].shape == ((3,) if batch == 1 else (2, 3))


def test_surplus_feeds_are_ignored_and_a_bound_call_runs():
    with TARGET.open(residual()) as runner:
        given = {**feeds(), "label": np.zeros(3)}
        assert runner.run(given)["y"].shape == (3, 10)
        runner.bind(given)()


def test_a_bound_scalar_stays_one():
    graph = model(
        "g (float step, float[1,2] w) => (float[1,2] y) "
        "<int64[2] axes = {0,1}> { row = Unsqueeze(step, axes)  y = Gemm(row, w) }",
        w=[1, 2],
    )
    with TARGET.open(graph) as runner:
        runner.bind({"step": np.array(3, np.float32)})()


def test_wrong_shape_is_a_data_error_that_shows_it():
    with TARGET.open(residual()) as runner, pytest.raises(DataError, match=r"x\[3, 1\]"):
        runner.run({"x": np.zeros((3, 1), np.float32)})


def test_float_graph_has_no_integer_nodes():
    integer, floating = TARGET.integer_nodes(residual())
    assert integer == {}
    assert floating


@pytest.mark.parametrize(("cpu", "pairs"), [("vnni", False), ("arm64", False), ("avx2", True)])
def test_pairs_of_weights_are_limited_where_sums_would_saturate(cpu: str, pairs: bool):
    weight = TARGET.policy(cpu).weight
    assert (weight.bits, weight.pairs) == (8, pairs)


def test_host_follows_the_flags(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware.platform, "machine", lambda: "x86_64")
    for flags, dot in (
        (("avx2", "fma"), False),
        (("avx2", "avx512_vnni"), True),
        (("avx_vnni",), True),
    ):
        monkeypatch.setattr(hardware, "host_flags", lambda found=flags: found)
        assert TARGET.policy("host").weight.pairs is not dot
