"""A decoder of one layer whose cache comes in and goes out, for tests of several packages."""

from typing import Literal

import numpy as np
import onnx_ir as ir
from graphs import model

TOKENS, WIDTH, HEADS, SIZE = 300, 64, 2, 32


def decoder(
    *,
    grouped: bool = False,
    tied: bool = False,
    behind: bool = False,
    guarded: bool = False,
    merged: bool = False,
    mask: Literal["sizes", "input"] | None = None,
) -> ir.Model:
    """Attention over a cache.

    Args:
        grouped: One head of keys for both of queries.
        tied: The table is the weight of the last product, too.
        behind: Scores are scaled behind their product and not in front.
        guarded: What is no number behind the softmax becomes 0.
        merged: Keys are transposed with batch and heads as one axis.
        mask: What comes later is hidden by what follows from sizes; or padding is, by an input.
    """
    heads = 1 if grouped else HEADS
    kv = heads * SIZE
    spread = "group = Constant<value_ints=[1,2,1,1]>()" if grouped else ""
    keys, values = ("present_key", "present_value")
    if grouped:
        spread += """
            many_k = Expand(present_key, group)
            many_v = Expand(present_value, group)"""
        keys, values = "many_k", "many_v"
    turned = f"turned = Transpose<perm=[0,1,3,2]>({keys})"
    scores = f"{turned} scaled = Mul(turned, scale) scores = MatMul(q_heads, scaled)"
    if merged:
        scores = f"""length_k = Shape<start=2,end=3>(present_key)
            minus = Constant<value_ints=[-1]>()
            width = Constant<value_ints=[{SIZE}]>()
            two = Constant<value_ints=[{HEADS}]>()
            flat_shape = Concat<axis=0>(minus, length_k, width)
            apart_shape = Concat<axis=0>(minus, two, width, length_k)
            flat_k = Reshape(present_key, flat_shape)
            flat_turned = Transpose<perm=[0,2,1]>(flat_k)
            apart_k = Reshape(flat_turned, apart_shape)
            scaled = Mul(apart_k, scale)
            scores = MatMul(q_heads, scaled)"""
    if behind:
        scores = f"{turned} product = MatMul(q_heads, turned) scores = Mul(product, scale)"
    if mask is not None:
        scores = f"{_bias(mask)} {scores.replace('scores =', 'open =')} scores = Add(open, bias)"
    padding = ", int64[n,t] padding" if mask == "input" else ""
    guard = "p = Softmax<axis=-1>(scores)"
    if guarded:
        guard = """none = Constant<value_float=0.0>()
            raw = Softmax<axis=-1>(scores)
            broken = IsNaN(raw)
            p = Where(broken, none, raw)"""
    made = model(
        f"""g (int64[n,s] ids{padding},
              float[n,{heads},p,{SIZE}] past_key, float[n,{heads},p,{SIZE}] past_value,
              float[{TOKENS},{WIDTH}] table, float[{WIDTH},{WIDTH}] wq, float[{WIDTH},{kv}] wk,
              float[{WIDTH},{kv}] wv, float[{WIDTH},{WIDTH}] wo, float[{WIDTH},{TOKENS}] head)
            => (float[n,s,{TOKENS}] logits, float[n,{heads},t,{SIZE}] present_key,
                float[n,{heads},t,{SIZE}] present_value)
        <float[n,{HEADS},{SIZE},t] apart_k> {{
            scale = Constant<value_float=0.17677669>()
            x = Gather<axis=0>(table, ids)
            q = MatMul(x, wq)
            k = MatMul(x, wk)
            v = MatMul(x, wv)
            by_head = Constant<value_ints=[0,0,{HEADS},{SIZE}]>()
            by_group = Constant<value_ints=[0,0,{heads},{SIZE}]>()
            q_apart = Reshape(q, by_head)
            k_apart = Reshape(k, by_group)
            v_apart = Reshape(v, by_group)
            q_heads = Transpose<perm=[0,2,1,3]>(q_apart)
            k_heads = Transpose<perm=[0,2,1,3]>(k_apart)
            v_heads = Transpose<perm=[0,2,1,3]>(v_apart)
            present_key = Concat<axis=2>(past_key, k_heads)
            present_value = Concat<axis=-2>(past_value, v_heads)
            {spread}
            {scores}
            {guard}
            mixed = MatMul(p, {values})
            together = Transpose<perm=[0,2,1,3]>(mixed)
            flat = Constant<value_ints=[0,0,{WIDTH}]>()
            joined = Reshape(together, flat)
            out = MatMul(joined, wo)
            length = Shape<start=2,end=3>(past_key)
            numbers = Cast<to=1>(length)
            share = Constant<value_float=0.01>()
            place = Mul(numbers, share)
            placed = Add(x, place)
            hidden = Add(placed, out)
            logits = MatMul(hidden, head)
        }}""",
        table=[TOKENS, WIDTH], wq=[WIDTH, WIDTH], wk=[WIDTH, kv], wv=[WIDTH, kv],
        wo=[WIDTH, WIDTH], head=[WIDTH, TOKENS],
    )  # fmt: skip
    if tied:
        table = made.graph.initializers["table"].const_value
        assert table is not None
        made.graph.initializers["head"].const_value = ir.tensor(table.numpy().T.copy(), name="head")
    return made


def _bias(mask: str) -> str:
    """0 where a token is seen, and -1e9 elsewhere."""
    sizes = """before = Shape<start=2,end=3>(past_key)
            coming = Shape<start=1,end=2>(ids)
            none_yet = Constant<value_int=0>()
            one_more = Constant<value_int=1>()
            last_axis = Constant<value_ints=[1]>()
            whole = Shape<start=2,end=3>(present_key)
            whole_number = Squeeze(whole)
            columns = Range(none_yet, whole_number, one_more)
            coming_number = Squeeze(coming)
            steps = Range(none_yet, coming_number, one_more)
            places = Add(steps, before)
            rows = Unsqueeze(places, last_axis)
            seen = LessOrEqual(columns, rows)"""
    if mask == "input":
        sizes += """
            middle = Constant<value_ints=[1,2]>()
            kept_whole = Cast<to=9>(padding)
            kept = Unsqueeze(kept_whole, middle)
            shown = And(seen, kept)"""
    last = "seen" if mask == "sizes" else "shown"
    return f"""{sizes}
            nothing = Constant<value_float=0.0>()
            gone = Constant<value_float=-1e9>()
            bias = Where({last}, nothing, gone)"""


def calls(
    *, heads: int = HEADS, past: int = 9, new: int = 3, seed: int = 0, samples: int = 4
) -> dict[str, np.ndarray]:
    """Tokens behind a cache."""
    rng = np.random.default_rng(seed)
    shape = (samples, heads, past, SIZE)
    return {
        "ids": rng.integers(0, TOKENS, (samples, new)),
        "past_key": rng.standard_normal(shape).astype(np.float32),
        "past_value": rng.standard_normal(shape).astype(np.float32),
    }
