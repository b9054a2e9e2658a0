"""What measures faster in another form is rewritten before anything is calibrated, and replayed."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import TARGET, Timed, Verdicts, always, searching, session_of

from calibration.collect import collect
from compressor.errors import RecipeError
from compressor.folding.check import equal_outputs
from compressor.graph.files import serialize
from compressor.graph.shapes import infer_shapes, shape_of
from compressor.plan.realize import in_forms
from compressor.pruning import cut, find_groups
from compressor.recipe.recipe import Recipe
from compressor.search.baseline import undecided
from compressor.search.precision.exact_forms import exact_forms
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.search import with_precision
from compressor.search.replay import replay
from compressor.search.session import Race, Session

SAMPLES = {"x": np.random.default_rng(0).standard_normal((16, 16, 8, 8)).astype(np.float32)}


def generator() -> ir.Model:
    """Two layers that enlarge alike, and one that does so otherwise."""
    return model(
        """g (float[n,16,8,8] x, float[16,16,4,4] w1, float[16,16,4,4] w2,
              float[16,16,3,3] w3) => (float[n,16,32,32] y)
        {
            a = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(x, w1)
            b = Relu(a)
            c = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(b, w2)
            d = Relu(c)
            y = Conv<pads=[1,1,1,1]>(d, w3)
        }""",
        w1=[16, 16, 4, 4], w2=[16, 16, 4, 4], w3=[16, 16, 3, 3],
    )  # fmt: skip


def session(ratio: object, graph: ir.Model | None = None) -> tuple[Session, Timed]:
    clock = Timed(ratio)
    graph = graph or generator()
    return session_of(graph, Recipe(), clock, calibration=SAMPLES), clock


def searched(
    ratio: object, graph: ir.Model | None = None, **known: object
) -> tuple[PtqSearch, Timed]:
    made, clock = session(ratio, graph)
    search = searching(made, Verdicts(None, asked=None), made.prepared.calibration, **known)
    exact_forms(search)
    return search, clock


def transposed(graph: ir.Model) -> int:
    return sum(node.op_type == "ConvTranspose" for node in graph.graph)


def test_what_measures_faster_is_rewritten_and_computes_the_same():
    search, _ = searched(always(2.0))
    assert search.plan.forms == search.start.plan.forms
    assert search.plan.forms == {"ConvTranspose_0": "sub-pixel", "ConvTranspose_2": "sub-pixel"}
    assert transposed(search.graph) == 0
    assert transposed(search.start.plain) == 2, "what ships where float does stays as it was"
    few = {"x": SAMPLES["x"][:2]}
    assert equal_outputs(search.start.plain, search.graph, few, rtol=1e-5).equal
    record = search.start.records[-1]
    assert record.changed == {"places in other forms": 2}
    assert "in 8 bits it ran at 2.00× the speed" in record.decisions[0].reason


def test_the_fastest_form_is_taken():
    def by_convolutions(asked: Race) -> float:
        return float(sum(node.op_type == "Conv" for node in asked.challenger.graph))

    search, _ = searched(by_convolutions)
    assert set(search.plan.forms.values()) == {"phases"}


def test_places_alike_are_timed_once():
    small = generator()
    _, clock = searched(always(2.0), small)
    # Two forms of each of two places, whose images differ in size.
    assert len(clock.races) == 4
    one = {race.feeds[next(iter(race.feeds))].shape for race in clock.races}
    assert one == {(1, 16, 8, 8), (1, 16, 16, 16)}


@pytest.mark.parametrize("ratio", [always(0.7), always(1.02), always(None)])
def test_what_does_not_measure_faster_stays_and_is_told(ratio: object):
    search, _ = searched(ratio)
    assert search.plan.forms == {}
    assert transposed(search.graph) == 2
    record = search.start.records[-1]
    assert [one.verdict for one in record.decisions] == ["ConvTranspose as it is"] * 2
    reasons = search.start.float_reasons
    assert reasons["ConvTranspose_0"].startswith("no other form of it is faster: as a sub-pixel")


def test_statistics_of_the_graph_as_it_was_leave_it_so():
    made, clock = session(always(2.0))
    stats = collect(made.prepared.model, ["b"], made.prepared.calibration)
    search = searching(made, Verdicts(None, asked=None), None, stats=stats)
    exact_forms(search)
    assert search.plan.forms == {}
    assert clock.races == []


def test_a_graph_without_a_place_is_not_looked_at_twice():
    x = np.random.default_rng(0).standard_normal((8, 32, 8, 8)).astype(np.float32)
    made = session_of(residual(), Recipe(), Timed(always(2.0)), calibration={"x": x})
    search = searching(made, Verdicts(None, asked=None), made.prepared.calibration)
    records = len(search.start.records)
    exact_forms(search)
    assert len(search.start.records) == records


def test_a_place_that_reads_a_bool_is_timed_too():
    graph = model(
        """g (float[1,2,l,4] q, float[1,2,l,4] k, float[1,2,l,4] v) => (float[1,2,l,4] o)
        {
            k_t = Transpose<perm=[0,1,3,2]>(k)
            d = MatMul(q, k_t)
            zero = Constant<value=float {0.0}>()
            v_t = Transpose<perm=[0,1,3,2]>(v)
            e = MatMul(q, v_t)
            h = Greater(e, zero)
            c = Constant<value=float {-1e9}>()
            z = Where(h, c, d)
            w = Softmax<axis=-1>(z)
            o = MatMul(w, v)
        }"""
    )
    drawn = {n: np.random.default_rng(i).standard_normal((1, 2, 8, 4)) for i, n in enumerate("qkv")}
    made = session_of(
        infer_shapes(graph), Recipe(), Timed(always(2.0)),
        calibration={n: array.astype(np.float32) for n, array in drawn.items()},
    )  # fmt: skip
    search = searching(made, Verdicts(None, asked=None), made.prepared.calibration)
    exact_forms(search)
    assert list(search.plan.forms.values()) == ["attention"]


def test_a_plan_with_forms_gives_the_same_bytes_again():
    made, _ = session(always(2.0))
    found = with_precision(
        made, undecided(made), made.prepared.calibration, Verdicts(None, asked=None)
    )
    assert found.plan.ship == "int8"
    assert found.plan.forms
    again, _ = session(always(None))
    assert serialize(replay(again, found.plan).shipped) == serialize(found.shipped)


def test_float_ships_as_it_was():
    def only_forms(asked: Race) -> float:
        return 2.0 if transposed(asked.baseline) == 1 else 0.5

    made, _ = session(only_forms)
    found = with_precision(
        made, undecided(made), made.prepared.calibration, Verdicts(None, asked=None)
    )
    assert found.plan.ship == "float"
    assert found.plan.forms == {}
    assert transposed(found.shipped) == 2


def attention() -> ir.Model:
    """A product with a bias, and a core of one head."""
    return model(
        """g (float[n,6,8] x, float[8,8] w, float[8] b) => (float[n,1,6,8] y)
        {
            m = MatMul(x, w)
            a = Add(m, b)
            s = Constant<value_ints=[0,6,1,8]>()
            r = Reshape(a, s)
            q = Transpose<perm=[0,2,1,3]>(r)
            k = Transpose<perm=[0,1,3,2]>(q)
            d = MatMul(q, k)
            p = Softmax<axis=-1>(d)
            y = MatMul(p, q)
        }""",
        w=[8, 8], b=[8],
    )  # fmt: skip


TOKENS = {"x": np.random.default_rng(0).standard_normal((16, 6, 8)).astype(np.float32)}


def test_what_stays_float_is_raced_in_float_and_undone_where_the_whole_is_slower():
    def whole_is_slower(asked: Race) -> float:
        has_all = "w" in asked.baseline.graph.initializers
        return 0.5 if has_all and "Softmax" in operators(asked.baseline) else 2.0

    for ratio, kept in ((always(2.0), True), (whole_is_slower, False)):
        clock = Timed(ratio)
        made = session_of(attention(), Recipe(), clock, calibration=TOKENS)
        search = searching(made, Verdicts(None, asked=None), made.prepared.calibration)
        exact_forms(search)
        assert ("attention" in search.plan.forms.values()) == kept
        raced = [race for race in clock.races if "Softmax" in operators(race.baseline)]
        assert all("QuantizeLinear" not in operators(race.challenger) for race in raced)
    assert search.start.records[-1].decisions[-1].verdict == "undone"


def operators(graph: ir.Model) -> set[str]:
    return {node.op_type for node in graph.graph}


@pytest.mark.parametrize(("ratio", "kept"), [(2.0, True), (1.0, False)])
def test_what_ships_as_float_is_in_the_forms_that_are_faster_in_float(ratio: float, kept: bool):
    def float_only(asked: Race) -> float:
        quantized = "QuantizeLinear" in operators(asked.challenger)
        return 0.5 if quantized else ratio

    made = session_of(attention(), Recipe(), Timed(float_only), calibration=TOKENS)
    found = with_precision(
        made, undecided(made), made.prepared.calibration, Verdicts(None, asked=None)
    )
    assert found.plan.ship == "float"
    assert ("Attention" in operators(found.shipped)) == kept
    again = session_of(attention(), Recipe(), Timed(always(None)), calibration=TOKENS)
    assert serialize(replay(again, found.plan).shipped) == serialize(found.shipped)


def test_channels_of_what_enlarges_are_pruned_before_it_is_rewritten():
    graph, few = generator(), {"x": SAMPLES["x"][:2]}
    grouping = find_groups(graph, few)
    keep = {group.name: np.arange(group.units) % 2 == 0 for group in grouping.groups}
    pruned = cut(graph, grouping, keep)
    forms = {"ConvTranspose_0": "sub-pixel", "ConvTranspose_2": "phases"}
    made = in_forms(pruned, forms, TARGET)
    assert transposed(made) == 0
    assert equal_outputs(pruned, made, few, rtol=1e-5).equal
    weight = made.graph.initializers["ConvTranspose_0_weight"]
    assert shape_of(weight) == (4 * 8, 16, 2, 2)


def test_a_form_that_the_target_lacks_is_refused_by_name():
    with pytest.raises(RecipeError, match="'ConvTranspose_0' as 'no such'"):
        in_forms(generator(), {"ConvTranspose_0": "no such"}, TARGET)
