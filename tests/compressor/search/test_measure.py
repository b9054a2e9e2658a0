"""What is measured of a built result, in which configurations, and on which samples."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from seams import TARGET, Clock, Told, looking, session_of

from calibration.dataset import CalibrationSet, open_dataset
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.graph.files import initializer_bytes
from compressor.graph.shapes import input_specs
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import Timing
from compressor.search.measure import (
    Pair,
    beyond_memory,
    configurations,
    measure_changed,
    measure_latency,
    measure_quality,
    measure_scores,
    placement,
    size,
    surplus_threads,
    told,
    why_no_memory,
    yardstick,
)
from compressor.search.session import Session

X = np.random.default_rng(0).standard_normal((24, 16)).astype(np.float32)
LABELS = np.arange(24) % 4


def net(*, shift: float = 0.0, batch: str = "n", output: str = "logits") -> ir.Model:
    """A product whose weight can be moved."""
    made = model(
        f"g (float[{batch},16] x, float[16,4] w) => (float[{batch},4] {output}) "
        f"{{ {output} = MatMul(x, w) }}",
        w=[16, 4],
    )
    weight = made.graph.initializers["w"].const_value
    assert weight is not None
    change = shift * np.random.default_rng(1).standard_normal((16, 4))
    moved = (weight.numpy() + change).astype(np.float32)
    made.graph.initializers["w"].const_value = ir.tensor(moved, name="w")
    return made


def recipe(**measure: Any) -> Recipe:
    return Recipe(
        measure=MeasureOptions(**{"seconds": 0.02, "threads": 1} | measure),
        quantize=QuantizeOptions(batch=8),
    )


def samples(labels: np.ndarray | None = None) -> CalibrationSet:
    arrays = {"x": X} if labels is None else {"x": X, "label": labels}
    return open_dataset(arrays, role="evaluation").bind(input_specs(net()))


def session(asked: Recipe, made: ir.Model | None = None) -> Session:
    return looking(session_of(made or net(), asked, Clock()), samples())


def pair_of(
    folder: Path, asked: Recipe, result: ir.Model, original: ir.Model | None = None
) -> Pair:
    """The network and something else, built."""
    made = session(asked, original)
    built = []
    for name, graph in (("original", made.prepared.model), ("result", result)):
        (folder / name).mkdir()
        built.append(TARGET.build(graph, folder / name))
    first, other = built
    return Pair(first, first, other, TARGET, made.prepared, asked, Told())


def test_peak_memory_is_left_out_where_that_is_asked(tmp_path: Path):
    assert why_no_memory(pair_of(tmp_path, recipe(), net())) is None
    (tmp_path / "again").mkdir()
    asked = pair_of(tmp_path / "again", recipe(memory=False), net())
    assert why_no_memory(asked) == "--no-memory leaves it out"


# In which configurations


def test_more_threads_than_processors_are_not_timed(monkeypatch: pytest.MonkeyPatch):
    prepared = session(recipe()).prepared
    for module in ("compressor.search.measure", "compressor.checkpoint.prepared"):
        monkeypatch.setattr(f"{module}.available_processors", lambda: 2)
    asked = recipe(threads=8)
    found = configurations(asked, prepared)
    assert max(config.threads for config in found) == found[0].threads == 2
    (notice,) = surplus_threads(asked)
    assert notice.startswith("8 threads were asked for and are not timed")
    assert notice.endswith("2 processors, so that 2 threads decide")
    assert surplus_threads(recipe(threads=2)) == ()
    one = configurations(recipe(), prepared)
    assert [(config.batch, config.threads) for config in one] == [(1, 1), (1, 2), (8, 1), (8, 2)]


def test_a_batch_that_is_baked_in_is_the_only_one():
    prepared = session_of(net(batch="3"), recipe(batch=5), Clock()).prepared
    found = configurations(recipe(batch=5), prepared)
    assert {config.batch for config in found} == {3}
    assert len(set(found)) == len(found), "none is measured twice"


def test_the_deciding_batch_is_first():
    first, *others = configurations(recipe(batch=5), session(recipe()).prepared)
    assert (first.batch, first.threads) == (5, 1)
    assert {config.batch for config in others} == {1, 8}


def test_models_are_timed_side_by_side_as_far_as_the_memory_goes():
    large = model(
        "g (float[n,512] x, float[512,1024] w) => (float[n,1024] y) { y = MatMul(x, w) }",
        w=[512, 1024],
    )
    each = initializer_bytes(large)

    def why(memory: int | None) -> str | None:
        asked = Recipe(quantize=QuantizeOptions(memory=memory))
        return beyond_memory(asked, large, large)

    assert why(None) is None
    assert why(3 * each) is None, "two of each, one of which is there already"
    found = why(3 * each - 1)
    assert found is not None
    assert "--memory allows" in found


# What becomes of a pair


def test_a_race_of_the_very_two_is_not_run_again(tmp_path: Path):
    asked = recipe()
    made = pair_of(tmp_path, asked, net(batch="3"), net(batch="3"))
    first = configurations(asked, made.prepared)[0]
    clock = Clock(lambda race: 3.0)
    known = session_of(net(batch="3"), asked, clock).race(net(), net(), seconds=0.1)
    assert known is not None
    assert known.config == first
    found = measure_latency(made, known.model_copy(update={"deciding": False}))
    assert [one.config for one in found] == configurations(asked, made.prepared)
    assert found[0].ratio == 3.0
    assert [one.deciding for one in found] == [True, *[False] * (len(found) - 1)]
    assert made.progress.stages == ["measure latency"]


def test_what_decides_nothing_is_not_timed_for_minutes(tmp_path: Path):
    asked = recipe()
    made = pair_of(tmp_path, asked, net(), net())
    clock = Clock(lambda race: 3.0)
    known = session_of(net(), asked, clock).race(net(), net(), seconds=0.1)
    assert known is not None
    slow = Timing(median_ms=4_000, p95_ms=4_000)
    found = measure_latency(made, known.model_copy(update={"baseline": slow, "result": slow}))
    batch = asked.quantize.batch
    large = [one for one in found if one.config.batch == batch]
    assert found[0].ratio == 3.0
    assert {one.config.batch for one in found} == {1, batch}
    assert len(large) == len({(1, one.config.threads) for one in large})
    for one in large:
        minutes = 3 * 8 * batch / one.config.threads / 60
        assert one.ratio is None
        assert one.reason == (
            f"not timed: 3 inferences of each, the fewest, would take about {minutes:.0f} min, "
            "and decide nothing"
        )
    others = [one for one in found[1:] if one not in large]
    assert all(one.reason is None or "not timed" not in one.reason for one in others)


def test_scores_are_of_both_on_the_same_samples(tmp_path: Path):
    asked = recipe(metric="cosine")
    made = pair_of(tmp_path, asked, net(shift=0.1))
    stick, data = made.prepared.yardstick, samples()
    assert stick is not None
    ((metric, scores),), outputs = measure_scores(made, data, stick)
    assert metric.name == "cosine"
    assert {len(units) for units in scores.units.values()} == {24}
    assert metric.aggregate(scores.units[BASELINE]) == pytest.approx(1.0, abs=1e-6)
    assert 0.5 < metric.aggregate(scores.units[RESULT]) < 0.999
    assert [one.name for one in outputs] == ["logits"]
    (quality,), _ = measure_quality(made, data, "some data", stick)
    (same,) = told([(metric, scores)], stick, "some data", asked.seed)
    assert quality == same
    assert (quality.data, quality.samples, quality.output) == ("some data", 24, "logits")


def test_decisions_that_changed_are_counted_where_outputs_decide(tmp_path: Path):
    made = pair_of(tmp_path, recipe(), net(shift=0.2))
    stick = made.prepared.yardstick
    assert stick is not None
    found = measure_changed(made, samples(LABELS), stick)
    expected = [X @ weight_of(one) for one in (net(), net(shift=0.2))]
    changed = np.flatnonzero(expected[0].argmax(1) != expected[1].argmax(1))
    assert len(changed) > 2
    assert found.total == len(changed)
    assert {one.index for one in found.samples} == set(changed.tolist())
    assert all(one.label == LABELS[one.index] for one in found.samples)


def weight_of(made: ir.Model) -> np.ndarray:
    value = made.graph.initializers["w"].const_value
    assert value is not None
    return value.numpy()


def test_the_yardstick_is_what_was_asked_for_or_what_fits():
    plain, asked = recipe(), recipe(metric="mse")
    prepared = session(plain).prepared
    labelled = samples(LABELS)
    for how, data, names in (
        (plain, samples(), ["r2", "agreement"]),
        (plain, labelled, ["accuracy"]),
        (asked, labelled, ["mse"]),
    ):
        found = yardstick(prepared, how, TARGET, data)
        assert [metric.name for metric in found.metrics] == names


def test_size_counts_all_files_and_one_sample(tmp_path: Path):
    made = pair_of(tmp_path, recipe(), net())
    found = size(made.original, net(), {"x": X[:1]})
    assert found.file_bytes == sum(file.stat().st_size for file in made.original.files)
    assert (found.parameters, found.macs) == (64, 64)


def test_what_runs_as_integer_is_counted_in_the_graph_that_runs(tmp_path: Path):
    built = TARGET.build(net(), tmp_path)
    (row,) = placement(TARGET, built)
    assert (row.integer, row.floating) == (0, 1)
    assert row.operator in ("MatMul", "Gemm")
