"""Reports as real runs make them, in the shapes that a reader can meet."""

import numpy as np
import pytest

from compressor.results.graph_report import (
    Candidate,
    GraphReport,
    LayerError,
    NodePlacement,
    TensorRange,
)
from compressor.results.measurements import (
    Ceilings,
    LatencyConfig,
    LatencyResult,
    MemoryResult,
    NodeProfile,
    OperatorProfile,
    Profile,
    QualityResult,
    Size,
    Timing,
    Verdict,
)
from compressor.results.records import Decision, Interval, Parity, StageRecord
from compressor.results.report import Comparison, DataUse, Environment, Report


def timing(median: float, seed: int) -> Timing:
    """A skewed distribution around a median, with a few stragglers."""
    draws = median * np.random.default_rng(seed).lognormal(0.0, 0.04, 200)
    draws[::67] *= 1.9
    return Timing(
        median_ms=float(np.median(draws)),
        p95_ms=float(np.percentile(draws, 95)),
        trace=tuple(round(float(value), 5) for value in draws),
    )


def latency(
    batch: int,
    threads: int,
    medians: tuple[float, float],
    *,
    spread: float = 0.04,
    deciding: bool = False,
) -> LatencyResult:
    """Two timings whose verdict follows from the interval."""
    ratio = medians[0] / medians[1]
    interval = Interval(low=ratio - spread, high=ratio + spread)
    verdict: Verdict = "no significant difference"
    if 1 not in interval:
        verdict = "faster" if ratio > 1 else "slower"
    return LatencyResult(
        config=LatencyConfig(batch=batch, threads=threads),
        deciding=deciding,
        rounds=40,
        baseline=timing(medians[0], seed=batch + threads),
        result=timing(medians[1], seed=batch + threads + 100),
        ratio=ratio,
        interval=interval,
        verdict=verdict,
    )


LATENCIES = (
    latency(1, 1, (4.212, 2.7), deciding=True),
    latency(1, 0, (2.31, 2.28)),
    latency(32, 1, (128.4, 60.1)),
    latency(32, 0, (66.0, 74.2)),
)

ACCURACY = QualityResult(
    metric="accuracy",
    unit="%",
    higher_is_better=True,
    reference="labels",
    baseline=86.95,
    result=86.80,
    difference=-0.15,
    interval=Interval(low=-0.5, high=0.2),
    samples=2000,
    data="evaluation data",
)

SQNR = QualityResult(
    metric="sqnr",
    unit="dB",
    higher_is_better=True,
    reference="original",
    baseline=None,
    result=24.31,
    difference=None,
    interval=None,
    samples=512,
    data="calibration samples not used to calibrate",
    reason="the original against itself has no error: its sqnr is infinite, and there is no "
    "difference to state",
)

AGREEMENT = QualityResult(
    metric="agreement",
    unit="%",
    higher_is_better=True,
    reference="original",
    baseline=100.0,
    result=99.2,
    difference=-0.8,
    interval=Interval(low=-1.9, high=-0.3),
    samples=500,
    data="calibration samples not used to calibrate",
)

STAGES = (
    StageRecord(
        name="load",
        seconds=0.21,
        parameters={"kind": "torch.export archive", "bytes": 1_132_000},
    ),
    StageRecord(
        name="capture",
        seconds=6.4,
        parameters={"exporter": "torch.onnx.export(dynamo=True)", "opset": 21},
        changed={"nodes": 72},
        notices=("The batch dimension is dynamic.",),
        decisions=(
            Decision(
                subject="torch.export",
                verdict="tried, worked",
                reason="the module exports without graph breaks",
            ),
        ),
    ),
    StageRecord(
        name="fold", seconds=0.9, changed={"Conv + BatchNormalization": 21, "constants": 4}
    ),
    StageRecord(
        name="calibrate",
        seconds=18.25,
        parameters={"samples": 512, "batch": 32, "method": "minmax", "seed": 0},
    ),
    StageRecord(
        name="quantize",
        seconds=1.3,
        parameters={"activations": "uint8", "weights": "int8 per channel"},
        changed={"QuantizeLinear": 31, "DequantizeLinear": 84},
        decisions=(
            *(
                Decision(
                    subject=f"/layer{block}/conv{index}/Conv",
                    verdict="integer",
                    reason="weighted operator with an integer kernel",
                )
                for block in range(1, 4)
                for index in range(1, 6)
            ),
            Decision(subject="/softmax", verdict="float", reason="an island between float nodes"),
        ),
    ),
    StageRecord(name="measure", seconds=74.0),
)

ENVIRONMENT = Environment(
    platform="Linux-6.1.0-x86_64-with-glibc2.36",
    processor="Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz",
    cpu_flags=("sse4_2", "avx", "avx2", "fma"),
    cores=2,
    memory_bytes=8_300_000_000,
    python="3.11.9",
    packages={"compressor": "0.1.0", "onnxruntime": "1.31.1", "torch": "2.13.0"},
)


def layer(index: int, sqnr: float, reason: str | None = None) -> LayerError:
    return LayerError(
        node=f"/layer{index}/conv",
        operator="Conv",
        integer=reason is None,
        reason=reason,
        value=f"relu_{index}",
        sqnr_db=sqnr,
        own_sqnr_db=sqnr + 9 if reason is None else None,
    )


LAYERS = (
    layer(0, 18.24),
    layer(1, 19.5, "an input is not quantized"),
    *(layer(index, 20.0 + index) for index in range(2, 25)),
    layer(25, 100.0, "no integer kernel in this runtime"),
)

TENSORS = (
    TensorRange(
        value="relu_0",
        method="samples",
        sqnr_db=27.31,
        low=0.0,
        high=6.02,
        observed_low=0.0,
        observed_high=412.0,
        clipped=0.00031,
        edges=(*(0.1 * index for index in range(91)), 412.0),
        counts=(*(2 * 10**5 // (index + 1) ** 2 for index in range(90)), 3),
    ),
    TensorRange(
        value="input",
        method="minmax",
        sqnr_db=41.0,
        low=-2.12,
        high=2.64,
        observed_low=-2.12,
        observed_high=2.64,
        clipped=0.0,
        edges=(-2.12, -1.0, 0.0, 1.0, 2.64),
        counts=(4, 100, 300, 9),
    ),
)


def int8_graph() -> GraphReport:
    """INT8 shipped, slower in one configuration."""
    return GraphReport(
        shipped="int8",
        shipped_reason="INT8 is significantly faster in the deciding configuration.",
        parity=(
            Parity(
                batch=2,
                output="logits",
                max_absolute=3.1e-6,
                max_relative=8.2e-7,
                tolerance=1e-4,
            ),
            Parity(
                batch=4,
                output="logits",
                max_absolute=4.4e-6,
                max_relative=9.9e-7,
                tolerance=1e-4,
            ),
        ),
        latency=LATENCIES,
        quality=(ACCURACY, SQNR),
        memory=MemoryResult(baseline_bytes=96_400_000, result_bytes=88_100_000),
        baseline_size=Size(file_bytes=1_094_000, parameters=272_474, macs=40_813_184),
        result_size=Size(file_bytes=287_400, parameters=272_474, macs=40_813_184),
        candidates=(
            Candidate(
                name="float, folded",
                shipped=False,
                reason="INT8 is faster.",
                latency=latency(1, 1, (4.4, 4.212)),
                size=Size(file_bytes=1_094_000, parameters=272_474, macs=40_813_184),
            ),
            Candidate(
                name="int8, minmax",
                shipped=True,
                reason="The fastest candidate.",
                latency=LATENCIES[0],
                quality=ACCURACY,
                size=Size(file_bytes=287_400, parameters=272_474, macs=40_813_184),
            ),
        ),
        placement=(
            NodePlacement(operator="Conv", integer=19, floating=0),
            NodePlacement(operator="Add", integer=8, floating=1),
            NodePlacement(operator="Gemm", integer=1, floating=0),
            NodePlacement(operator="Softmax", integer=0, floating=1),
        ),
        float_reasons={
            "/softmax": "no integer kernel in this runtime",
            "/layer3/add": "an input is not quantized",
        },
        layers=LAYERS,
        tensors=TENSORS,
    )


def float_graph() -> GraphReport:
    """Float shipped as there was nothing to calibrate with; much was not measured."""
    return GraphReport(
        shipped="float",
        shipped_reason="There is no calibration data; --calib adds it.",
        latency=(latency(1, 1, (4.2, 4.18), deciding=True),),
        quality_reason="no data to measure on; --eval adds it",
        memory=MemoryResult(
            baseline_bytes=None, result_bytes=None, reason="the child process was killed"
        ),
        baseline_size=Size(
            file_bytes=1_094_000,
            parameters=272_474,
            macs=None,
            macs_reason="the size of dimension 'tokens' is unknown",
        ),
        result_size=Size(file_bytes=1_091_000, parameters=270_100, macs=None),
    )


def agreeing_graph() -> GraphReport:
    """INT8 shipped and judged by its agreement with the original, for want of labels."""
    return int8_graph().model_copy(update={"quality": (AGREEMENT,), "latency": LATENCIES[:1]})


def make_report(graphs: dict[str, GraphReport]) -> Report:
    return Report(
        source="checkpoints/resnet20.pt2",
        target="ort",
        created="2026-03-14T15:09:26+00:00",
        seconds=101.5,
        command="compress checkpoints/resnet20.pt2 --target ort --calib calib.npz --eval eval.npz "
        "--metric accuracy",
        artifact="resnet20-ort",
        files={
            "model": "resnet20-ort/model.onnx",
            "report": "resnet20-ort/report.html",
            "report.json": "resnet20-ort/report.json",
            "plan": "resnet20-ort/plan.json",
            "manifest": "resnet20-ort/manifest.json",
        },
        data=(
            DataUse(
                role="calibration", description="calib.npz", samples=512, fingerprint="5f" * 32
            ),
            DataUse(role="evaluation", description="eval.npz", samples=2000),
        ),
        graphs=graphs,
        stages=STAGES,
        notices=("This CPU has no VNNI: weights use 7 bits.",),
        environment=ENVIRONMENT,
    )


@pytest.fixture
def int8_report() -> Report:
    return make_report({"model": int8_graph()})


@pytest.fixture
def float_report() -> Report:
    return make_report({"model": float_graph()})


@pytest.fixture
def job_report() -> Report:
    return make_report({"encoder": int8_graph(), "decoder": float_graph()})


@pytest.fixture
def model_comparison() -> Comparison:
    graph = int8_graph()
    return Comparison(
        baseline="a.onnx",
        result="b.onnx",
        latency=graph.latency,
        quality=graph.quality,
        memory=graph.memory,
        baseline_size=graph.baseline_size,
        result_size=graph.result_size,
    )


@pytest.fixture
def agreement_report() -> Report:
    return make_report({"model": agreeing_graph()})


@pytest.fixture
def model_profile() -> Profile:
    def node(index: int, ms: float) -> NodeProfile:
        known = index % 5 > 0
        return NodeProfile(
            name=f"/layer{index}/conv/Conv_nchwc",
            operator="Conv" if known else "ReorderInput",
            ms=ms,
            share=ms / 4.0,
            macs=1_234_567 * index if known else None,
            bytes=45_000 * index if known else None,
            bound="compute" if known else None,
            attained=0.618 if known else None,
        )

    nodes = tuple(node(index, 0.1 + 0.01 * index) for index in range(20))
    return Profile(
        source="resnet20.onnx",
        batch=1,
        threads=1,
        runs=200,
        latency=timing(4.2, seed=3),
        operators=(
            OperatorProfile(
                operator="Conv",
                nodes=16,
                ms=3.2,
                share=0.8,
                macs=200_000_000,
                bytes=7_000_000,
                bound="compute",
            ),
            OperatorProfile(
                operator="ReorderInput",
                nodes=4,
                ms=0.8,
                share=0.2,
                macs=None,
                bytes=None,
                bound=None,
            ),
        ),
        nodes=nodes,
        ceilings=Ceilings(
            threads=1,
            float_gflops=48.1,
            int8_gops=95.0,
            memory_gbs=9.13,
            cache_gbs=41.0,
            cache_bytes=524_288,
            overhead_us=1.2,
            profiler_us=2.0,
        ),
        memory_reason="the child process was killed",
    )
