"""A decoder in small: an embedding that is also the last product, and two layers in between."""

import numpy as np
import onnx_ir as ir
from graphs import model

VOCABULARY, WIDTH, HIDDEN = 60, 64, 96


def decoder() -> ir.Model:
    return model(
        """g (int64[n,t] ids, float[60,64] table, float[64,96] up, float[96] b, float[96,64] down)
            => (float[n,t,60] logits)
        <float[n,t,64] x, float[n,t,96] h, float[n,t,96] hb, float[n,t,96] r, float[n,t,64] d,
         float[n,t,64] s, float[64,60] turned>
        {
            x = Gather<axis=0>(table, ids)
            h = MatMul(x, up)
            hb = Add(h, b)
            r = Relu(hb)
            d = MatMul(r, down)
            s = Add(x, d)
            turned = Transpose<perm=[1,0]>(table)
            logits = MatMul(s, turned)
        }""",
        table=[VOCABULARY, WIDTH], up=[WIDTH, HIDDEN], b=[HIDDEN], down=[HIDDEN, WIDTH],
    )  # fmt: skip


def tokens(samples: int = 24, length: int = 8, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCABULARY, (samples, length))
