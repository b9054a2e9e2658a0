"""Layers of attention in a window and as a kernel, held against full matrices in numpy."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from compressor.attention.forms import form_named, self_attentions
from compressor.attention.rewriting import rewritten, why_not, with_attention
from compressor.errors import RecipeError
from compressor.graph.shapes import infer_shapes
from compressor.graph.tensors import Array, Arrays
from exporters.base import find_target

HEADS, WIDTH, SCALE = 2, 4, 0.5
TARGET = find_target("ort")
FULL = np.finfo(np.float32).min


def layer(mask: str = "", ahead: str = "", added: str = "", *, turned: bool = False) -> ir.Model:
    """Self-attention over rows of any number, with what prepares its mask.

    Turned, one Transpose makes the heads of keys and exchanges their axes.
    """
    keys = (
        f"k_t = Transpose<perm=[0,{'2,3,1' if turned else '1,3,2'}]>({'k_r' if turned else 'k_h'})"
    )
    apart = "\n".join(
        f"{n}_r = Reshape({n}, sizes)\n{n}_h = Transpose<perm=[0,2,1,3]>({n}_r)" for n in "qkv"
    )
    return infer_shapes(
        model(
            f"""g (float[n,t,{HEADS * WIDTH}] q, float[n,t,{HEADS * WIDTH}] k,
                   float[n,t,{HEADS * WIDTH}] v{f", {mask}" if mask else ""})
                => (float[n,t,{HEADS * WIDTH}] y)
            {{
                sizes = Constant<value_ints=[0,0,{HEADS},{WIDTH}]>()
                {apart}
                {ahead}
                {keys}
                d = MatMul(q_h, k_t)
                c = Constant<value=float {{{SCALE}}}>()
                p = Mul(d, c)
                {f"z = {added}" if added else ""}
                w = Softmax<axis=-1>({"z" if added else "p"})
                o = MatMul(w, v_h)
                o_t = Transpose<perm=[0,2,1,3]>(o)
                joined = Constant<value_ints=[0,0,{HEADS * WIDTH}]>()
                y = Reshape(o_t, joined)
            }}"""
        )
    )


EXPANDED = """m_f = Cast<to=1>(m)
    axes = Constant<value_ints=[1,2]>()
    m_4 = Unsqueeze(m_f, axes)
    one = Constant<value=float {1.0}>()
    m_n = Sub(one, m_4)
    least = Constant<value=float {-3.4028235e38}>()
    m_a = Mul(m_n, least)
    length = Shape<start=1,end=2>(q)
    ones = Constant<value_ints=[1,1]>()
    last = Constant<value_ints=[1]>()
    wanted = Concat<axis=0>(ones, length, last)
    m_e = Expand(m_a, wanted)"""
GRAPHS: dict[str, Callable[[], ir.Model]] = {
    "none": layer,
    "turned": lambda: layer(turned=True),
    "keys": lambda: layer("float[n,1,1,t] m", added="Add(p, m)"),
    "expanded": lambda: layer("int64[n,t] m", EXPANDED, "Add(p, m_e)"),
    "square": lambda: layer("float[n,1,t,t] m", added="Add(p, m)"),
    "causal": lambda: layer(
        "bool[t,t] m", "least = Constant<value=float {-1e9}>()", "Where(m, p, least)"
    ),
}


def feeds_of(kind: str, tokens: int) -> tuple[dict[str, Array], Array]:
    """Inputs, and what they add to the scores: [2, 1, tokens, tokens]."""
    rng = np.random.default_rng(tokens)
    feeds: dict[str, Array] = {
        name: rng.standard_normal((2, tokens, HEADS * WIDTH)).astype(np.float32) for name in "qkv"
    }
    seen = rng.random((2, tokens)) > 0.3
    seen[:, 0] = True
    keys = np.where(seen, 0.0, FULL).astype(np.float32)[:, None, None, :]
    added = np.zeros((2, 1, tokens, tokens))
    if kind == "keys":
        feeds["m"], added = keys, added + keys
    elif kind == "expanded":
        feeds["m"], added = seen.astype(np.int64), added + keys
    elif kind == "square":
        feeds["m"] = rng.standard_normal(added.shape).astype(np.float32)
        added = added + feeds["m"]
    elif kind == "causal":
        feeds["m"] = np.tril(np.ones((tokens, tokens), bool))
        added = added + np.where(feeds["m"], 0.0, -1e9)
    return feeds, np.maximum(added, -1e9)


def heads_of(x: Array) -> Array:
    return x.reshape(*x.shape[:2], HEADS, WIDTH).transpose(0, 2, 1, 3).astype(np.float64)


def full(feeds: Arrays, added: Array) -> Array:
    """Softmax attention over all tokens."""
    q, k, v = (heads_of(feeds[name]) for name in "qkv")
    scores = SCALE * q @ k.transpose(0, 1, 3, 2) + added
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    made = raised / raised.sum(-1, keepdims=True) @ v
    return made.transpose(0, 2, 1, 3).reshape(2, -1, HEADS * WIDTH)


def kernel(feeds: Arrays, added: Array) -> Array:
    """Σ φ(q) φ(k) v / Σ φ(q) φ(k), from all pairs."""
    q, k, v = (heads_of(feeds[name]) for name in "qkv")
    q, k = (np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (q * 0.5**0.5, k * 0.5**0.5))
    pairs = (q @ k.transpose(0, 1, 3, 2)) * np.exp(added)
    made = pairs / pairs.sum(-1, keepdims=True) @ v
    return made.transpose(0, 2, 1, 3).reshape(2, -1, HEADS * WIDTH)


def run(made: ir.Model, feeds: Arrays) -> Array:
    with TARGET.open(made) as runner:
        return runner.run(feeds)["y"]


def window(tokens: int, before: int, after: int) -> Array:
    apart = np.arange(tokens)[None, :] - np.arange(tokens)[:, None]
    return np.where((apart >= -before) & (apart <= after), 0.0, -1e9)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("form", ["window:16", "window:80", "causal-window:40"])
def test_a_window_hides_what_lies_outside_at_any_length(kind: str, form: str) -> None:
    made, masks = rewritten(GRAPHS[kind](), _named(kind, form))
    found = form_named(form)
    for tokens in (1, 31, 32, 100, 129):
        feeds, added = feeds_of(kind, tokens)
        seen = np.maximum(added + window(tokens, found.before, found.after), -1e9)
        sure = (seen > -1e8).any(-1)[:, 0]  # others see nothing, of which the mean says nothing
        expected, result = full(feeds, seen), run(made, feeds)
        assert np.isfinite(result).all()
        np.testing.assert_allclose(result[sure], expected[sure], atol=2e-5)
    assert list(masks) == list(_named(kind, form))


def _named(kind: str, form: str) -> dict[str, str]:
    return dict.fromkeys(self_attentions(GRAPHS[kind]()), form)


@pytest.mark.parametrize("kind", ["none", "turned", "keys", "expanded"])
def test_linear_attention_is_its_kernel_over_the_keys_that_count(kind: str) -> None:
    made = with_attention(GRAPHS[kind](), _named(kind, "linear"))
    assert not any(node.op_type == "Softmax" for node in made.graph)
    for tokens in (1, 50):
        feeds, added = feeds_of(kind, tokens)
        np.testing.assert_allclose(run(made, feeds), kernel(feeds, added), atol=2e-5)


def test_no_value_of_a_window_is_of_all_pairs() -> None:
    """Of a mask of keys nothing grows with the square of the tokens, even where it was expanded."""
    from compressor.graph.concrete import concrete_shapes

    for kind in ("none", "keys", "expanded"):
        made = with_attention(GRAPHS[kind](), _named(kind, "window:16"))
        for tokens in (256, 512):
            shapes = concrete_shapes(made, feeds_of(kind, tokens)[0], 2).shapes
            assert max(int(np.prod(shape)) for shape in shapes.values()) <= 2 * 2 * 3 * 32 * tokens


@pytest.mark.parametrize("kind", ["square", "causal"])
def test_linear_attention_under_a_mask_by_queries_is_refused_by_name(kind: str) -> None:
    made = GRAPHS[kind]()
    ((name, core),) = self_attentions(made).items()
    assert "depends on the query" in (why_not(made, core, form_named("linear")) or "")
    with pytest.raises(RecipeError, match=r"the plan makes .Softmax_[0-9]+. linear attention"):
        with_attention(made, {name: "linear"})


def test_a_layer_that_is_not_there_and_a_form_that_is_not_built_are_refused() -> None:
    with pytest.raises(RecipeError, match="the graph has no such layer"):
        with_attention(layer(), {"other": "window:16"})
    with pytest.raises(RecipeError, match="not built causal"):
        with_attention(layer(), {"w": "causal-linear"})


def test_keys_that_are_not_the_queries_tokens_are_left_alone() -> None:
    """Keys of another sequence, or of a cache beside new ones."""
    made = layer()
    for name in "kv":
        value = next(one for one in made.graph.inputs if one.name == name)
        value.shape = ir.Shape(["n", "s", HEADS * WIDTH])
    for node in made.graph:
        for one in node.outputs:
            one.shape = None
    made = infer_shapes(made)
    (core,) = self_attentions(made).values()
    assert "as many queries as keys" in (why_not(made, core, form_named("window:16")) or "")
