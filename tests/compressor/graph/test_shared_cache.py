"""What was given never changes, and nothing is copied where one text goes on."""

import numpy as np
import pytest
from cached_decoder import calls, decoder

from compressor.errors import CheckpointError, DataError, UsageError
from compressor.graph.files import save_model
from compressor.graph.shared_cache import NOTE, ROOM, SharedNote, read, written
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.loading import opened
from exporters.ort.shared_cache import with_shared_caches

CACHES = ("past_key", "past_value")
GIVEN = {"past_key": "present_key", "past_value": "present_value"}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> dict[str, GraphCall]:
    """Cache → the same decoder with it."""
    folder = tmp_path_factory.mktemp("graphs")
    plain = decoder(mask="sizes")
    made = {
        "plain": plain,
        "shared": with_shared_caches(plain, dict.fromkeys(CACHES), dict.fromkeys(CACHES, True)),
        "int8": with_shared_caches(
            plain, dict.fromkeys(CACHES, 4 / 127), dict.fromkeys(CACHES, True)
        ),
    }
    found = {}
    for name, model in made.items():
        save_model(model, folder / f"{name}.onnx")
        found[name] = opened(name, folder / f"{name}.onnx", 1)
    return found


def stepped(graph: GraphCall, ids: int, cache: dict[str, np.ndarray], samples: int = 1):
    made = graph(ids=np.full((samples, 1), ids), **cache)
    return made["logits"], {name: made[GIVEN[name]] for name in CACHES}


def begun(samples: int = 1, past: int = 5) -> dict[str, np.ndarray]:
    made = calls(past=past, samples=samples)
    return {name: made[name] for name in CACHES}


@pytest.mark.parametrize("samples", [1, 3])
def test_a_loop_is_as_that_of_the_plain_graph(graphs, samples):
    ours, theirs = begun(samples), begun(samples)
    for token in range(ROOM + 10):  # past one capacity
        expected, theirs = stepped(graphs["plain"], token, theirs, samples)
        found, ours = stepped(graphs["shared"], token, ours, samples)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.array_equal(ours["past_key"], theirs["past_key"])


def test_a_text_that_goes_on_is_not_copied(graphs):
    _, first = stepped(graphs["shared"], 1, begun())
    _, second = stepped(graphs["shared"], 2, first)
    for name in CACHES:
        assert np.shares_memory(first[name], second[name])


def test_texts_that_part_do_not_change_each_other(graphs):
    shared = graphs["shared"]
    _, stem = stepped(shared, 1, begun())
    _, one = stepped(shared, 2, stem)
    kept = one["past_key"].copy()
    _, other = stepped(shared, 3, stem)
    assert np.array_equal(one["past_key"], kept)
    assert not np.array_equal(one["past_key"][:, :, -1], other["past_key"][:, :, -1])
    cut = {name: array[:, :, :3] for name, array in one.items()}
    stepped(shared, 4, cut)
    assert np.array_equal(one["past_key"], kept)


def test_what_was_begun_anew_takes_the_same_buffer(graphs):
    _, stem = stepped(graphs["shared"], 1, begun())
    addresses = set()
    for token in (2, 3):
        _, made = stepped(graphs["shared"], token, stem)
        addresses.add(made["past_key"].__array_interface__["data"][0])
        del made
    assert len(addresses) == 1


def test_a_view_of_what_was_given_keeps_it_alive(graphs):
    _, stem = stepped(graphs["shared"], 1, begun())
    _, made = stepped(graphs["shared"], 2, stem)
    last = made["past_key"][:, :, -1]
    kept = last.copy()
    del made
    stepped(graphs["shared"], 3, stem)
    assert np.array_equal(last, kept)


def test_what_was_given_cannot_be_written_to(graphs):
    _, made = stepped(graphs["shared"], 1, begun())
    with pytest.raises(ValueError, match="read-only"):
        made["past_key"][:] = 0


def test_one_array_for_two_inputs_is_two_buffers(graphs):
    _, made = stepped(graphs["shared"], 1, begun())
    same = dict.fromkeys(CACHES, made["past_key"])
    expected, _ = stepped(graphs["plain"], 2, {name: one.copy() for name, one in same.items()})
    found, _ = stepped(graphs["shared"], 2, same)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_samples_in_another_order_are_copied(graphs):
    _, made = stepped(graphs["shared"], 1, begun(3), 3)
    turned = {name: array[::-1] for name, array in made.items()}
    expected, _ = stepped(graphs["plain"], 2, {n: a.copy() for n, a in turned.items()}, 3)
    found, _ = stepped(graphs["shared"], 2, turned, 3)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_int8_takes_numbers_and_gives_integers(graphs):
    logits, made = stepped(graphs["int8"], 1, begun())
    assert made["past_key"].dtype == np.int8
    expected, _ = stepped(graphs["plain"], 1, begun())
    assert np.abs(logits - expected).max() <= 0.03 * np.abs(expected).max()
    again, later = stepped(graphs["int8"], 2, made)
    assert np.shares_memory(made["past_key"], later["past_key"])
    assert np.isfinite(again).all()


@pytest.mark.parametrize(
    "note", ["{", "[]", '{"tokens": 3}', '{"tokens": ["x", 0], "outputs": {}, "past": 1}']
)
def test_a_note_that_nothing_here_wrote_is_refused(note):
    with pytest.raises(CheckpointError, match="no note of shared buffers"):
        read({NOTE: note})


def test_a_note_of_another_graph_is_refused(tmp_path):
    made = decoder()
    note = SharedNote(("ids", 1), {"past_key": "present_key"}, "p", "t")
    made.metadata_props[NOTE] = written(note)
    save_model(made, tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match="has no seqlens_k, total_sequence_length"):
        opened("model", tmp_path / "model.onnx", 1)


def test_lengths_that_differ_are_refused(graphs):
    cache = begun()
    cache["past_value"] = cache["past_value"][:, :, :2]
    with pytest.raises(UsageError, match="all with as many tokens") as failed:
        stepped(graphs["shared"], 1, cache)
    assert isinstance(failed.value.__cause__, DataError)
