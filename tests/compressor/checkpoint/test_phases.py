"""One token and a prompt of a decoder with a cache: how they are found, and what has neither."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from compressor.capture.inputs import Inputs, sized
from compressor.checkpoint.phases import CONTEXT, Call, phases_of
from compressor.errors import RecipeError
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs

WIDTH = 8


def decoder(ids: str = "int64[n,s] ids", mask: str = "") -> ir.Model:
    """Attention over a cache that the new tokens are joined to."""
    return model(
        f"""g ({ids}, float[n,p,8] past_key{mask}, float[60,8] table)
            => (float[n,t,8] logits, float[n,t,8] present_key)
        {{
            x = Gather<axis=0>(table, ids)
            present_key = Concat<axis=1>(past_key, x)
            turned = Transpose<perm=[0,2,1]>(present_key)
            a = MatMul(x, turned)
            w = Softmax<axis=-1>(a)
            logits = MatMul(w, present_key)
        }}""",
        table=[60, WIDTH],
    )  # fmt: skip


def merged() -> ir.Model:
    """Two branches: one that reads the cache and one that does not."""
    return model(
        """g (int64[n,s] ids, float[n,p,8] past_key, bool[1] use_cache, float[60,8] table)
            => (float[n,s,8] logits, float[n,t,8] present_key)
        {
            flag = Squeeze(use_cache)
            x = Gather<axis=0>(table, ids)
            logits, present_key = If (flag) <
                then_branch = cached () => (float[n,s,8] y, float[n,t,8] k) {
                    y = Identity(x)
                    k = Concat<axis=1>(past_key, x)
                },
                else_branch = fresh () => (float[n,s,8] z, float[n,t,8] l) {
                    z = Identity(x)
                    l = Identity(x)
                }
            >
        }""",
        table=[60, WIDTH],
    )


def inputs(graph: ir.Model, **sizes: int) -> Inputs:
    found = sized(input_specs(graph), {})
    return found.resized(sizes)


def shapes(graph: ir.Model, call: Call, given: Inputs) -> list[tuple[int, ...]]:
    return [a.shape for a in open_session(graph).run(None, call.arrays(given.of(1)))]


def test_one_token_and_a_prompt_are_timed_of_a_cache_that_grows() -> None:
    graph = decoder()
    found = phases_of(graph, inputs(graph))
    assert found.names == ("decode", "prefill")
    assert found.calls["decode"].sizes == {"p": CONTEXT, "s": 1}
    assert found.calls["prefill"].sizes == {"p": 0, "s": CONTEXT}
    assert found.prompt == CONTEXT
    assert shapes(graph, found.calls["decode"], inputs(graph))[1] == (1, CONTEXT + 1, WIDTH)


def test_the_data_tells_how_much_context_there_is() -> None:
    graph = decoder()
    rng = np.random.default_rng(0)
    for new, cached in ((1, 47), (48, 0), (24, 24)):
        samples = {
            "ids": rng.integers(0, 60, (8, new)),
            "past_key": np.zeros((8, cached, WIDTH), np.float32),
        }
        found = phases_of(graph, sized(input_specs(graph), samples))
        assert found.calls["decode"].sizes == {"p": 48, "s": 1}
        assert found.calls["prefill"].sizes == {"p": 0, "s": 48}


def test_what_is_asked_for_goes_first() -> None:
    graph = decoder()
    found = phases_of(graph, inputs(graph), first="prefill", context=20)
    assert found.names == ("prefill", "decode")
    assert found.calls["decode"].sizes["p"] == 20


def test_a_context_that_does_not_run_is_refused_and_the_default_is_not_insisted_on() -> None:
    graph = model(
        """g (int64[n,s] ids, float[n,p,8] past_key, float[60,8] table, float[30,8] positions)
            => (float[n,s,8] logits, float[n,t,8] present_key)
        <int64[1] one = {1}>
        {
            x = Gather<axis=0>(table, ids)
            present_key = Concat<axis=1>(past_key, x)
            length = Shape<start=1, end=2>(present_key)
            last = Sub(length, one)
            position = Gather<axis=0>(positions, last)
            logits = Add(x, position)
        }""",
        table=[60, WIDTH], positions=[30, WIDTH],
    )  # fmt: skip
    given = inputs(graph, p=12, s=12)
    with pytest.raises(RecipeError, match="does not run with 40 tokens"):
        phases_of(graph, given, context=40)
    assert phases_of(graph, given).calls["decode"].sizes == {"p": 24, "s": 1}
    assert phases_of(graph, given, context=30).calls["decode"].sizes == {"p": 29, "s": 1}


def test_a_graph_of_one_token_has_no_prompt() -> None:
    graph = decoder("int64[n,1] ids")
    found = phases_of(graph, inputs(graph))
    assert found.names == ("decode",)
    assert "one at a time" in found.notices[0]


def test_each_branch_of_a_merged_decoder_has_its_phase() -> None:
    graph = merged()
    found = phases_of(graph, inputs(graph))
    assert found.calls["decode"].flags == {"use_cache": True}
    assert found.calls["prefill"].flags == {"use_cache": False}
    assert shapes(graph, found.calls["prefill"], inputs(graph))[1] == (1, CONTEXT, WIDTH)


def test_a_cache_of_the_encoder_does_not_count() -> None:
    graph = model(
        """g (int64[n,s] ids, float[n,p,8] past_key, float[n,e,8] past_value, float[60,8] table)
            => (float[n,s,8] logits, float[n,t,8] present_key, float[n,e,8] present_value)
        {
            x = Gather<axis=0>(table, ids)
            present_key = Concat<axis=1>(past_key, x)
            present_value = Identity(past_value)
            turned = Transpose<perm=[0,2,1]>(past_value)
            a = MatMul(x, turned)
            logits = MatMul(a, past_value)
        }""",
        table=[60, WIDTH],
    )  # fmt: skip
    found = phases_of(graph, inputs(graph, e=12))
    assert found.calls["decode"].sizes == {"p": CONTEXT, "s": 1}


def test_states_that_keep_their_size_are_timed_at_one_shape() -> None:
    graph = model(
        """g (float[n,s,8] x, float[n,p,8] cache_in) => (float[n,s,8] y, float[n,p,8] cache_out)
        {
            y = Relu(x)
            cache_out = Identity(cache_in)
        }"""
    )
    found = phases_of(graph, inputs(graph))
    assert found.names == (None,)
    assert found.notices == (
        "the cache (cache_in) keeps its size, so that one shape is timed: that of the inputs",
    )
    recurrent = model(
        "g (float[n,8] x, float[n,8] h) => (float[n,8] y, float[n,8] h_out)"
        "{ h_out = Tanh(h)\n y = Add(x, h_out) }"
    )
    assert phases_of(recurrent, inputs(recurrent)).notices == ()
