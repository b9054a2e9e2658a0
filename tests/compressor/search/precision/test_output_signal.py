"""Plans of one speed are compared by the signal to noise at the outputs, on other samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import residual
from hypothesis import given
from hypothesis import strategies as st
from seams import Clock, images, searching, session_of

from compressor.graph.files import serialize
from compressor.graph.session import open_session
from compressor.plan.plan import GraphPlan, Plan
from compressor.plan.realize import realize
from compressor.quantization.replay import CEILING
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import NoBudget
from compressor.search.precision.output_signal import GAIN, SAMPLES, OutputSignal
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.ptq_steps import adaptive_rounding, bias_correction
from compressor.search.precision.ranges import calibrated_ranges
from compressor.search.replay import replay
from exporters.ort.target import TARGET


def mixed(samples: int) -> dict[str, np.ndarray]:
    """Channels that go together, as those of a trained network do."""
    rng = np.random.default_rng(1)
    mix = np.linalg.qr(rng.standard_normal((32, 32)))[0] * np.geomspace(1, 0.02, 32)
    noise = rng.standard_normal((samples, 32, 8, 8))
    return {"x": np.einsum("nchw,cd->ndhw", noise, mix).astype(np.float32)}


def search(data: dict[str, np.ndarray], ranges: str) -> PtqSearch:
    """Everything in 8 bits by such ranges, without a budget."""
    recipe = Recipe(quantize=QuantizeOptions(cpu="avx2", batch=16, ranges=ranges))
    session = session_of(residual(), recipe, Clock(), calibration=data)
    found = searching(session, NoBudget(session, None, ""), session.prepared.calibration)
    calibrated_ranges(found)
    return found


@pytest.fixture(scope="module")
def coarse() -> PtqSearch:
    """The first ranges clip much, which shifts means."""
    return search(mixed(40), "percentile:90")


def signal_of(made: PtqSearch) -> OutputSignal:
    assert made.data is not None
    return OutputSignal.of(made.session, made.graph, made.data)


def samples(data: Any) -> set[bytes]:
    return {row.tobytes() for batch in data.batches(16) for row in batch.inputs["x"]}


def test_half_of_a_few_samples_refines_and_the_other_judges(coarse: PtqSearch):
    signal = signal_of(coarse)
    assert samples(signal.refining).isdisjoint(samples(signal.judging))
    assert samples(signal.refining) | samples(signal.judging) == samples(coarse.data)
    many = search(images(2 * SAMPLES + 20, 0), "minmax")
    assert [len(part) for part in (signal_of(many).refining, signal_of(many).judging)] == [64, 64]


def test_it_is_the_signal_over_the_noise_of_samples_that_did_not_refine(coarse: PtqSearch):
    signal = signal_of(coarse)
    x = np.concatenate([batch.inputs["x"] for batch in signal.judging.batches(64)])
    one, other = (
        open_session(made).run(None, {"x": x})[0].astype(np.float64)
        for made in (coarse.graph, realize(coarse.graph, coarse.plan, TARGET))
    )
    each = 10 * np.log10(np.square(one).sum(axis=1) / np.square(one - other).sum(axis=1))
    found = signal.decibels(coarse.plan)
    assert each.min() < found < each.max()
    assert found == pytest.approx(np.median(each), abs=1.0)


def test_closer_plans_have_more_of_it_and_float_all(coarse: PtqSearch):
    signal = signal_of(coarse)
    ranges = {name: (3 * low, 3 * high) for name, (low, high) in coarse.plan.ranges.items()}
    wider = coarse.plan.model_copy(update={"ranges": ranges})
    exact = GraphPlan(graph="", baseline="captured", ship="float")
    assert signal.decibels(coarse.plan) < signal.decibels(wider) < signal.decibels(exact)
    assert signal.decibels(exact) == CEILING


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_little_is_no_gain(before: float, after: float):
    signal = OutputSignal(*[None] * 4)  # type: ignore[arg-type] - it looks at nothing else
    assert signal.gains(before, after) == (after - before >= GAIN)
    assert not signal.gains(before, before)
    assert not signal.gains(before, -np.inf)


@pytest.mark.parametrize(
    ("step", "field", "ranges"),
    [(adaptive_rounding, "rounded", "minmax"), (bias_correction, "bias", "percentile:90")],
)
def test_refinements_that_help_are_kept_and_replayed(
    tmp_path: Path, step: Any, field: str, ranges: str
):
    made = search(mixed(64), ranges)
    before = made.plan
    step(made)
    assert getattr(made.plan, field).keys() == {"Conv_0", "Conv_2", "Gemm_7"}
    signal = signal_of(made)
    assert signal.gains(signal.decibels(before), signal.decibels(made.plan))
    record = made.start.records[-1]
    assert record.changed == {"layers": 3}
    assert record.decisions[0].verdict in ("rounded together", "corrected")
    Plan(target="ort", seed=0, graphs={"model": made.plan}).save(tmp_path / "plan.json")
    assert (tmp_path / "plan.safetensors").exists() == (field == "rounded")
    again = Plan.load(tmp_path / "plan.json").graphs["model"]
    shipped = realize(made.graph, made.plan, TARGET)
    assert serialize(replay(made.session, again).shipped) == serialize(shipped)
