"""Which form a decoder's products take, by races in both of its phases."""

from collections.abc import Callable

import onnx_ir as ir
import pytest
from cached_decoder import calls, decoder
from graphs import residual
from seams import Clock, Timed, Verdicts, images, searching, session_of

from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.precision.decoder_products import products_in_use, spread_of_rows
from compressor.search.precision.latency_placement import placed_by_time
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.ranges import calibrated_ranges
from compressor.search.session import Race


def asking(tokens: str) -> Recipe:
    return Recipe(
        quantize=QuantizeOptions(cpu="vnni", batch=4),
        measure=MeasureOptions(seconds=0.05, tokens=tokens, context=16),
    )


def search_of(ratio: Callable[[Race], float | None], tokens: str = "64:64") -> PtqSearch:
    """A search behind placement, everything static."""
    session = session_of(decoder(), asking(tokens), Timed(ratio), calibration=calls(samples=8))
    data = session.prepared.calibration
    search = searching(session, Verdicts(data, asked=None), data)
    calibrated_ranges(search)
    search.placed = placed_by_time(search.session, search.graph, search.plan)
    assert search.plan.integer
    return search


def by_phase(decode: float, prefill: float) -> Callable[[Race], float]:
    """How fast the plan as it is runs, over ranges found at run time."""
    return lambda asked: decode if asked.config.phase == "decode" else prefill


def test_ranges_found_at_run_time_are_taken_unless_another_form_is_faster():
    search = search_of(by_phase(1.02, 1.02))
    products_in_use(search)
    assert len(search.plan.dynamic) == 5
    assert search.plan.integer == ()
    assert search.plan.tokens == "64:64"
    clock = search.session.timer
    assert isinstance(clock, Clock)
    assert [race.config.phase for race in clock.races[-2:]] == ["decode", "prefill"]


@pytest.mark.parametrize(("tokens", "static"), [("1:400", True), ("4000:1", False)])
def test_what_is_read_and_written_weighs_the_phases(tokens, static):
    search = search_of(by_phase(1.5, 0.5), tokens)
    products_in_use(search)
    assert bool(search.plan.integer) is static
    record = search.start.records[-1]
    assert record.name == "weigh prompt and tokens"
    assert "in decode" in record.decisions[0].reason


def test_where_nothing_can_be_timed_the_plan_stays():
    search = search_of(lambda asked: None)
    before = search.plan
    products_in_use(search)
    assert search.plan.integer == before.integer


def test_rows_that_differ_get_scales_of_their_own():
    search = search_of(by_phase(1.0, 1.0))
    graph = search.graph
    table = graph.graph.initializers["table"]
    assert table.const_value is not None
    array = table.const_value.numpy().copy()
    array[:150] *= 40
    table.const_value = ir.tensor(array, name="table")
    products_in_use(search)
    assert search.plan.rows
    gains = spread_of_rows(search.session, graph, search.plan.dynamic, search.samples)
    assert set(search.plan.rows) == {name for name, gain in gains.items() if gain >= 3}
    assert max(gains.values()) > 10


def test_other_graphs_are_left_alone():
    session = session_of(residual(), asking("64:64"), Clock(), calibration=images(8, 0))
    search = searching(session, Verdicts(None, asked=None), None)
    plan = search.plan
    products_in_use(search)
    assert search.plan is plan
