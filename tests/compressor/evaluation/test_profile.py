import json

import numpy as np
import onnx_ir as ir
import pytest

from compressor.errors import DataError
from compressor.evaluation.ceilings import measure_ceilings
from compressor.evaluation.executed import NodeTime, NodeWork, node_times, node_work
from compressor.evaluation.profile import bound_of, profile_model
from compressor.results.measurements import Ceilings

CEILINGS = Ceilings(
    threads=1,
    float_gflops=100,
    int8_gops=200,
    memory_gbs=10,
    cache_gbs=50,
    cache_bytes=500_000,
    overhead_us=1,
    profiler_us=3,
)

TEXT = """<ir_version: 9, opset_import: ["" : 17]>
g (float[n,3,16,16] x, float[32,3,3,3] w, float[32] b, float[32,1,3,3] d, float[32,10] m,
   float[10] c) => (float[n,10] y)
{
    h = Conv<pads=[1,1,1,1]>(x, w, b)
    r = Relu(h)
    k = Conv<pads=[1,1,1,1], group=32>(r, d, b)
    p = GlobalAveragePool(k)
    f = Flatten(p)
    t = Gemm(f, m, c)
    y = Softmax(t)
}"""


def model() -> ir.Model:
    made = ir.from_onnx_text(TEXT)
    rng = np.random.default_rng(0)
    for value in list(made.graph.inputs)[1:]:
        made.graph.inputs.remove(value)
        assert value.shape is not None
        array = rng.standard_normal(value.shape.numpy()).astype(np.float32)
        value.const_value = ir.tensor(array, name=value.name)
        made.graph.register_initializer(value)
    return made


@pytest.fixture(scope="module")
def profile():
    feeds = {"x": np.ones((2, 3, 16, 16), np.float32)}
    return profile_model(model(), feeds, seconds=0.2, source="small", ceilings=CEILINGS)


def test_multiply_accumulates_are_counted_though_weights_are_packed(profile):
    macs = {row.operator: row.macs for row in profile.operators}
    positions = 2 * 16 * 16
    assert macs["Conv"] == positions * 32 * 27 + positions * 32 * 9
    assert macs["Gemm"] == 2 * 32 * 10
    assert macs["Softmax"] == 0


def test_bytes_of_nodes(profile):
    by_operator = {node.operator: node for node in profile.nodes}
    assert by_operator["Softmax"].bytes == 2 * 2 * 10 * 4
    assert by_operator["Gemm"].bytes == 4 * (2 * 32 + 32 * 10 + 10 + 2 * 10)
    assert by_operator["Flatten"].bytes == 0


def test_times_add_up(profile):
    assert sum(node.share for node in profile.nodes) == pytest.approx(1)
    total = sum(node.ms for node in profile.nodes)
    assert sum(row.ms for row in profile.operators) == pytest.approx(total)
    assert profile.latency.median_ms / 4 < total < profile.latency.median_ms * 4
    times = [row.ms for row in profile.operators]
    assert times == sorted(times, reverse=True)
    assert profile.operators[0].operator == "Conv"


def test_small_nodes_are_bound_by_overhead(profile):
    bounds = {node.operator: node.bound for node in profile.nodes}
    assert bounds["Flatten"] == "overhead"
    assert bounds["Softmax"] == "overhead"


def test_what_the_profile_is_about(profile):
    assert (profile.source, profile.batch, profile.threads) == ("small", 2, 1)
    assert profile.runs >= 5
    assert profile.memory_bytes is not None
    assert profile.memory_reason is None
    assert json.loads(profile.model_dump_json())["nodes"]


def test_the_profiled_model_stays_as_it_is():
    made = model()
    before = [node.name for node in made.graph]
    feeds = {"x": np.ones((1, 3, 16, 16), np.float32)}
    profile_model(made, feeds, seconds=0.01, memory=False, ceilings=CEILINGS)
    assert [node.name for node in made.graph] == before


def test_feeds_that_do_not_fit_are_reported():
    with pytest.raises(DataError, match="cannot run the model"):
        profile_model(model(), {"x": np.ones((1, 4, 16, 16), np.float32)}, memory=False)


def test_integer_kernels_are_held_against_the_integer_ceiling():
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (uint8[n,64] x, int8[64,32] w) => (int32[n,32] y) { y = MatMulInteger(x, w) }"""
    made = ir.from_onnx_text(text)
    value = made.graph.inputs[1]
    made.graph.inputs.remove(value)
    value.const_value = ir.tensor(np.ones((64, 32), np.int8), name="w")
    made.graph.register_initializer(value)
    feeds = {"x": np.ones((4, 64), np.uint8)}
    profile = profile_model(made, feeds, seconds=0.05, memory=False, ceilings=CEILINGS)
    (node,) = profile.nodes
    assert node.macs == 4 * 64 * 32
    assert node.bytes == 4 * 64 + 64 * 32 + 4 * 32 * 4


@pytest.mark.parametrize(
    ("work", "bound", "seconds"),
    [
        (NodeWork(10**9, 10**6, integer=False), "compute", 2e-2),
        (NodeWork(10**9, 10**6, integer=True), "compute", 1e-2),
        (NodeWork(0, 10**8, integer=False), "memory", 1e-2),
        (NodeWork(0, 400_000, integer=False), "memory", 8e-6),
        (NodeWork(10, 10, integer=False), "overhead", 1e-6),
    ],
)
def test_the_lowest_ceiling_binds(work, bound, seconds):
    found = bound_of(work, CEILINGS)
    assert found is not None
    assert found[0] == bound
    assert found[1] == pytest.approx(seconds)


def test_what_is_not_known_is_not_bound():
    assert bound_of(NodeWork(None, 10, integer=False), CEILINGS) is None
    assert bound_of(NodeWork(10, None, integer=False), CEILINGS) is None


def test_ceilings():
    found = measure_ceilings(1)
    assert 1 < found.float_gflops < 2000
    assert 1 < found.int8_gops < 10_000
    assert 0.5 < found.memory_gbs < found.cache_gbs < 5000
    assert 0.01 < found.overhead_us < 100
    assert found.profiler_us > found.overhead_us


def event(name, operator, start, duration, **shapes):
    arguments = {"op_name": operator, "node_index": "0"}
    arguments |= {
        f"{side}_type_shape": [{"float": shape} for shape in of_side]
        for side, of_side in shapes.items()
    }
    return {
        "cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": duration,
        "args": arguments,
    }  # fmt: skip


def test_nodes_inside_a_loop_are_part_of_it(tmp_path):
    path = tmp_path / "profile.json"
    events = []
    for run in range(8):
        start = 100 * run
        events += [
            event("body", "Mul", start + 10, 5),
            event("loop", "Loop", start + 5, 40),
            event("after", "Add", start + 45, 10 + 50 * (run == 6)),
        ]
    events.append({"cat": "Session", "name": "model_run", "ts": 0, "dur": 900, "args": {}})
    path.write_text(json.dumps(events))
    times = node_times(path)
    assert [(time.name, time.microseconds) for time in times] == [("loop", 40), ("after", 10)]


def test_weights_that_the_profiler_does_not_show_come_from_the_graph():
    graph = model().graph
    for index, node in enumerate(graph):
        node.name = f"n{index}"
    gemm = NodeTime("n5", "Gemm", 1, (("float", (4, 32)), ("float", (10,))), (("float", (4, 10)),))
    lost = NodeTime("other", "Gemm", 1, gemm.inputs, gemm.outputs)
    odd = NodeTime("n5", "Gemm", 1, (), gemm.outputs)
    found = node_work([gemm, lost, odd], graph)
    assert found[0] == NodeWork(4 * 32 * 10, 4 * (4 * 32 + 320 + 10 + 40), integer=False)
    assert found[1] == NodeWork(None, None, integer=False)
    assert found[2] == NodeWork(None, None, integer=False)
