"""Decoders with caches of integers and in buffers in loops: a user's own, and built in."""

import json
from pathlib import Path

import numpy as np
import pytest
from cached_decoder import HEADS, SIZE, TOKENS, decoder

import compressor
from compressor.errors import UsageError
from compressor.graph.files import save_model
from compressor.pipelines import builtin
from compressor.pipelines.calls import GraphCall
from compressor.quantization.cache import calibrated, find_caches, with_integer_caches
from exporters.ort.shared_cache import with_shared_caches

NAMES = {
    f"{before}_{kind}": f"{after}.0.{kind}"
    for before, after in (("past", "past_key_values"), ("present", "present"))
    for kind in ("key", "value")
}
PAST = [name for name in NAMES.values() if name.startswith("past")]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GraphCall]:
    """The decoder with a cache in numbers, in integers, and in buffers, each as it is loaded."""
    plain = decoder()
    for value in (*plain.graph.inputs, *plain.graph.outputs):
        value.name = NAMES.get(value.name or "", value.name)
    notes = {place.input: calibrated(-1.2, 1.2, place) for place in find_caches(plain)[0]}
    found = {}
    made = {
        "plain": plain,
        "integer": with_integer_caches(plain, notes),
        "shared": with_shared_caches(plain, dict.fromkeys(PAST), dict.fromkeys(PAST, False)),
    }
    for name, graph in made.items():
        folder = tmp_path_factory.mktemp(name)
        save_model(graph, Path(folder) / "model.onnx")
        (folder / "manifest.json").write_text(json.dumps({"graphs": {"model": "model.onnx"}}))
        found[name] = compressor.load(folder, threads=1)["model"]
    return found


def test_a_loop_that_begins_with_numbers_runs_as_it_is(graphs):
    graph, cache = graphs["integer"], {n: np.zeros((1, HEADS, 0, SIZE), np.float32) for n in PAST}
    for length in range(1, 4):
        made = graph(ids=np.array([[length]]), **cache)
        cache = {name: made[name.replace("past_key_values", "present")] for name in PAST}
        assert {array.dtype for array in cache.values()} == {np.dtype(np.uint8)}
    assert cache["past_key_values.0.key"].shape == (1, HEADS, SIZE, 3)
    assert cache["past_key_values.0.value"].shape == (1, HEADS, 3, SIZE)


def test_what_is_no_number_is_refused(graphs):
    cache = {name: np.zeros((1, HEADS, 0, SIZE), np.int64) for name in PAST}
    with pytest.raises(UsageError, match="as uint8, and got int64"):
        graphs["integer"](ids=np.array([[1]]), **cache)


def test_the_built_in_loop_takes_either(graphs):
    options = {"tokens": 12, "prompt": 5, "vocabulary": TOKENS}
    texts = {}
    for name, graph in graphs.items():
        generate = builtin.find("text-generation")(options)
        texts[name] = generate({"model": graph}, 3, 4)
    same = texts["plain"]["tokens"] == texts["integer"]["tokens"]
    assert same[:, 0].all()
    assert same.mean() > 0.5
    assert np.array_equal(texts["plain"]["tokens"], texts["shared"]["tokens"])
