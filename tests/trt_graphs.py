"""Float graphs for tests of the TensorRT target, and their forms in 8 bits."""

import numpy as np
import onnx_ir as ir
from graphs import model

from compressor.graph.shapes import infer_shapes
from compressor.quantization.placement import place, quantized_values
from compressor.quantization.static import quantize_static
from exporters.base import QuantPolicy
from exporters.trt.policy import trt_policy
from exporters.trt.target import TARGET as TRT

POLICY = trt_policy()


def unet() -> ir.Model:
    return model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w1, float[32,32,3,3] w2, float[32,16,2,2] up,
              float[32,48,1,1] w3, float[16] b) => (float[n,32,8,8] y)
        {
            a = Conv<pads=[1,1,1,1]>(x, w1)
            r = Relu(a)
            p = MaxPool<kernel_shape=[2,2],strides=[2,2]>(r)
            d = Conv<pads=[1,1,1,1]>(p, w2)
            u = ConvTranspose<strides=[2,2]>(d, up, b)
            c = Concat<axis=1>(r, u)
            y = Conv(c, w3)
        }""",
        w1=[32, 32, 3, 3], w2=[32, 32, 3, 3], up=[32, 16, 2, 2], w3=[32, 48, 1, 1], b=[16],
    )  # fmt: skip


def attention() -> ir.Model:
    return model(
        """g (float[n,8,32] x, float[32,32] q, float[32,32] k, float[32,32] v, float[32] s,
              float[32] t) => (float[n,8,32] y)
        {
            h = LayerNormalization(x, s, t)
            qs = MatMul(h, q)
            ks = MatMul(h, k)
            vs = MatMul(h, v)
            kt = Transpose<perm=[0,2,1]>(ks)
            scores = MatMul(qs, kt)
            p = Softmax(scores)
            o = MatMul(p, vs)
            y = Add(o, x)
        }""",
        q=[32, 32], k=[32, 32], v=[32, 32], s=[32], t=[32],
    )  # fmt: skip


def feeds_for(graph: ir.Model) -> dict[str, np.ndarray]:
    dims = graph.graph.inputs[0].shape or ()
    shape = [4 if isinstance(dim, ir.SymbolicDim) else dim for dim in dims]
    return {"x": np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)}


def quantized(graph: ir.Model, policy: QuantPolicy = POLICY) -> ir.Model:
    """With the ranges that `feeds_for` gives."""
    integer = place(graph, policy).integer
    names = [value.name or "" for value in quantized_values(graph, integer, policy)]
    tapped = infer_shapes(graph.clone())
    known = {value.name: value for node in tapped.graph for value in node.outputs}
    tapped.graph.outputs.extend(known[name] for name in names if name in known)
    with TRT.open(tapped) as runner:
        seen = feeds_for(graph) | runner.run(feeds_for(graph))
    ranges = {name: (float(seen[name].min()), float(seen[name].max())) for name in names}
    return quantize_static(graph, integer, ranges, policy, weight_bits=8)
