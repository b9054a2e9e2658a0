"""Graphs written as ONNX text, for tests of several packages."""

import numpy as np
import onnx_ir as ir


def model(text: str, seed: int = 0, **shapes: list[int]) -> ir.Model:
    """A graph in ONNX text; initializers of the given shapes are random float32."""
    made = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 20]>\n{text}')
    rng = np.random.default_rng(seed)
    for value in list(made.graph.inputs):
        if value.name in shapes:
            made.graph.inputs.remove(value)
            array = (rng.standard_normal(shapes[value.name]) * 0.2).astype(np.float32)
            value.const_value = ir.tensor(array, name=value.name)
            made.graph.register_initializer(value)
    for index, node in enumerate(made.graph):
        node.name = node.name or f"{node.op_type}_{index}"
    return made


def residual() -> ir.Model:
    return model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w1, float[32] b1, float[32,32,3,3] w2,
              float[32] b2, float[10,32] w3, float[10] b3) => (float[n,10] y)
        <float[n,32,8,8] c1, float[n,32,8,8] r1, float[n,32,8,8] c2, float[n,32,8,8] s,
         float[n,32,8,8] r2, float[n,32,1,1] p, float[n,32] f>
        {
            c1 = Conv<pads=[1,1,1,1]>(x, w1, b1)
            r1 = Relu(c1)
            c2 = Conv<pads=[1,1,1,1]>(r1, w2, b2)
            s = Add(c2, r1)
            r2 = Relu(s)
            p = GlobalAveragePool(r2)
            f = Flatten(p)
            y = Gemm<transB=1>(f, w3, b3)
        }""",
        w1=[32, 32, 3, 3], b1=[32], w2=[32, 32, 3, 3], b2=[32], w3=[10, 32], b3=[10],
    )  # fmt: skip


def tagger() -> ir.Model:
    """A product, an LSTM of both directions, and another product."""
    return model(
        """g (float[n,7,64] x, float[64,64] w1, float w, float r, float b, float[64,64] w2)
            => (float[n,7,64] y)
        <float[n,7,64] p, float[7,n,64] t, float[7,2,n,32] h, float[n,7,2,32] u, float[n,7,64] f>
        {
            p = MatMul(x, w1)
            t = Transpose<perm=[1,0,2]>(p)
            h = LSTM<hidden_size=32, direction="bidirectional">(t, w, r, b)
            u = Transpose<perm=[2,0,1,3]>(h)
            shape = Constant<value_ints=[0,7,64]>()
            f = Reshape(u, shape)
            y = MatMul(f, w2)
        }""",
        w1=[64, 64], w=[2, 128, 64], r=[2, 128, 32], b=[2, 256], w2=[64, 64],
    )  # fmt: skip


def tied_head() -> ir.Model:
    """A table that is looked up in and, through a Transpose, the weight of the last product."""
    return model(
        """g (int64[b,n] ids, float[300,64] table, float[64,64] w) => (float[b,n,300] logits)
        {
            x = Gather(table, ids)
            h = MatMul(x, w)
            turned = Transpose<perm=[1,0]>(table)
            logits = MatMul(h, turned)
        }""",
        table=[300, 64],
        w=[64, 64],
    )
