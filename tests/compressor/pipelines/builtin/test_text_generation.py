"""Text generation: every form of a decoder gives the tokens that it gives without a cache."""

from pathlib import Path

import numpy as np
import pytest
from attention import FLOAT, VOCABULARY, Attention, decoder

from compressor.errors import DataError, RecipeError, UsageError
from compressor.pipelines.builtin import find

HALF = np.dtype(np.float16)
PROMPTS = np.random.default_rng(0).integers(0, VOCABULARY, (12, 7))


def generation(prompts: object = PROMPTS, **options: object):
    return find("text-generation")({"tokens": 9, **options}, calibration=prompts)


@pytest.mark.parametrize(
    ("network", "form"),
    [
        ({}, {}),
        ({}, {"cached": False}),
        ({}, {"cached": False, "mask": False, "positions": False}),
        ({}, {"cached": False, "length": 32}),
        ({}, {"positions": False}),
        ({}, {"mask": False, "positions": False, "ids": "tokens"}),
        ({}, {"mask": False, "positions": False, "ids": "strange"}),
        ({}, {"merged": True}),
        ({}, {"batch": 1}),
        ({}, {"batch": 3}),
        ({}, {"batch": None, "length": None}),
        ({}, {"batch": "B", "length": "T"}),
        ({}, {"length": 1}),
        ({"kv_heads": 1}, {}),
        ({"kv_heads": 2}, {"merged": True}),
    ],
)
def test_every_form_of_a_decoder_gives_the_same_tokens(network, form):
    net = Attention(**network)
    loop = generation()
    found = loop({"model": decoder(net, **form)}, seed=4, count=2)
    assert found["tokens"].shape == (2, 9)
    assert found["tokens"].dtype == np.int64
    assert found["logits"].shape == (2, 9, VOCABULARY)
    for row, seed in zip(found["tokens"], (4, 5), strict=True):
        np.testing.assert_array_equal(row, net.greedy(loop.samples.of(seed)["input"], 9))
    np.testing.assert_array_equal(found["logits"].argmax(-1), found["tokens"])


def test_a_cache_in_half_is_fed_back_in_half():
    net = Attention()
    found = generation()({"model": decoder(net, cache=HALF)}, 1, 1)
    exact = generation()({"model": decoder(net)}, 1, 1)
    np.testing.assert_allclose(found["logits"][:, 0], exact["logits"][:, 0], rtol=1e-5, atol=1e-5)


def test_two_graphs_are_one_decoder():
    net = Attention()
    first = decoder(net, past=False, name="decoder")
    later = decoder(net, name="decoder_with_past")
    found = generation()({"decoder": first, "decoder_with_past": later}, 0, 1)["tokens"]
    np.testing.assert_array_equal(found, generation()({"model": decoder(net)}, 0, 1)["tokens"])
    assert (first.calls, later.calls) == (1, 8)


def test_a_unit_is_that_of_its_seed_however_many_are_made():
    graph = {"model": decoder(Attention())}
    loop = find("text-generation")({"tokens": 5, "temperature": 1.5})
    together = loop(graph, 3, 3)["tokens"]
    alone = [loop(graph, seed, 1)["tokens"][0] for seed in (3, 4, 5)]
    np.testing.assert_array_equal(together, alone)
    assert len({tuple(row) for row in together}) == 3
    assert "drawn at random" in loop.notices[0]


def test_a_text_ends_where_its_end_is_generated():
    net = Attention()
    plain = generation()({"model": decoder(net)}, 0, 1)["tokens"][0]
    end = int(plain[3])
    place = int(np.flatnonzero(plain == end)[0])
    found = generation(end=end)({"model": decoder(net)}, 0, 1)
    assert (found["tokens"][0, place:] == end).all()
    np.testing.assert_array_equal(found["tokens"][0, :place], plain[:place])
    assert not found["logits"][0, place + 1 :].any()


def test_teacher_forcing_scores_the_texts_of_the_data():
    net = Attention()
    loop = generation(np.tile(PROMPTS, 2), teacher_forcing=True, prompt=4)
    found = loop({"model": decoder(net)}, 2, 1)
    text = loop.samples.of(2)["input"]
    np.testing.assert_array_equal(found["target"][0], text[4:13])
    nothing = np.zeros((1, 4, 0, 4), np.float32)
    logits, *_ = net(text[np.newaxis], (nothing, nothing))
    np.testing.assert_allclose(found["logits"][0], logits[0, 3:12], rtol=1e-4, atol=1e-4)
    assert loop.judged is None
    with pytest.raises(DataError, match="teacher forcing needs 9"):
        generation(teacher_forcing=True)({"model": decoder(net)}, 2, 1)


def test_padding_of_a_prompt_is_left_out():
    mask = np.ones_like(PROMPTS)
    mask[:, :3] = 0
    padded = {"input_ids": PROMPTS, "attention_mask": mask}
    graph = {"model": decoder(Attention())}
    cut = generation(PROMPTS[:, 3:])(graph, 0, 1)["tokens"]
    np.testing.assert_array_equal(generation(padded)(graph, 0, 1)["tokens"], cut)


def test_text_becomes_tokens_by_a_tokenizer(tmp_path: Path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {"a": 3, "b": 5, "c": 7, "?": 0}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "prompts.txt").write_text("a b c\n\nc a\n")
    loop = generation(str(tmp_path / "prompts.txt"), tokenizer=str(tmp_path / "tokenizer.json"))
    found = sorted(loop.samples.of(seed)["input_ids"].tolist() for seed in (0, 1))
    assert found == [[3, 5, 7], [7, 3]]
    written = loop({"model": decoder(Attention())}, 0, 2)
    assert written["text"][0] == made.decode(written["tokens"][0].tolist())
    with pytest.raises(DataError, match="nothing says how it becomes tokens"):
        generation(str(tmp_path / "prompts.txt")).samples.of(0)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        generation(["a b"], tokenizer=tmp_path / "bad.json").samples.of(0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"token": 3}, "has no option 'token'"),
        ({"tokens": "many"}, "option tokens: .* found 'many'"),
        ({"tokens": 0}, "option tokens"),
        ({"top_p": 1.5}, "option top_p"),
    ],
)
def test_an_option_that_is_wrong_is_told(options, words: str):
    with pytest.raises(RecipeError, match=words) as error:
        find("text-generation")(options)
    assert error.value.hint


def test_graphs_are_told_by_name():
    graph = decoder(Attention())
    with pytest.raises(UsageError, match="calls no graph 'unet'") as error:
        generation()({"unet": graph}, 0, 1)
    assert "'model' (or 'decoder'" in error.value.hint
    with pytest.raises(UsageError, match="needs a graph 'model'"):
        generation()({"with_past": graph}, 0, 1)
    with pytest.raises(UsageError, match="are both its model"):
        generation()({"model": graph, "decoder": graph}, 0, 1)
    assert find("text-generation").main(["decoder", "decoder_with_past"]) == "decoder"


def test_a_decoder_that_cannot_be_fed_is_told():
    def needing(name: str, dtype: np.dtype, shape: tuple[object, ...]):
        graph = decoder(Attention())
        from compressor.graph.tensors import TensorSpec
        from compressor.pipelines.calls import GraphCall

        specs = [*graph.known.inputs, TensorSpec(name, dtype, shape)]
        return {"model": GraphCall("model", specs, dict)}

    with pytest.raises(UsageError, match="does not know what graph 'model' takes as 'images'"):
        generation()(needing("images", FLOAT, ("batch", 3, 8, 8)), 0, 1)
    with pytest.raises(UsageError, match=r"'past_key_values.1.key' .* a fixed size"):
        generation()(needing("past_key_values.1.key", FLOAT, (1, 4, 16, 4)), 0, 1)
    with pytest.raises(UsageError, match="2 open sizes"):
        generation()(needing("past_key_values.1.key", FLOAT, ("batch", "heads", "past", 4)), 0, 1)
    with pytest.raises(UsageError, match=r"returns nothing that becomes 'past_key_values.1.key'"):
        graph = decoder(Attention())
        from compressor.graph.tensors import TensorSpec
        from compressor.pipelines.calls import GraphCall

        specs = [*graph.known.inputs]
        specs.append(TensorSpec("past_key_values.1.key", FLOAT, ("batch_size", 4, "past", 4)))
        run = lambda feeds: dict(graph(**{k: v for k, v in feeds.items() if ".1." not in k}))  # noqa: E731
        generation()({"model": GraphCall("model", specs, run)}, 0, 1)


def test_the_tokens_are_those_of_transformers(tmp_path: Path):
    """A Llama with grouped heads, as `generate` of its authors goes on with a prompt."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from compressor.graph.tensors import TensorSpec
    from compressor.pipelines.calls import GraphCall, signature_of

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    names = [f"past_key_values.{i}.{kind}" for i in range(2) for kind in ("key", "value")]
    ids = [TensorSpec(n, np.dtype(np.int64), ("batch", "n")) for n in ("input_ids", "position_ids")]
    mask = [TensorSpec("attention_mask", np.dtype(np.int64), ("batch", "past + n"))]
    caches = [TensorSpec(n, FLOAT, ("batch", 2, "past", 8)) for n in names]
    outputs = [TensorSpec("logits", FLOAT, ("batch", "n", 50))]

    def run(feeds):
        given = {n: torch.from_numpy(a) for n, a in feeds.items() if n not in names}
        cache = transformers.DynamicCache()
        for layer in range(2):
            key, value = (
                torch.from_numpy(feeds[f"past_key_values.{layer}.{k}"]) for k in ("key", "value")
            )
            cache.update(key, value, layer)
        with torch.no_grad():
            made = model(**given, past_key_values=cache, use_cache=True)
        found = {"logits": made.logits.numpy()}
        for layer, one in enumerate(made.past_key_values.layers):
            found |= {
                f"present.{layer}.key": one.keys.numpy(),
                f"present.{layer}.value": one.values.numpy(),
            }
        return found

    specs = [*ids, *mask, *caches]
    graph = GraphCall("model", specs, run, signature_of(specs, outputs))
    prompt = PROMPTS[:1]
    found = generation(prompt, tokens=12)({"model": graph}, 0, 1)["tokens"]
    wanted = model.generate(
        torch.from_numpy(prompt),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    np.testing.assert_array_equal(found[0], wanted[0, prompt.shape[1] :].numpy())
