"""Small graphs of many operators, whose fields are then broken; their data is made from inputs."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

Model = Any

_TEXTS = {
    "mlp": """g (float[batch,16] x) => (float[batch,4] y) {
        h = Gemm(x, w_16_32, b_32) r = Relu(h) y = Gemm(r, w_32_4, b_4) }""",
    "convolutions": """g (float[batch,3,8,8] x) => (float[batch,10] y) {
        c1 = Conv<pads=[1,1,1,1]>(x, k_16_3_3_3, b_16)
        n1 = BatchNormalization(c1, s_16, o_16, m_16, v_16)
        r1 = Relu(n1)
        c2 = Conv<pads=[1,1,1,1]>(r1, k_16_16_3_3)
        a = Add(c2, r1)
        p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
        c3 = Conv<group=16, pads=[1,1,1,1]>(p, k_16_1_3_3)
        u = Resize<mode="nearest">(c3, , scales)
        q = GlobalAveragePool(u)
        f = Flatten(q)
        y = Gemm<transB=1>(f, w_10_16) }""",
    "attention": """g (float[batch,seq,16] x) => (float[batch,seq,16] y) {
        n = LayerNormalization<axis=-1>(x, s_16, o_16)
        q = MatMul(n, w_16_16) k = MatMul(n, v_16_16) v = MatMul(n, u_16_16)
        kt = Transpose<perm=[0,2,1]>(k)
        s = MatMul(q, kt) d = Mul(s, quarter) p = Softmax<axis=-1>(d)
        c = MatMul(p, v) o = MatMul(c, t_16_16) r = Add(o, x)
        h = MatMul(r, w_16_32) g1 = Gelu(h) e = MatMul(g1, w_32_16) y = Add(r, e) }""",
    "control": """g (float[batch,8] x) => (float[batch,8] y, int64 count) {
        m = ReduceMean<keepdims=0>(x) t = Greater(m, zero)
        b = If(t) <
            then_branch = one () => (float[N,8] p) { p = MatMul(x, w_8_8) },
            else_branch = two () => (float[N,8] q) { q = Relu(x) }>
        n, y = Loop(three, t, zero_i, b) <
            body = l (int64 i, bool c, int64 a, float[N,8] s)
                => (bool d, int64 e, float[N,8] z) {
                d = Identity(c) e = Add(a, one_i) z = Mul(s, half) } >
        count = Identity(n) }""",
    "recurrent": """g (float[batch,7,8] x) => (float[batch,7,4] y) {
        t = Transpose<perm=[1,0,2]>(x)
        h = LSTM<hidden_size=8>(t, w_1_32_8, r_1_32_8, b_1_64)
        s = Squeeze(h, axis1)
        i = GRU<hidden_size=8>(s, w_1_24_8, r_1_24_8)
        z = Squeeze(i, axis1)
        u = Transpose<perm=[1,0,2]>(z)
        y = MatMul(u, w_8_4) }""",
    "embedding": """g (int64[batch,seq] ids, int64[batch,seq] mask) => (float[batch,3] y) {
        e = Gather(w_50_16, ids)
        f = Cast<to=1>(mask) m = Unsqueeze(f, axis2)
        k = Mul(e, m) s = ReduceSum<keepdims=0>(k, axis1) y = MatMul(s, w_16_3) }""",
    "integers": """g (float[batch,16] x) => (float[batch,8] y) {
        q = QuantizeLinear(x, tenth, zero_u8) d = DequantizeLinear(q, tenth, zero_u8)
        dw = DequantizeLinear(i8_16_8, tenth, zero_i8)
        h = MatMul(d, dw) qh = QuantizeLinear(h, tenth, zero_u8)
        y = DequantizeLinear(qh, tenth, zero_u8) }""",
    "shapes": """g (float[batch,12] x) => (float[batch,12] y, int64[2] size) {
        s = Shape(x) n = Gather(s, zero_i) m = Unsqueeze(n, axis0)
        to = Concat<axis=0>(m, threefour) r = Reshape(x, to)
        a, b = Split<axis=2, num_outputs=2>(r) c = Concat<axis=2>(b, a)
        sl = Slice(c, starts, ends, axis2) pd = Pad(sl, pads)
        w = Where(yes, pd, c) back = Reshape(w, s) y = Clip(back, zero, six)
        size = Identity(s) }""",
    "draws": """g (float[batch,8] x) => (float[batch,4] y) {
        z = RandomNormalLike(x) a = Add(x, z) d = Dropout(a, half, no) y = MatMul(d, w_8_4) }""",
    "detector": """g (float[1,6,4] boxes, float[1,2,6] scores) => (int64[n,3] y) {
        y = NonMaxSuppression(boxes, scores, three, half, zero_s) }""",
}  # fmt: skip
_CONSTANTS = {
    "zero": np.float32(0), "half": np.float32(0.5), "quarter": np.float32(0.25),
    "tenth": np.float32(0.1), "six": np.float32(6), "zero_s": np.zeros(1, np.float32),
    "zero_i": np.int64(0), "one_i": np.int64(1), "three": np.int64(3), "no": np.bool_(False),
    "yes": np.bool_(True), "zero_u8": np.uint8(0), "zero_i8": np.int8(0),
    "axis0": np.array([0]), "axis1": np.array([1]), "axis2": np.array([2]),
    "threefour": np.array([3, 4]), "starts": np.array([1]), "ends": np.array([3]),
    "pads": np.array([0, 0, 1, 0, 0, 1]), "scales": np.array([1, 1, 2, 2], np.float32),
}  # fmt: skip


def models() -> dict[str, Model]:
    """Name → a model that is right."""
    made = {name: _model(text) for name, text in _TEXTS.items()}
    made["mlp"].metadata_props.add(key="author", value="somebody")
    made["function"] = _with_function()
    made["old"] = _old()
    made["halves"] = _halves(made["mlp"])
    made["sparse"] = _sparse()
    return made


def feeds(model: Model, count: int = 8) -> dict[str, np.ndarray]:
    """Samples for the inputs of a model that is right."""
    rng = np.random.default_rng(0)
    inner = {value.name for value in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name in inner:
            continue
        kind = value.type.tensor_type
        sizes = [d.dim_value or (count if i == 0 else 5) for i, d in enumerate(kind.shape.dim)]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        whole = np.issubdtype(dtype, np.integer)
        found[value.name] = (
            rng.integers(0, 2, sizes).astype(dtype)
            if whole
            else rng.normal(size=sizes).astype(dtype)
        )
    return found


def _model(text: str) -> Model:
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}')
    rng = np.random.default_rng(0)
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    for name in sorted(_read(model.graph)):
        array = _CONSTANTS.get(name)
        parts = name.split("_")
        if array is None and len(parts) > 1 and all(part.isdigit() for part in parts[1:]):
            shape = [int(part) for part in parts[1:]]
            array = rng.normal(0, 0.3, shape).astype(np.float32)
            array = (array * 50).astype(np.int8) if parts[0] == "i8" else array
            array = np.abs(array) + 0.5 if parts[0] == "v" and len(shape) == 1 else array
        if array is not None:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    onnx.checker.check_model(model)
    return model


def _read(graph: Any) -> set[str]:
    found = {name for node in graph.node for name in node.input}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= _read(attribute.g)
    return found


def _with_function() -> Model:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
        g (float[batch,8] x) => (float[batch,8] y) { h = own.Block(x, w) y = own.Block(h, w) }
        <domain: "own", opset_import: ["" : 20]>
        Block (a, b) => (c) { d = MatMul(a, b) c = Relu(d) }
        """)
    weights = np.random.default_rng(1).normal(0, 0.3, (8, 8)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    return model


def _old() -> Model:
    """Of IR version 3, which lists initializers among the inputs."""
    weights = np.random.default_rng(2).normal(0, 0.3, (8, 8, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("AveragePool", ["r"], ["y"], "pool", kernel_shape=[2, 2]),
    ]
    x, w, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 8, 6, 6]), ("w", [8, 8, 3, 3]), ("y", None))
    )
    inner = [numpy_helper.from_array(weights, "w")]
    graph = helper.make_graph(nodes, "old", [x, w], [y], inner)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=3)


def _halves(model: Model) -> Model:
    half = onnx.ModelProto()
    half.CopyFrom(model)
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in half.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return half


def _sparse() -> Model:
    model = _model("g (float[batch,4] x) => (float[batch,4] y) { y = MatMul(x, w_4_4) }")
    tensor = model.graph.initializer.pop()
    values = numpy_helper.from_array(np.array([1, 2, 3], np.float32), tensor.name)
    indices = numpy_helper.from_array(np.array([0, 5, 10]), "at")
    sparse = onnx.SparseTensorProto(values=values, indices=indices, dims=[4, 4])
    model.graph.sparse_initializer.append(sparse)
    return model
