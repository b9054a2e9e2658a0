"""What the machine can do at best, measured with the runtime that is profiled.

Each figure is the best of the repetitions that fit into a fraction of a second: a ceiling is what
was reached once, and disturbance only takes away from it.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.evaluation.executed import node_times
from compressor.graph.runtime import onnx_runtime
from compressor.graph.session import open_session
from compressor.graph.tensors import Array
from compressor.results.measurements import Ceilings
from compressor.system.processors import available_processors
from compressor.system.scratch import scratch

SECONDS = 0.2
"""Time for each figure, unless one inference takes longer."""

_SIDE = 768  # of the square matrices: 0.9 G operations, weights beyond most private caches
_CACHED = 2**16  # floats per thread: 256 KB, which the private cache of a core holds
_UNCACHED = 2**24  # floats: 64 MB, in and out 128 MB
_SHORT, _LONG = 16, 272  # nodes of the chains whose difference is the cost of a node
_PROFILED = 50


def measure_ceilings(threads: int) -> Ceilings:
    """Measure every ceiling with `threads` threads (0: all) on ONNX Runtime.

    - float_gflops, int8_gops: 2·N³ over the time of an N×N MatMul / MatMulInteger with constant
      weights.
    - memory_gbs, cache_gbs: bytes read and written over time per node of a chain of Relu.
    - overhead_us: (time of a long chain of Relu on one value - of a short one) / nodes between.
    - profiler_us: what the profiler reports for a node of that chain.
    """
    operations = 2 * _SIDE**3
    overhead, profiler = measure_overheads(threads)
    share = _CACHED * (threads or available_processors())
    cached = max(_per_node(share, 2, 34, threads) - overhead, 1e-9)
    uncached = _best(_bound(_relu_chain(3), _ones(_UNCACHED), threads)) / 3
    return Ceilings(
        threads=threads,
        float_gflops=operations / _matmul_seconds(np.float32, threads) / 1e9,
        int8_gops=operations / _matmul_seconds(np.uint8, threads) / 1e9,
        memory_gbs=8 * _UNCACHED / uncached / 1e9,
        cache_gbs=8 * share / cached / 1e9,
        cache_bytes=8 * share,
        overhead_us=overhead * 1e6,
        profiler_us=profiler * 1e6,
    )


def measure_overheads(threads: int) -> tuple[float, float]:
    """Seconds of a node that does next to nothing: as it takes, and as the profiler reports it."""
    return _per_node(1, _SHORT, _LONG, threads), _profiled_node(threads) / 1e6


def _matmul_seconds(dtype: type[np.generic], threads: int) -> float:
    integer = dtype is np.uint8
    rng = np.random.default_rng(0)
    left = rng.integers(0, 127, (_SIDE, _SIDE)).astype(dtype)
    right = rng.integers(-64, 63, (_SIDE, _SIDE)).astype(np.int8 if integer else dtype)
    x = ir.val("x", ir.DataType.UINT8 if integer else ir.DataType.FLOAT, left.shape)
    w = ir.val("w", const_value=ir.tensor(right, name="w"))
    y = ir.val("y", ir.DataType.INT32 if integer else ir.DataType.FLOAT, left.shape)
    node = ir.node("MatMulInteger" if integer else "MatMul", [x, w], outputs=[y])
    return _best(_bound(_model([node], initializers=[w]), left, threads))


def _per_node(values: int, short: int, long: int, threads: int) -> float:
    """Seconds of one more Relu in a chain, on so many floats."""
    times = [_best(_bound(_relu_chain(n), _ones(values), threads)) for n in (short, long)]
    return max(times[1] - times[0], 1e-9) / (long - short)


def _profiled_node(threads: int) -> float:
    """Microseconds the profiler reports for a Relu on one value."""
    with scratch() as folder:
        session = open_session(
            _relu_chain(_SHORT),
            threads=threads,
            profile_prefix=Path(folder) / "profile",
            optimize=False,
        )
        for _ in range(_PROFILED):
            session.run(None, {"x": _ones(1)})
        times = node_times(Path(session.end_profiling()))
    return float(np.median([node.microseconds for node in times]))


def _bound(model: ir.Model, x: Array, threads: int) -> Callable[[], None]:
    # Unoptimized: a chain must stay a chain. A lone MatMul has nothing to optimize.
    session: Any = open_session(model, threads=threads, optimize=False)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnx_runtime().OrtValue.ortvalue_from_numpy(x))
    binding.bind_output("y")
    return lambda: session.run_with_iobinding(binding)


def _relu_chain(nodes: int) -> ir.Model:
    values = [ir.val("x", ir.DataType.FLOAT, ["n"])]
    values += [ir.val(f"v{i}", ir.DataType.FLOAT, ["n"]) for i in range(1, nodes)]
    values += [ir.val("y", ir.DataType.FLOAT, ["n"])]
    return _model(
        [
            ir.node("Relu", [values[i]], outputs=[values[i + 1]], name=f"relu{i}")
            for i in range(nodes)
        ]
    )


def _model(nodes: list[ir.Node], initializers: list[ir.Value] | None = None) -> ir.Model:
    graph = ir.Graph(
        [value for value in nodes[0].inputs[:1] if value is not None],
        [nodes[-1].outputs[0]],
        nodes=nodes,
        initializers=initializers or [],
        opset_imports={"": 17},
        name="ceiling",
    )
    return ir.Model(graph, ir_version=9)


def _ones(values: int) -> Array:
    return np.ones(values, np.float32)


def _best(run: Callable[[], None]) -> float:
    """The shortest of at least three runs, after one that does not count."""
    run()
    begun, best, count = perf_counter(), float("inf"), 0
    while count < 3 or perf_counter() - begun < SECONDS:
        start = perf_counter()
        run()
        best = min(best, perf_counter() - start)
        count += 1
    return best
