"""A decoder with a cache as exports have it, in ONNX: one layer of attention and a hidden layer."""

import onnx_ir as ir
from graphs import model

VOCABULARY, WIDTH, HEADS = 60, 32, 2

_TEXT = """g (int64[batch,sequence] input_ids, int64[batch,total] attention_mask,
      int64[batch,sequence] position_ids,
      float[batch,2,past,16] past_key, float[batch,2,past,16] past_value,
      float[60,32] table, float[128,32] places, float[32,32] wq, float[32,32] wk, float[32,32] wv,
      float[32,32] wo, float[32,64] up, float[64,32] down, float[32,60] head)
    => (float[batch,sequence,60] logits, float[batch,2,total,16] present_key,
        float[batch,2,total,16] present_value)
    <int64[4] split = {0,0,2,16}, int64[3] joined = {0,0,32}, float scale = {0.25},
     float low = {-10000.0}, int64[1] two = {2}, int64[1] heads = {1}, int64 nought = {0},
     int64 one = {1}>
    {
        words = Gather<axis=0>(table, input_ids)
        where = Gather<axis=0>(places, position_ids)
        x = Add(words, where)
        qf = MatMul(x, wq)
        kf = MatMul(x, wk)
        vf = MatMul(x, wv)
        qs = Reshape(qf, split)
        ks = Reshape(kf, split)
        vs = Reshape(vf, split)
        q = Transpose<perm=[0,2,1,3]>(qs)
        k = Transpose<perm=[0,2,1,3]>(ks)
        v = Transpose<perm=[0,2,1,3]>(vs)
        present_key = Concat<axis=2>(past_key, k)
        present_value = Concat<axis=2>(past_value, v)
        turned = Transpose<perm=[0,1,3,2]>(present_key)
        raw = MatMul(q, turned)
        scores = Mul(raw, scale)
        sizes = Shape(present_key)
        length = Gather<axis=0>(sizes, two)
        scalar = Squeeze(length)
        index = Range(nought, scalar, one)
        asked = Unsqueeze(position_ids, two)
        causal = LessOrEqual(index, asked)
        seen = Cast<to=9>(attention_mask)
        seen3 = Unsqueeze(seen, heads)
        both = And(causal, seen3)
        allowed = Unsqueeze(both, heads)
        masked = Where(allowed, scores, low)
        odds = Softmax<axis=-1>(masked)
        mixed = MatMul(odds, present_value)
        back = Transpose<perm=[0,2,1,3]>(mixed)
        flat = Reshape(back, joined)
        o = MatMul(flat, wo)
        y = Add(x, o)
        u = MatMul(y, up)
        r = Relu(u)
        d = MatMul(r, down)
        z = Add(y, d)
        logits = MatMul(z, head)
    }"""


def cached_decoder() -> ir.Model:
    """With Optimum's names."""
    made = model(
        _TEXT,
        table=[VOCABULARY, WIDTH], places=[128, WIDTH], wq=[WIDTH, WIDTH], wk=[WIDTH, WIDTH],
        wv=[WIDTH, WIDTH], wo=[WIDTH, WIDTH], up=[WIDTH, 64], down=[64, WIDTH],
        head=[WIDTH, VOCABULARY],
    )  # fmt: skip
    for value in (*made.graph.inputs, *made.graph.outputs):
        kind = (value.name or "").rpartition("_")[2]
        if value.name in ("past_key", "past_value"):
            value.name = f"past_key_values.0.{kind}"
        elif value.name in ("present_key", "present_value"):
            value.name = f"present.0.{kind}"
    return made
