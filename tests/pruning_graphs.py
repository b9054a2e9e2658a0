"""Small graphs of every kind of coupling, for tests of pruning."""

import numpy as np
import onnx_ir as ir
from graphs import model


def mlp() -> ir.Model:
    return model(
        """g (float[n,4] x, float[4,5] a, float[5,3] b) => (float[n,3] y) {
            h = MatMul(x, a)
            r = Relu(h)
            y = MatMul(r, b)
        }""",
        a=[4, 5], b=[5, 3],
    )  # fmt: skip


def hidden_softmax() -> ir.Model:
    """The `mlp` with a softmax over its hidden units."""
    return model(
        """g (float[n,4] x, float[4,5] a, float[5,3] b) => (float[n,3] y) {
            h = MatMul(x, a)
            r = Softmax(h)
            y = MatMul(r, b)
        }""",
        a=[4, 5], b=[5, 3],
    )  # fmt: skip


def plain() -> ir.Model:
    return model(
        """g (float[n,3,8,8] x, float[8,3,3,3] w1, float[8] b1, float[8] s, float[8] t,
              float[8] m, float[12,8,3,3] w2, float[12] b2, float[5,192] w3, float[5] b3)
              => (float[n,5] y)
        <float[8] v = {1, 2, 1, 2, 1, 2, 1, 2}>
        {
            c1 = Conv<pads=[1,1,1,1]>(x, w1, b1)
            k1 = BatchNormalization(c1, s, t, m, v)
            r1 = Relu(k1)
            p1 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r1)
            c2 = Conv<pads=[1,1,1,1], strides=[1,1]>(p1, w2, b2)
            r2 = LeakyRelu(c2)
            f = Flatten(r2)
            y = Gemm<transB=1, alpha=0.5>(f, w3, b3)
        }""",
        w1=[8, 3, 3, 3], b1=[8], s=[8], t=[8], m=[8], w2=[12, 8, 3, 3], b2=[12], w3=[5, 192],
        b3=[5],
    )  # fmt: skip


def residual() -> ir.Model:
    made = model(
        """g (float[n,3,8,8] x, float[8,3,1,1] w0, float[16,8,3,3] w1, float[8,16,3,3] w2,
              float[8,8,3,3] w3, float[4,8] w4) => (float[n,4] y)
        {
            c0 = Conv(x, w0)
            c1 = Conv<pads=[1,1,1,1]>(c0, w1)
            r1 = Relu(c1)
            c2 = Conv<pads=[1,1,1,1]>(r1, w2)
            s1 = Add(c0, c2)
            c3 = Conv<pads=[1,1,1,1]>(s1, w3)
            s2 = Add(s1, c3)
            p = GlobalAveragePool(s2)
            f = Flatten(p)
            y = Gemm<transB=1>(f, w4)
        }""",
        w0=[8, 3, 1, 1], w1=[16, 8, 3, 3], w2=[8, 16, 3, 3], w3=[8, 8, 3, 3], w4=[4, 8],
    )  # fmt: skip
    next(node for node in made.graph if node.outputs[0].name == "c3").name = "second"
    return made


def dense() -> ir.Model:
    return model(
        """g (float[n,3,8,8] x, float[6,3,3,3] w0, float[4,6,3,3] w1, float[4,10,3,3] w2,
              float[3,14,1,1] w3) => (float[n,3,8,8] y)
        {
            c0 = Conv<pads=[1,1,1,1]>(x, w0)
            c1 = Conv<pads=[1,1,1,1]>(c0, w1)
            d1 = Concat<axis=1>(c0, c1)
            c2 = Conv<pads=[1,1,1,1]>(d1, w2)
            d2 = Concat<axis=-3>(d1, c2)
            y = Conv(d2, w3)
        }""",
        w0=[6, 3, 3, 3], w1=[4, 6, 3, 3], w2=[4, 10, 3, 3], w3=[3, 14, 1, 1],
    )  # fmt: skip


def squeeze_excite() -> ir.Model:
    return model(
        """g (float[n,3,8,8] x, float[12,3,1,1] w0, float[12,1,3,3] w1, float[3,12,1,1] down,
              float[3] db, float[12,3,1,1] up, float[12] slope0, float[3,12,1,1] w2)
              => (float[n,3,8,8] y)
        <int64[3] shape = {12, 1, 1}>
        {
            c0 = Conv(x, w0)
            c1 = Conv<pads=[1,1,1,1], group=12>(c0, w1)
            slope = Reshape(slope0, shape)
            r1 = PRelu(c1, slope)
            p = GlobalAveragePool(r1)
            d = Conv(p, down, db)
            e = Relu(d)
            u = Conv(e, up)
            g = HardSigmoid(u)
            m = Mul(g, r1)
            y = Conv(m, w2)
        }""",
        w0=[12, 3, 1, 1], w1=[12, 1, 3, 3], down=[3, 12, 1, 1], db=[3], up=[12, 3, 1, 1],
        slope0=[12], w2=[3, 12, 1, 1],
    )  # fmt: skip


def many_groups() -> ir.Model:
    """ResNeXt: groups of the convolution go as a whole."""
    return model(
        """g (float[n,3,6,6] x, float[16,3,1,1] w0, float[32,2,3,3] w1, float[3,32,1,1] w2)
              => (float[n,3,6,6] y)
        {
            c0 = Conv(x, w0)
            c1 = Conv<pads=[1,1,1,1], group=8>(c0, w1)
            y = Conv(c1, w2)
        }""",
        w0=[16, 3, 1, 1], w1=[32, 2, 3, 3], w2=[3, 32, 1, 1],
    )  # fmt: skip


def few_groups() -> ir.Model:
    """AlexNet: the same channels go in each of the two groups."""
    return model(
        """g (float[n,3,6,6] x, float[12,3,1,1] w0, float[10,6,3,3] w1, float[3,10,1,1] w2)
              => (float[n,3,6,6] y)
        {
            c0 = Conv(x, w0)
            c1 = Conv<pads=[1,1,1,1], group=2>(c0, w1)
            y = Conv(c1, w2)
        }""",
        w0=[12, 3, 1, 1], w1=[10, 6, 3, 3], w2=[3, 10, 1, 1],
    )  # fmt: skip


def shuffle() -> ir.Model:
    """ShuffleNet: both groups lose the same positions, then they are dealt out."""
    return model(
        """g (float[n,3,6,6] x, float[8,3,1,1] w0, float[3,8,1,1] w1) => (float[n,3,6,6] y)
        <int64[5] split = {0, 2, 4, 6, 6}, int64[4] merge = {-1, 8, 6, 6}>
        {
            c0 = Conv(x, w0)
            a = Reshape(c0, split)
            b = Transpose<perm=[0,2,1,3,4]>(a)
            d = Reshape(b, merge)
            y = Conv(d, w1)
        }""",
        w0=[8, 3, 1, 1], w1=[3, 8, 1, 1],
    )  # fmt: skip


def unet() -> ir.Model:
    return model(
        """g (float[n,3,8,8] x, float[6,3,3,3] w0, float[8,6,3,3] w1, float[8,6,2,2] up,
              float[6] ub, float[3,12,1,1] w3) => (float[n,3,8,8] y)
        {
            c0 = Conv<pads=[1,1,1,1]>(x, w0)
            c1 = Conv<pads=[1,1,1,1], strides=[2,2]>(c0, w1)
            u = ConvTranspose<strides=[2,2]>(c1, up, ub)
            a = Add(u, c0)
            d = Concat<axis=1>(a, c0)
            y = Conv(d, w3)
        }""",
        w0=[6, 3, 3, 3], w1=[8, 6, 3, 3], up=[8, 6, 2, 2], ub=[6], w3=[3, 12, 1, 1],
    )  # fmt: skip


def transposed_groups() -> ir.Model:
    return model(
        """g (float[n,3,5] x, float[8,3,1] w0, float[8,3,2] up, float[3,12,1] w1)
              => (float[n,3,10] y)
        {
            c0 = Conv(x, w0)
            u = ConvTranspose<strides=[2], group=4>(c0, up)
            y = Conv(u, w1)
        }""",
        w0=[8, 3, 1], up=[8, 3, 2], w1=[3, 12, 1],
    )  # fmt: skip


def pixel_shuffle() -> ir.Model:
    return model(
        """g (float[n,3,4,4] x, float[12,3,1,1] w0, float[16,3,1,1] w1, float[3,4,1,1] w2)
              => (float[n,3,16,16] y)
        <int64[6] split = {0, 4, 2, 2, 8, 8}, int64[4] merge = {-1, 4, 16, 16}>
        {
            c0 = Conv(x, w0)
            d0 = DepthToSpace<blocksize=2, mode="CRD">(c0)
            c1 = Conv(d0, w1)
            a = Reshape(c1, split)
            b = Transpose<perm=[0,1,4,2,5,3]>(a)
            d1 = Reshape(b, merge)
            y = Conv(d1, w2)
        }""",
        w0=[12, 3, 1, 1], w1=[16, 3, 1, 1], w2=[3, 4, 1, 1],
    )  # fmt: skip


def attention() -> ir.Model:
    """One layer of BERT, with the sizes of its reshapes computed and one of them shared."""
    return model(
        """g (float[n,6,16] x, float[16,16] q, float[16] qb, float[16,16] k, float[16,16] v,
              float[16,16] o, float[16] ls, float[16] lb, float[16,20] up, float[20,16] down)
              => (float[n,6,16] y)
        <int64[1] heads = {4}, int64[1] each = {4}, int64[1] all = {16}, float scale = {0.5}>
        {
            batch = Shape<start=0, end=1>(x)
            steps = Shape<start=1, end=2>(x)
            split = Concat<axis=0>(batch, steps, heads, each)
            merge = Concat<axis=0>(batch, steps, all)
            q0 = MatMul(x, q)
            q1 = Add(q0, qb)
            k1 = MatMul(x, k)
            v1 = MatMul(x, v)
            q2 = Reshape(q1, split)
            k2 = Reshape(k1, split)
            v2 = Reshape(v1, split)
            q3 = Transpose<perm=[0,2,1,3]>(q2)
            k3 = Transpose<perm=[0,2,3,1]>(k2)
            v3 = Transpose<perm=[0,2,1,3]>(v2)
            scores = MatMul(q3, k3)
            scaled = Mul(scores, scale)
            p = Softmax(scaled)
            z = MatMul(p, v3)
            z1 = Transpose<perm=[0,2,1,3]>(z)
            z2 = Reshape(z1, merge)
            z3 = MatMul(z2, o)
            r1 = Add(x, z3)
            n1 = LayerNormalization(r1, ls, lb)
            h = MatMul(n1, up)
            g = Gelu(h)
            d = MatMul(g, down)
            y = Add(d, n1)
        }""",
        q=[16, 16], qb=[16], k=[16, 16], v=[16, 16], o=[16, 16], ls=[16], lb=[16], up=[16, 20],
        down=[20, 16],
    )  # fmt: skip


def grouped_query() -> ir.Model:
    """Two heads of keys and values serve four of queries."""
    return model(
        """g (float[n,6,16] x, float[16,16] q, float[16,8] k, float[16,8] v, float[16,16] o)
              => (float[n,6,16] y)
        <int64[4] by_query = {0, 0, 4, 4}, int64[4] by_key = {0, 0, 2, 4},
         int64[1] two = {2}, int64[5] stretched = {1, 2, 2, 6, 4}, int64[4] whole = {-1, 4, 6, 4},
         int64[3] merged = {0, 0, -1}>
        {
            q0 = MatMul(x, q)
            k0 = MatMul(x, k)
            v0 = MatMul(x, v)
            q1 = Reshape(q0, by_query)
            k1 = Reshape(k0, by_key)
            v1 = Reshape(v0, by_key)
            q2 = Transpose<perm=[0,2,1,3]>(q1)
            k2 = Transpose<perm=[0,2,1,3]>(k1)
            v2 = Transpose<perm=[0,2,1,3]>(v1)
            k3 = Unsqueeze(k2, two)
            v3 = Unsqueeze(v2, two)
            k4 = Expand(k3, stretched)
            v4 = Expand(v3, stretched)
            k5 = Reshape(k4, whole)
            v5 = Reshape(v4, whole)
            k6 = Transpose<perm=[0,1,3,2]>(k5)
            scores = MatMul(q2, k6)
            p = Softmax(scores)
            z = MatMul(p, v5)
            z1 = Transpose<perm=[0,2,1,3]>(z)
            z2 = Reshape(z1, merged)
            y = MatMul(z2, o)
        }""",
        q=[16, 16], k=[16, 8], v=[16, 8], o=[16, 16],
    )  # fmt: skip


INDEXED = """q = Gather<axis=0>(d, i0)
            k = Gather<axis=0>(d, i1)
            v = Gather<axis=0>(d, i2)"""
SLICED = """q1 = Slice(d, s0, s1, s0)  q = Squeeze(q1, s0)
            k1 = Slice(d, s1, s2, s0)  k = Squeeze(k1, s0)
            v1 = Slice(d, s2, s3, s0)  v = Squeeze(v1, s0)"""
SPLIT = """q1, k1, v1 = Split<axis=0, num_outputs=3>(d)
            q = Squeeze(q1, s0)  k = Squeeze(k1, s0)  v = Squeeze(v1, s0)"""


def fused_qkv(apart: str = INDEXED) -> ir.Model:
    """One product for queries, keys and values, as timm and Swin write it."""
    return model(
        f"""g (float[n,6,16] x, float[16,48] w, float[48] b, float[16,16] o) => (float[n,6,16] y)
        <int64[5] split = {{0, 6, 3, 4, 4}}, int64[3] merged = {{0, 0, 16}}, int64 i0 = {{0}},
         int64 i1 = {{1}}, int64 i2 = {{2}}, int64[1] s0 = {{0}}, int64[1] s1 = {{1}},
         int64[1] s2 = {{2}}, int64[1] s3 = {{3}}>
        {{
            a = MatMul(x, w)
            b1 = Add(a, b)
            c = Reshape(b1, split)
            d = Transpose<perm=[2,0,3,1,4]>(c)
            {apart}
            kt = Transpose<perm=[0,1,3,2]>(k)
            scores = MatMul(q, kt)
            p = Softmax(scores)
            z = MatMul(p, v)
            z1 = Transpose<perm=[0,2,1,3]>(z)
            z2 = Reshape(z1, merged)
            y = MatMul(z2, o)
        }}""",
        w=[16, 48], b=[48], o=[16, 16],
    )  # fmt: skip


def heads_beside_batch() -> ir.Model:
    """As torch's MultiheadAttention reshapes: time first, heads merged into the batch and back."""
    return model(
        """g (float[n,6,16] x, float[16,16] v, float[4,1,1] slope, float[16,16] o)
              => (float[n,6,16] y)
        <int64[3] beside = {6, -1, 4}, int64[4] split = {-1, 4, 6, 4}, int64[2] rows = {-1, 16},
         int64[3] whole = {6, -1, 16}>
        {
            v0 = MatMul(x, v)
            v1 = Transpose<perm=[1,0,2]>(v0)
            v2 = Reshape(v1, beside)
            v3 = Transpose<perm=[1,0,2]>(v2)
            v4 = Reshape(v3, split)
            z0 = Mul(v4, slope)
            z1 = Transpose<perm=[2,0,1,3]>(z0)
            z2 = Reshape(z1, rows)
            z3 = MatMul(z2, o)
            z4 = Reshape(z3, whole)
            y = Transpose<perm=[1,0,2]>(z4)
        }""",
        v=[16, 16], slope=[4, 1, 1], o=[16, 16],
    )  # fmt: skip


def siamese() -> ir.Model:
    """One kernel for both inputs: its channels go in both branches."""
    return model(
        """g (float[n,3,6,6] a, float[n,3,6,6] b, float[6,3,3,3] w, float[6] bias, float[6,4] u,
              float[6,4] v) => (float[n,4] y)
        {
            c1 = Conv(a, w, bias)
            c2 = Conv(b, w, bias)
            p1 = GlobalMaxPool(c1)
            p2 = GlobalMaxPool(c2)
            f1 = Flatten(p1)
            f2 = Flatten(p2)
            m1 = MatMul(f1, u)
            m2 = MatMul(f2, v)
            y = Sub(m1, m2)
        }""",
        w=[6, 3, 3, 3], bias=[6], u=[6, 4], v=[6, 4],
    )  # fmt: skip


def two_heads() -> ir.Model:
    return model(
        """g (float[n,3,6,6] x, float[8,3,3,3] w, float[5,8,1,1] boxes, float[2,8,1,1] scores)
              => (float[n,5,4,4] y, float[n,2,4,4] z)
        {
            c = Conv(x, w)
            r = Relu(c)
            y = Conv(r, boxes)
            z = Conv(r, scores)
        }""",
        w=[8, 3, 3, 3], boxes=[5, 8, 1, 1], scores=[2, 8, 1, 1],
    )  # fmt: skip


def padded_shortcut() -> ir.Model:
    """A CIFAR ResNet of option A: the shortcut is padded with channels of zeros."""
    return model(
        """g (float[n,3,8,8] x, float[4,3,1,1] w0, float[8,4,3,3] w1, float[3,8,1,1] w2)
              => (float[n,3,4,4] y)
        <int64[2] from = {0, 0}, int64[2] to = {8, 8}, int64[2] on = {2, 3}, int64[2] by = {2, 2},
         int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}>
        {
            c0 = Conv(x, w0)
            s0 = Slice(c0, from, to, on, by)
            s1 = Pad(s0, pads)
            c1 = Conv<pads=[1,1,1,1], strides=[2,2]>(c0, w1)
            a = Add(c1, s1)
            y = Conv(a, w2)
        }""",
        w0=[4, 3, 1, 1], w1=[8, 4, 3, 3], w2=[3, 8, 1, 1],
    )  # fmt: skip


def group_norm() -> ir.Model:
    """As torch exports a GroupNorm: an InstanceNormalization of groups."""
    return model(
        """g (float[n,3,4,4] x, float[12,3,1,1] w0, float[4] ones, float[4] zeros,
              float[12,1,1] scale, float[12,1,1] shift, float[3,12,1,1] w1) => (float[n,3,4,4] y)
        <int64[3] split = {0, 4, -1}, int64[4] merge = {-1, 12, 4, 4}>
        {
            c0 = Conv(x, w0)
            a = Reshape(c0, split)
            b = InstanceNormalization(a, ones, zeros)
            d = Reshape(b, merge)
            e = Mul(d, scale)
            f = Add(e, shift)
            y = Conv(f, w1)
        }""",
        w0=[12, 3, 1, 1], ones=[4], zeros=[4], scale=[12, 1, 1], shift=[12, 1, 1],
        w1=[3, 12, 1, 1],
    )  # fmt: skip


def split_slice() -> ir.Model:
    return model(
        """g (float[n,3,4,4] x, float[8,3,1,1] w0, float[3,4,1,1] w1, float[3,2,1,1] w2)
              => (float[n,3,4,4] y)
        <int64[2] parts = {4, 4}, int64[1] from = {-2}, int64[1] to = {9999}, int64[1] on = {1}>
        {
            c0 = Conv(x, w0)
            a, b = Split<axis=1>(c0, parts)
            d = Slice(a, from, to, on)
            e = Conv(b, w1)
            f = Conv(d, w2)
            y = Add(e, f)
        }""",
        w0=[8, 3, 1, 1], w1=[3, 4, 1, 1], w2=[3, 2, 1, 1],
    )  # fmt: skip


def gathered() -> ir.Model:
    """A channel permutation, and one channel that is picked alone and has to stay."""
    return model(
        """g (float[n,3,4,4] x, float[5,3,1,1] w0, float[3,4,1,1] w1) => (float[n,3,4,4] y)
        <int64[4] order = {3, 0, -1, 2}, int64 second = {1}, int64[1] one = {1}>
        {
            c0 = Conv(x, w0)
            a = Gather<axis=1>(c0, order)
            d = Conv(a, w1)
            s = Gather<axis=1>(c0, second)
            u = Unsqueeze(s, one)
            y = Add(d, u)
        }""",
        w0=[5, 3, 1, 1], w1=[3, 4, 1, 1],
    )  # fmt: skip


def einsum() -> ir.Model:
    return model(
        """g (float[n,4,5] x, float[5,6] a, float[6,3] b) => (float[n,3,4] y) {
            h = Einsum<equation="...i,ij->...j">(x, a)
            r = Tanh(h)
            y = Einsum<equation="bsj, jk -> bks">(r, b)
        }""",
        a=[5, 6], b=[6, 3],
    )  # fmt: skip


def scattered() -> ir.Model:
    """Messages along the edges of a graph: gathered, summed at the nodes, the best of them picked.

    What is indexed is the node, beside which each channel is by itself.
    """
    return model(
        """g (float[n,4,5] x, float[5,6] w0, float[6,6] w1, float[6,3] w2) => (float[n,2,3] y)
        <int64[1] zero = {0}, int64[1] two = {2},
         int64[1] one = {1}, int64[1] three = {3}, int64[1] width = {6},
         int64[3,1] starts = {2, 0, 3}, int64[3,1] ends = {1, 3, 1}>
        {
            c = MatMul(x, w0)
            shape = Shape(c)
            batch = Slice(shape, zero, one)
            of = Concat<axis=0>(batch, three, width)
            start = Expand(starts, of)
            end = Expand(ends, of)
            told = GatherElements<axis=1>(c, start)
            m = MatMul(told, w1)
            summed = ScatterElements<axis=1, reduction="add">(c, end, m)
            best, places = TopK<axis=1>(summed, two)
            y = MatMul(best, w2)
        }""",
        w0=[5, 6], w1=[6, 6], w2=[6, 3],
    )  # fmt: skip


def residual_blocks(*branches: float) -> ir.Model:
    """Residual blocks between two convolutions, whose branches are so loud."""
    weights = {f"w{i}": [16, 16, 1, 1] for i in range(len(branches))}
    inputs = "".join(f", float[16,16,1,1] {name}" for name in weights)
    body, before = "", "s"
    for index in range(len(branches)):
        body += f"c{index} = Conv({before}, w{index})\n"
        body += f"r{index} = Relu(c{index})\n"
        body += f"a{index} = Add(r{index}, {before})\n"
        before = f"a{index}"
    made = model(
        f"""g (float[n,4,4,4] x, float[16,4,1,1] first, float[3,16,1,1] last{inputs})
            => (float[n,3,4,4] y)
        {{
            s = Conv(x, first)
            {body}
            y = Conv({before}, last)
        }}""",
        first=[16, 4, 1, 1], last=[3, 16, 1, 1], **weights,
    )  # fmt: skip
    for index, loud in enumerate(branches):
        value = made.graph.initializers[f"w{index}"]
        assert value.const_value is not None
        value.const_value = ir.tensor(
            (loud * value.const_value.numpy()).astype(np.float32), name=value.name
        )
    return made


RELU_BLOCKS = {
    "w0": [8, 3, 3, 3],
    **{f"w{i}": [8, 8, 3, 3] for i in range(1, 7)},
    "p": [12, 8, 1, 1],
    "q": [12, 8, 3, 3],
    "f": [12, 5],
}


def relu_blocks() -> ir.Model:
    """Three residual blocks of two convolutions, each behind a Relu, and one that is none."""
    made = model(
        """g (float[n,3,8,8] x, float[8,3,3,3] w0, float[8,8,3,3] w1, float[8,8,3,3] w2,
              float[8,8,3,3] w3, float[8,8,3,3] w4, float[8,8,3,3] w5, float[8,8,3,3] w6,
              float[12,8,1,1] p, float[12,8,3,3] q, float[12,5] f, int64[2] axes) => (float[n,5] y)
        {
            s = Conv<pads=[1,1,1,1]>(x, w0)
            r0 = Relu(s)
            c1 = Conv<pads=[1,1,1,1]>(r0, w1)
            h1 = Relu(c1)
            o1 = Conv<pads=[1,1,1,1]>(h1, w2)
            a1 = Add(o1, r0)
            r1 = Relu(a1)
            c2 = Conv<pads=[1,1,1,1]>(r1, w3)
            h2 = Relu(c2)
            o2 = Conv<pads=[1,1,1,1]>(h2, w4)
            a2 = Add(r1, o2)
            r2 = Relu(a2)
            c3 = Conv<pads=[1,1,1,1]>(r2, w5)
            h3 = Relu(c3)
            o3 = Conv<pads=[1,1,1,1]>(h3, w6)
            a3 = Add(o3, r2)
            r3 = Relu(a3)
            d = Conv(r3, p)
            e = Conv<pads=[1,1,1,1]>(r3, q)
            a4 = Add(d, e)
            r4 = Relu(a4)
            g = ReduceMean<keepdims=0>(r4, axes)
            y = MatMul(g, f)
        }""",
        **RELU_BLOCKS,
    )
    axes = next(v for v in made.graph.inputs if v.name == "axes")
    made.graph.inputs.remove(axes)
    axes.const_value = ir.tensor(np.array([2, 3]), name="axes")
    made.graph.register_initializer(axes)
    return made
