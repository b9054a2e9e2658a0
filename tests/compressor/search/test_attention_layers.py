"""Layers of attention raced by themselves: alike ones once, against what would ship."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from seams import Clock, always, session_of

from compressor import Recipe
from compressor.graph.shapes import infer_shapes
from compressor.recipe.attention import parse_attention
from compressor.search.attention_layers import Layers, TimedLayer

TOKENS = 64
FEEDS = {
    "x": np.random.default_rng(0).standard_normal((1, TOKENS, 8)).astype(np.float32),
    "m": np.tril(np.ones((TOKENS, TOKENS), bool)),
}


def layer(number: int, x: str, masked: str) -> str:
    made = "".join(
        f"{n}{number} = MatMul({x}, w{n})\n{n}{number}_r = Reshape({n}{number}, sizes)\n"
        f"{n}{number}_h = Transpose<perm=[0,2,1,3]>({n}{number}_r)\n"
        for n in "qkv"
    )
    return f"""{made}
        k{number}_t = Transpose<perm=[0,1,3,2]>(k{number}_h)
        d{number} = MatMul(q{number}_h, k{number}_t)
        {f"z{number} = {masked.format(number)}" if masked else f"z{number} = Mul(d{number}, c)"}
        s{number} = Softmax<axis=-1>(z{number})
        o{number} = MatMul(s{number}, v{number}_h)
        t{number} = Transpose<perm=[0,2,1,3]>(o{number})
        y{number} = Reshape(t{number}, joined)"""


def two_layers(masked: str = "") -> ir.Model:
    return infer_shapes(
        model(
            f"""g (float[n,t,8] x, bool[t,t] m, float[8,8] wq, float[8,8] wk, float[8,8] wv)
                => (float[n,t,8] y1)
            {{
                sizes = Constant<value_ints=[0,0,2,4]>()
                joined = Constant<value_ints=[0,0,8]>()
                c = Constant<value=float {{0.5}}>()
                least = Constant<value=float {{-1e9}}>()
                {layer(0, "x", masked)}
                {layer(1, "y0", masked)}
            }}""",
            wq=[8, 8],
            wk=[8, 8],
            wv=[8, 8],
        )
    )


def timed(
    made: ir.Model, asked: str, ratio: float | None = 1.5, exact: str | None = None
) -> tuple[list[TimedLayer], Clock]:
    clock = Clock(always(ratio))
    session = session_of(made, Recipe(), clock)
    layers = Layers(session, made, {}, parse_attention(asked), FEEDS)
    if exact is not None:
        layers = Layers(session, made, dict.fromkeys(layers.cores, exact), layers.asked, FEEDS)
    return list(layers.timed()), clock


MASKED = "Where(m, d{0}, least)"


def test_layers_alike_are_raced_once_at_the_length_of_the_data() -> None:
    found, clock = timed(two_layers(), "window:16")
    assert len(clock.races) == 1
    assert [one.pays for one in found] == [True, True]
    assert [one.tokens for one in found] == [TOKENS, TOKENS]
    race = clock.races[0]
    assert {name: array.shape for name, array in race.feeds.items()} == {
        f"{n}0": (1, TOKENS, 8) for n in "qkv"
    }
    assert "1.50" in found[0].reason


def test_a_layer_is_raced_in_the_exact_form_that_would_ship() -> None:
    _, clock = timed(two_layers(), "window:16", exact="multi-head")
    assert [node.op_type for node in clock.races[0].baseline.graph] == ["MultiHeadAttention"]


def test_a_mask_that_hides_what_comes_later_makes_the_window_causal() -> None:
    found, clock = timed(two_layers(MASKED), "window:16")
    assert {one.form.name for one in found if one.form} == {"causal-window:16"}
    race = clock.races[0]
    stored = [graph.graph.initializers for graph in (race.baseline, race.challenger)]
    assert all(any(name.endswith("_stored") for name in one) for one in stored), "as it is fed"


@pytest.mark.parametrize("asked", ["linear", "window:64"])
def test_what_has_no_form_is_not_raced_and_said(asked: str) -> None:
    found, clock = timed(two_layers(MASKED), asked)
    assert not clock.races
    assert all(one.reason and not one.pays for one in found)


def test_a_machine_too_busy_to_tell_leaves_layers() -> None:
    found, _ = timed(two_layers(), "linear", ratio=None)
    assert found[0].reason == "it could not be timed"
    assert not found[0].pays
