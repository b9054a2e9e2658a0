"""Linear attention: a kernel in place of the softmax, so that no query meets a key.

    y_i = φ(q_i) Σ_j m_j φ(k_j)ᵀ v_j / (φ(q_i) · Σ_j m_j φ(k_j)),   φ(x) = elu(x) + 1

(Katharopoulos et al. 2020, "Transformers are RNNs", arXiv 2006.16236, equations 5 and 7), with
m_j = exp(M_j) of a mask M of keys, and with √c in front of queries and keys, whose scores are c · q
k. Causal attention would be a sum that runs along the tokens, which no standard operator computes
without T · d² numbers: it is not built.
"""

import math

import numpy as np
import onnx_ir as ir

from compressor.attention.masks import row_of
from compressor.attention.writing import Writer
from compressor.graph.cores import Core
from compressor.graph.matching import sizes

SMALL = 1e-6
"""Least that is divided by, where all keys are hidden."""


def linear(to: Writer, core: Core) -> ir.Value:
    """[batch, heads, tokens, width of values]; its mask is one of keys."""
    keys = to.keys(core)
    q_sizes, k_sizes, v_sizes = (sizes(one) or [] for one in (core.q, keys, core.v))
    batch, heads, width, deep = q_sizes[0], core.heads, core.width, v_sizes[3]
    q, k = _kernel(to, core.q, core, "q"), _kernel(to, keys, core, "k")
    if core.mask is not None:
        row = row_of(to, core.mask)
        turned = to.op("Transpose", [row], [None, None, None, 1], "column", perm=[0, 1, 3, 2])
        seen = to.op("Exp", [turned], [None, None, None, 1], "seen")
        k = to.op("Mul", [k, seen], k_sizes, "k_seen")
    rows = to.op("Transpose", [k], [batch, heads, width, k_sizes[2]], "k_rows", perm=[0, 1, 3, 2])
    state = to.op("MatMul", [rows, core.v], [batch, heads, width, deep], "state")
    mixed = to.op("MatMul", [q, state], [batch, heads, q_sizes[2], deep], "mixed")
    axes = to.ints("token_axis", [3])
    total = to.op("ReduceSum", [rows, axes], [batch, heads, width, 1], "total", keepdims=1)
    weight = to.op("MatMul", [q, total], [batch, heads, q_sizes[2], 1], "weight")
    least = to.weight("small", np.array(SMALL, np.float32))
    safe = to.op("Max", [weight, least], [batch, heads, q_sizes[2], 1], "safe")
    return to.op("Div", [mixed, safe], [batch, heads, q_sizes[2], deep], "linear")


def _kernel(to: Writer, value: ir.Value, core: Core, name: str) -> ir.Value:
    """φ(√c · x)."""
    shape = sizes(value) or []
    root = to.weight("root", np.array(math.sqrt(core.scale), np.float32))
    one = to.weight("one", np.array(1.0, np.float32))
    scaled = to.op("Mul", [value, root], shape, f"{name}_scaled")
    curved = to.op("Elu", [scaled], shape, f"{name}_elu", alpha=1.0)
    return to.op("Add", [curved, one], shape, f"{name}_kernel")
