"""Names of caches, and caches of no positions."""

import numpy as np
import pytest

from compressor.graph.tensors import TensorSpec
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.language.caches import Slot, empty, slots_given, slots_taken


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("past_key_values.3.key", Slot(3, "self", "key")),
        ("past_key_values.0.decoder.value", Slot(0, "self", "value")),
        ("past_key_values.12.encoder.key", Slot(12, "cross", "key")),
        ("past_key_values_1_value", Slot(1, "self", "value")),
        ("past_key_2", Slot(2, "self", "key")),
        ("past_5", Slot(5, "self", "")),
        ("cache.0.k", Slot(0, "self", "key")),
    ],
)
def test_a_cache_is_known_by_its_name(name: str, slot: Slot):
    assert slots_taken([name]) == {name: slot}


@pytest.mark.parametrize(
    "name", ["position_ids", "cache_position", "past_length", "use_cache_branch"]
)
def test_what_is_no_cache_is_not_taken_for_one(name: str):
    assert slots_taken([name]) == {}


def test_what_comes_out_is_found_by_name_or_by_order():
    taken = ["past_key_values.0.key", "past_key_values.0.value"]
    key, value = Slot(0, "self", "key"), Slot(0, "self", "value")
    assert slots_given(["logits", "present.0.value", "present.0.key"], taken) == {
        "present.0.value": value,
        "present.0.key": key,
    }
    assert slots_given(["output", "output_1", "output_2"], taken) == {
        "output_1": key,
        "output_2": value,
    }


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        (("batch", 4, "past", 8), (1, 4, 0, 8)),
        (("b", "past_sequence_length", 16), (1, 0, 16)),
        ((None, 2, None, 8), (1, 2, 0, 8)),
        ((2, 1, 3, "past", 8), (2, 1, 3, 0, 8)),
        ((2, "rows", 3, "past", 8), (2, 1, 3, 0, 8)),
        (("rows", 4, 8, "length"), (1, 4, 8, 0)),
    ],
)
def test_a_cache_of_no_positions_has_every_other_size(shape, wanted):
    graph = GraphCall("model", (), dict)
    spec = TensorSpec("past_0", np.dtype(np.float16), shape)
    made = empty(graph, spec, "rows", 1)
    assert (made.shape, made.dtype) == (wanted, np.float16)
