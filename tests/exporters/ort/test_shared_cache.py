"""A decoder's attention over shared buffers computes what it did over a cache that grows."""

import numpy as np
import onnx_ir as ir
import pytest
from cached_decoder import HEADS, calls, decoder

from compressor.errors import RecipeError
from compressor.graph import shared_cache as buffers
from compressor.graph.cache_notes import read
from exporters.ort import shared_cache
from exporters.ort.shared_cache import find_shared, with_shared_caches
from exporters.ort.target import TARGET

CAUSAL = {"past_key": True, "past_value": True}
WHOLE = {"past_key": False, "past_value": False}
FLOAT = dict.fromkeys(("past_key", "past_value"))


def shared(made: ir.Model, scales=FLOAT, causal=WHOLE) -> ir.Model:
    return with_shared_caches(made, scales, causal)


def outputs(model: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with TARGET.open(model, threads=1, timed=False) as runner:
        return runner.run(feeds)


def held(before: ir.Model, after: ir.Model, feeds: dict[str, np.ndarray], tolerance: float) -> None:
    expected, found = outputs(before, feeds), outputs(after, feeds)
    assert set(expected) == set(found)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert np.abs(found[name] - array).max() <= tolerance * np.abs(array).max()


SIZES = [(1, 0, 5), (3, 0, 4), (1, 9, 1), (3, 9, 1), (1, 9, 4), (3, 9, 4)]
"""Samples, tokens in the cache, new tokens; the operator itself refuses the last."""


@pytest.mark.parametrize(("samples", "past", "new"), SIZES)
@pytest.mark.parametrize("form", ["plain", "grouped", "behind", "merged"])
def test_the_same_comes_out(form, samples, past, new):
    options = {} if form == "plain" else {form: True}
    made = decoder(**options)
    heads = 1 if form == "grouped" else HEADS
    feeds = calls(heads=heads, past=past, new=new, samples=samples)
    held(made, shared(made), feeds, 1e-5)


@pytest.mark.parametrize(("samples", "past", "new"), SIZES)
@pytest.mark.parametrize("causal", [True, False])
def test_what_hides_later_tokens_is_dropped_or_kept(causal, samples, past, new):
    made = decoder(mask="sizes")
    after = shared(made, causal=CAUSAL if causal else WHOLE)
    held(made, after, calls(past=past, new=new, samples=samples), 1e-5)
    kinds = {node.op_type for node in after.graph}
    assert ("Where" in kinds) is not causal


def test_padding_stays_hidden():
    made = decoder(mask="input")
    feeds = calls(past=9, new=2, samples=3)
    kept = np.ones((3, 11), np.int64)
    kept[1, :4] = 0
    held(made, shared(made), {**feeds, "padding": kept}, 1e-5)


def test_int8_rounds_the_cache_alone():
    made = decoder(mask="sizes")
    after = shared(made, dict.fromkeys(FLOAT, 4 / 127), CAUSAL)
    feeds = calls(past=9, new=1)
    held(made, after, feeds, 0.03)
    note = read(after.metadata_props)["past_key"]
    assert note.signed and note.zero_point == 0
    assert {v.name: v.dtype for v in after.graph.inputs}["past_key"] == ir.DataType.INT8


def test_the_graph_says_what_it_takes():
    after = shared(decoder())
    names = [value.name for value in after.graph.inputs]
    assert names[-2:] == [buffers.LENGTHS, buffers.TOTAL]
    with TARGET.open(after, threads=1) as runner:
        assert [one.name for one in runner.inputs] == names[:-2]
        assert runner.inputs[1].shape[2] == "p"
        assert runner.outputs[1].shape[2] == "t"


def test_what_has_no_such_attention_says_why():
    assert "no softmax of scores" in str(find_shared(decoder(guarded=True)))
    model = decoder(guarded=True)
    with pytest.raises(RecipeError, match="cannot be buffers"):
        shared(model)


def test_a_runtime_without_the_operator_is_told(monkeypatch):
    shared_cache.why_not_here.cache_clear()
    assert shared_cache.why_not_here() is None
    monkeypatch.setattr(shared_cache, "NEEDED", frozenset({"unheard_of"}))
    shared_cache.why_not_here.cache_clear()
    assert "unheard_of" in str(shared_cache.why_not_here())
    shared_cache.why_not_here.cache_clear()
