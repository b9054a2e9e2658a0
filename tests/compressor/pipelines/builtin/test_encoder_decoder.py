"""Sequence to sequence: every form of a decoder gives the tokens that it gives without a cache."""

import numpy as np
import pytest
from attention import VOCABULARY, WIDTH, Attention, decoder, encoder

from compressor.errors import DataError, UsageError
from compressor.graph.tensors import TensorSpec
from compressor.pipelines.builtin import find
from compressor.pipelines.calls import GraphCall

TEXTS = np.random.default_rng(0).integers(0, VOCABULARY, (6, 5))


def wanted(net: Attention, hidden: np.ndarray, start: list[int], count: int) -> np.ndarray:
    return net.greedy(np.array(start), count, (net.split(hidden, "ck"), net.split(hidden, "cv")))


def forms(net: Attention) -> dict[str, dict[str, GraphCall]]:
    cached = decoder(net, cross="cache", name="decoder_with_past")
    first = decoder(net, cross="cache", past=False, name="decoder")
    return {
        "merged": {"decoder": decoder(net, cross="cache", merged=True)},
        "two graphs": {"decoder": first, "decoder_with_past": cached},
        "own cache": {"decoder": decoder(net, cross="states")},
        "no cache": {"decoder": decoder(net, cross="states", cached=False)},
        "one head": {"decoder": decoder(Attention(kv_heads=1), cross="cache", merged=True)},
    }


@pytest.mark.parametrize("form", forms(Attention()))
def test_every_form_of_a_decoder_gives_the_same_tokens(form: str):
    net = Attention(kv_heads=1 if form == "one head" else 4)
    loop = find("encoder-decoder")({"tokens": 8, "start": "2,5"}, calibration=TEXTS)
    source = encoder(net)
    graphs = {"encoder": source, **forms(net)[form]}
    found = loop(graphs, 1, 2)
    for row, seed in zip(found["tokens"], (1, 2), strict=True):
        hidden = net.weights["embed"][loop.samples.of(seed)["input"]][np.newaxis]
        np.testing.assert_array_equal(row, wanted(net, hidden, [2, 5], 8))
    assert source.calls == 2
    assert found["logits"].shape == (2, 8, VOCABULARY)


def test_an_encoder_of_features_is_fed_the_data_or_what_is_drawn():
    net = Attention()
    spec = TensorSpec("input_features", np.dtype(np.float32), ("batch", 6, WIDTH))
    source = GraphCall("encoder", (spec,), lambda feeds: {"hidden": feeds["input_features"]})
    graphs = {"encoder": source, **forms(net)["merged"]}
    data = np.random.default_rng(1).standard_normal((4, 6, WIDTH)).astype(np.float32)
    loop = find("encoder-decoder")({"tokens": 5}, calibration={"input_features": data})
    found = loop(graphs, 0, 1)["tokens"][0]
    hidden = loop.samples.of(0)["input_features"][np.newaxis]
    np.testing.assert_array_equal(found, wanted(net, hidden, [0], 5))
    blind = find("encoder-decoder")({"tokens": 5})
    assert blind(graphs, 0, 1)["tokens"].shape == (1, 5)
    assert "drawn at random" in blind.notices[0]


def test_an_encoder_of_a_fixed_length_is_filled_up():
    net = Attention()
    names = ("input_ids", "attention_mask")
    specs = [TensorSpec(name, np.dtype(np.int64), (1, 9)) for name in names]
    inner = encoder(net)
    source = GraphCall("encoder", specs, lambda feeds: dict(inner(**feeds)))
    loop = find("encoder-decoder")({"tokens": 5}, calibration=TEXTS)
    found = loop({"encoder": source, **forms(net)["merged"]}, 0, 1)["tokens"][0]
    hidden = net.weights["embed"][loop.samples.of(0)["input"]]
    padded = np.concatenate([hidden, np.zeros((4, WIDTH), np.float32)])[np.newaxis]
    np.testing.assert_array_equal(found, wanted(net, padded, [0], 5))


def test_what_is_missing_is_told():
    net = Attention()
    graphs = {"encoder": encoder(net), "decoder": decoder(net)}
    with pytest.raises(UsageError, match="takes nothing of what the encoder makes"):
        find("encoder-decoder")(calibration=TEXTS)(graphs, 0, 1)
    with pytest.raises(UsageError, match="needs a graph 'encoder'"):
        find("encoder-decoder")(calibration=TEXTS)({"decoder": decoder(net)}, 0, 1)
    with pytest.raises(DataError, match="expected tokens"):
        find("encoder-decoder")(calibration=TEXTS / 2)({**graphs, **forms(net)["merged"]}, 0, 1)
