"""Whose time a kernel's is, in float and where nodes were fused, renamed and quantized."""

import numpy as np
import pytest
from graphs import residual

from calibration.dataset import open_dataset
from compressor.evaluation.attribution import node_seconds
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.results.measurements import Ceilings
from exporters.base import find_target

CEILINGS = Ceilings(
    threads=1, float_gflops=50.0, int8_gops=90.0, memory_gbs=10.0, cache_gbs=50.0,
    cache_bytes=2**18, overhead_us=0.5, profiler_us=0.5,
)  # fmt: skip
X = np.random.default_rng(0).standard_normal((8, 32, 8, 8)).astype(np.float32)


def quantized():
    policy = find_target("ort").policy("avx2")
    options = CalibrationOptions("minmax", batch=8)
    choice = calibrate(residual(), open_dataset({"x": X}), policy, options)
    return quantize_static(
        residual(), choice.integer, choice.ranges, policy, weight_bits=policy.weight.bits
    )


@pytest.mark.parametrize("make", [residual, quantized])
def test_the_weighted_nodes_get_the_time_of_their_kernels(make):
    source = residual()
    found = node_seconds(make(), source, {"x": X}, threads=1, seconds=0.2, ceilings=CEILINGS)
    assert found.nodes.keys() <= {node.name for node in source.graph}
    assert {"Conv_0", "Conv_2", "Gemm_7"} <= found.nodes.keys()
    assert all(seconds > 0 for seconds in found.nodes.values())
    assert found.rest >= 0
    assert found.total == pytest.approx(sum(found.nodes.values()) + found.rest)
    convolutions = found.nodes["Conv_0"] + found.nodes["Conv_2"]
    assert convolutions > 0.5 * sum(found.nodes.values())
