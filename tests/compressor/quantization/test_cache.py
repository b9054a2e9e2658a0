"""A cache of integers: where it fits, how close it is, and that it grows call by call."""

import numpy as np
import onnx_ir as ir
import pytest
from cached_decoder import HEADS, SIZE, calls, decoder
from graphs import model

from compressor.errors import RecipeError
from compressor.graph.cache_notes import CacheNote, read
from compressor.graph.files import serialize
from compressor.graph.session import open_session
from compressor.quantization.cache import affine, calibrated, find_caches, with_integer_caches
from exporters.ort.target import TARGET

KINDS = ("key", "value")
Arrays = dict[str, np.ndarray]


def run(graph: ir.Model, feeds: Arrays, *, timed: bool = False) -> Arrays:
    with TARGET.open(graph, threads=1, timed=timed) as runner:
        return runner.run(feeds)


def decibels(exact: np.ndarray, made: np.ndarray) -> float:
    error = np.square(exact - made).sum()
    return float(10 * np.log10(np.square(exact).sum() / error))


def notes(graph: ir.Model, feeds: Arrays) -> dict[str, CacheNote]:
    made = run(graph, feeds)
    return {
        place.input: calibrated(made[place.output].min(), made[place.output].max(), place)
        for place in find_caches(graph)[0]
    }


@pytest.mark.parametrize("grouped", [False, True])
def test_a_cache_of_integers_is_close_to_one_of_numbers(grouped):
    graph, feeds = decoder(grouped=grouped), calls(heads=1 if grouped else HEADS)
    places, reasons = find_caches(graph)
    assert [place.input for place in places] == ["past_key", "past_value"]
    assert reasons == {}
    assert [place.transposed for place in places] == [not grouped, False]
    assert places[0].factor == pytest.approx(0.17677669)
    caches, exact = notes(graph, feeds), run(graph, feeds)
    before = serialize(graph)
    made = with_integer_caches(graph, caches)
    assert serialize(graph) == before, "the graph it is made of stays as it is"
    assert sum(node.op_type == "MatMulInteger" for node in made.graph) == 2
    found = run(made, feeds)
    assert decibels(exact["logits"], found["logits"]) > 38
    for name in ("present_key", "present_value"):
        assert found[name].shape == exact[name].shape
        assert decibels(exact[name], found[name]) > 36


def test_keys_that_are_transposed_with_merged_axes_are_stored_as_the_product_reads_them():
    graph, feeds = decoder(merged=True), calls()
    keys = find_caches(graph)[0][0]
    assert [node.op_type for node in keys.chain] == ["Reshape", "Transpose", "Reshape", "Mul"]
    assert keys.transposed
    made = with_integer_caches(graph, notes(graph, feeds))
    shapes = [node for node in made.graph if node.op_type == "Shape"]
    assert len(shapes) == 1, "the length of the past alone is asked for"
    assert decibels(run(graph, feeds)["logits"], run(made, feeds)["logits"]) > 38


def test_probabilities_are_known_behind_what_replaces_no_numbers():
    graph, feeds = decoder(guarded=True), calls()
    keys, values = find_caches(graph)[0]
    assert keys.query == "q_heads"
    assert values.query is None
    made = with_integer_caches(graph, notes(graph, feeds))
    assert decibels(run(graph, feeds)["logits"], run(made, feeds)["logits"]) > 38


def test_it_grows_call_by_call_as_bytes_from_an_empty_one():
    graph, whole = decoder(), calls(past=0, new=6)
    caches = notes(graph, whole)
    made = with_integer_caches(graph, caches)
    session = open_session(made)
    shapes = {one.name: (one.type, one.shape) for one in session.get_inputs()}
    assert shapes["past_key"] == ("tensor(uint8)", ["n", HEADS, SIZE, "p"])
    assert shapes["past_value"] == ("tensor(uint8)", ["n", HEADS, "p", SIZE])
    cache = {
        "past_key": np.zeros((4, HEADS, SIZE, 0), np.uint8),
        "past_value": np.zeros((4, HEADS, 0, SIZE), np.uint8),
    }
    logits = []
    for place in range(6):
        fed = {"ids": whole["ids"][:, place : place + 1], **cache}
        given, *states = session.run(None, fed)
        cache = dict(zip(cache, states, strict=True))
        logits.append(given)
    assert cache["past_key"].shape == (4, HEADS, SIZE, 6)
    assert cache["past_value"].dtype == np.uint8
    exact = []
    numbers = {name: whole[name] for name in cache}
    for place in range(6):
        found = run(graph, {"ids": whole["ids"][:, place : place + 1], **numbers})
        numbers = {f"past_{kind}": found[f"present_{kind}"] for kind in KINDS}
        exact.append(found["logits"])
    assert decibels(np.concatenate(exact, 1), np.concatenate(logits, 1)) > 38


def test_a_runner_that_is_timed_shows_bytes_and_takes_numbers_too():
    graph, feeds = decoder(), calls()
    made = with_integer_caches(graph, notes(graph, feeds))
    shown, native = run(made, feeds), run(made, feeds, timed=True)
    assert native["present_key"].dtype == np.uint8
    assert native["present_key"].shape == (4, HEADS, SIZE, 12)
    np.testing.assert_array_equal(native["logits"], shown["logits"])
    again, later = (
        run(made, {"ids": feeds["ids"], **{f"past_{one}": of[f"present_{one}"] for one in KINDS}})
        for of in (native, shown)
    )
    np.testing.assert_array_equal(again["logits"], later["logits"])


def test_heads_that_differ_keep_their_own_probabilities():
    graph, feeds = decoder(), calls(past=200, new=1)
    feeds["past_key"][:, 0] *= 1e-3  # attends to all alike
    feeds["past_key"][:, 1, 0] *= 8  # attends to one token
    exact, made = run(graph, feeds), with_integer_caches(graph, notes(graph, feeds))
    assert decibels(exact["logits"], run(made, feeds)["logits"]) > 25


@pytest.mark.parametrize("behind", [False, True])
def test_queries_of_a_known_range_take_one_node_and_a_number_behind_the_product(behind):
    graph, feeds = decoder(behind=behind), calls()
    queries = {"past_key": affine(-1.5, 1.5)}
    made = with_integer_caches(graph, notes(graph, feeds), queries)
    operators = [node.op_type for node in made.graph]
    assert "DynamicQuantizeLinear" not in operators
    assert operators.count("ReduceMax") == 1, "of probabilities"
    names = {node.name for node in graph.graph if node.op_type == "MatMul"}
    assert names <= {node.name for node in made.graph}
    assert decibels(run(graph, feeds)["logits"], run(made, feeds)["logits"]) > 38


def test_the_graph_says_what_its_cache_is():
    graph = decoder()
    caches = notes(graph, calls())
    made = with_integer_caches(graph, caches)
    assert read(made.metadata_props) == caches
    assert read(graph.metadata_props) == {}


def test_numbers_become_integers_and_back():
    note = CacheNote("out", 0.5, 100, transposed=True)
    array = np.arange(-6, 6, dtype=np.float32).reshape(1, 1, 4, 3)
    stored = note.integers(array)
    assert stored.dtype == np.uint8
    assert stored.shape == (1, 1, 3, 4)
    np.testing.assert_array_equal(note.numbers(stored), array)
    assert note.integers(np.full((1, 2, 2), 1e9, np.float32)).max() == 255
    assert note.integers(stored) is stored


def test_why_a_cache_stays_float():
    graph = model(
        """g (float[n,p,8] past_a, float[n,p,8] past_b, float[n,p,8] past_c, float[n,s,8] x)
            => (float[n,t,8] a, float[n,t,8] b, float[n,t,8] c, float[n,t,8] y)
        {
            a = Concat<axis=1>(past_a, x)
            y = Tanh(a)
            b = Concat<axis=1>(x, past_b)
            c = Concat<axis=1>(past_c, x)
            z = Relu(past_c)
        }"""
    )
    places, reasons = find_caches(graph)
    assert places == []
    assert reasons == {
        "past_a": "Tanh 'Tanh_1' stands between it and its product",
        "past_b": "what is new is not appended along the axis before the last",
        "past_c": "Relu 'Relu_4' reads it beside what appends to it",
    }


def test_a_plan_of_another_graph_is_refused():
    note = CacheNote("present_key", 0.1, 128, transposed=True)
    with pytest.raises(RecipeError, match="'past_key' cannot be a cache of integers"):
        with_integer_caches(decoder(grouped=True), {"past_key": note})
    with pytest.raises(RecipeError, match="it is none that grows"):
        with_integer_caches(decoder(), {"ids": note})
