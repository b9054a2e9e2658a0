"""Fields of an ONNX message with one thing done to them: to any field, or to what graphs are of."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from fuzz import hostile

Model = Any
Message = Any
_OPERATORS = sorted({schema.name for schema in defs.get_all_schemas()})
_CONTRIBUTED = (
    "FusedConv",
    "Attention",
    "MatMulNBits",
    "QLinearAdd",
    "BiasGelu",
    "Trilu",
    "Inverse",
)
_LOCATIONS = (
    "../outside.bin", "/etc/hostname", "", ".", "missing.bin", "link.bin",
    "inner/../../outside.bin", "weights.bin/", "WEIGHTS.bin", "weights.bin\x00x", "a/" * 300,
    "linked/outside.bin",
    "fifo.bin", "C:\\outside.bin", "..\\outside.bin", "./weights.bin", hostile.ESCAPES,
)  # fmt: skip
_NOTES = (
    "compressor.kv_cache", "compressor.execution", "compressor.noise", "task", "names", "imgsz",
    "pkg.torch.onnx.name_scopes", "channels", "preprocess", "producer", "onnx.infer",
)  # fmt: skip
"""Keys that somebody reads."""
_HUGE = (2**20, 2**31, 2**33, 2**40, 2**62, 2**63 - 1)


def broken_field(rng: Random, model: Model) -> None:
    """Any field of any message within."""
    message = rng.choice(list(_messages(model)))
    field = rng.choice(message.DESCRIPTOR.fields)
    if field.is_repeated:
        _break_repeated(rng, getattr(message, field.name), field, model)
    elif rng.random() < 0.25:
        message.ClearField(field.name)
    elif field.message_type is None:
        _set(rng, message, field, model)
    else:
        getattr(message, field.name).SetInParent()


def broken_graph(rng: Random, model: Model) -> None:
    """What only somebody breaks who knows what graphs are."""
    rng.choice(_OF_GRAPHS)(rng, model)


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, content in message.ListFields():
        if field.message_type is not None:
            for inner in content if field.is_repeated else (content,):
                yield from _messages(inner)


def _break_repeated(rng: Random, items: Any, field: Any, model: Model) -> None:
    at = rng.randrange(len(items)) if len(items) else 0
    how = rng.randrange(6)
    scalar = field.message_type is None
    if how == 0:
        del items[:]
    elif how == 1 and len(items):
        del items[at]
    elif how == 2 and len(items):
        items.extend([items[at]] * rng.choice((1, 1, 20)))
    elif how == 3 and len(items) > 1:
        other = rng.randrange(len(items))
        kept = list(items)
        kept[at], kept[other] = kept[other], kept[at]
        copied = [
            item if scalar else type(item).FromString(item.SerializeToString()) for item in kept
        ]
        del items[:]
        items.extend(copied)
    elif scalar and how == 4 and len(items):
        items[at] = _scalar(rng, field, model)
    elif scalar:
        items.append(_scalar(rng, field, model))
    else:
        items.add()


def _set(rng: Random, message: Message, field: Any, model: Model) -> None:
    if field.type == field.TYPE_BYTES:
        setattr(message, field.name, hostile.broken_bytes(rng, getattr(message, field.name)))
    else:
        setattr(message, field.name, _scalar(rng, field, model))


def _scalar(rng: Random, field: Any, model: Model) -> Any:
    if field.type == field.TYPE_STRING:
        return rng.choice(_names(model)) if rng.random() < 0.5 else hostile.text(rng)
    if field.type == field.TYPE_BYTES:
        return rng.choice((b"", b"x", b"\xff" * 9, hostile.MARKUP.encode()))
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return hostile.number(rng)
    number = rng.choice((hostile.integer(rng), rng.randrange(30)))
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    bits = 32 if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    signed = field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return max(low, min(high, number))


def _names(model: Model) -> list[str]:
    graph = model.graph
    found = [name for node in graph.node for name in (*node.input, *node.output, node.name)]
    found += [value.name for value in (*graph.input, *graph.output, *graph.initializer)]
    return sorted(set(found)) or ["x"]


def _node(rng: Random, model: Model) -> Any:
    nodes = [message for message in _messages(model.graph) if isinstance(message, onnx.NodeProto)]
    return rng.choice(nodes) if nodes else model.graph.node.add()


def _tensor(rng: Random, model: Model) -> Any:
    found = [message for message in _messages(model) if isinstance(message, TensorProto)]
    return rng.choice(found) if found else model.graph.initializer.add(name="made")


def _other_operator(rng: Random, model: Model) -> None:
    node = _node(rng, model)
    node.op_type = rng.choice((rng.choice(_OPERATORS), "Nothing", hostile.text(rng)))


def _contributed(rng: Random, model: Model) -> None:
    node = _node(rng, model)
    node.op_type, node.domain = rng.choice(_CONTRIBUTED), "com.microsoft"
    if rng.random() < 0.7:
        model.opset_import.add(domain="com.microsoft", version=1)


def _foreign_domain(rng: Random, model: Model) -> None:
    _node(rng, model).domain = rng.choice(("ai.onnx.ml", "ai.onnx", "mine", hostile.text(rng)))


def _rewired(rng: Random, model: Model) -> None:
    node, names = _node(rng, model), _names(model)
    how = rng.randrange(4)
    if how == 0 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice((*names, ""))
    elif how == 1 and node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice((*names, ""))
    elif how == 2:
        node.input.append(rng.choice((*names, "")))
    else:
        node.output.append(rng.choice((*names, "", "more")))


def _attribute(rng: Random, model: Model) -> None:
    node = _node(rng, model)
    if not node.attribute:
        schemas = [s for s in defs.get_all_schemas() if s.name == node.op_type and s.attributes]
        name = rng.choice(sorted(schemas[0].attributes)) if schemas else "axis"
        node.attribute.append(helper.make_attribute(name, hostile.integer(rng)))
        return
    attribute = rng.choice(node.attribute)
    made = rng.choice(
        (
            hostile.integer(rng), [hostile.integer(rng) for _ in range(rng.choice((1, 2, 4, 9)))],
            hostile.number(rng), hostile.text(rng), [hostile.number(rng)],
        )
    )  # fmt: skip
    if attribute.ints and rng.random() < 0.6:
        attribute.ints[rng.randrange(len(attribute.ints))] = hostile.integer(rng)
    elif attribute.type == onnx.AttributeProto.INT and rng.random() < 0.6:
        attribute.i = hostile.integer(rng)
    else:
        attribute.CopyFrom(helper.make_attribute(attribute.name, made))


def _refers(rng: Random, model: Model) -> None:
    node = _node(rng, model)
    node.attribute.add(name="axis", ref_attr_name="given", type=onnx.AttributeProto.INT)


def _values(rng: Random, model: Model) -> None:
    tensor = _tensor(rng, model)
    try:
        array = np.array(numpy_helper.to_array(tensor))
    except Exception:  # it is broken already
        return
    if not array.size or array.dtype.kind not in "fiu":
        return
    count = rng.choice((1, array.size))
    fill = hostile.number(rng) if array.dtype.kind == "f" else rng.choice((0, 1, -1, 99, 2**31))
    with np.errstate(all="ignore"):
        array.reshape(-1)[:count] = np.array([fill]).astype(array.dtype)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _shape_of_weight(rng: Random, model: Model) -> None:
    tensor = _tensor(rng, model)
    try:
        array = numpy_helper.to_array(tensor)
    except Exception:  # it is broken already
        return
    how = rng.randrange(5)
    if how == 0:
        made = array.reshape(-1)
    elif how == 1:
        made = array.reshape((1, *array.shape))
    elif how == 2:
        made = array[..., :0] if array.ndim else array
    elif how == 3:
        made = array.T
    else:
        made = array.reshape(array.shape[::-1])
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(made), tensor.name))


def _type_of_weight(rng: Random, model: Model) -> None:
    tensor = _tensor(rng, model)
    try:
        array = numpy_helper.to_array(tensor)
        kind = rng.choice(
            ("float64", "float16", "int64", "int32", "bool", "uint8", "complex64", "S")
        )
        made = array.astype(kind) if kind != "S" else np.full(array.shape, b"x", dtype=object)
    except (ValueError, TypeError, OverflowError):
        return
    with np.errstate(all="ignore"):
        tensor.CopyFrom(numpy_helper.from_array(made, tensor.name))


def _huge(rng: Random, model: Model) -> None:
    """A few bytes that become many."""
    size = rng.choice(_HUGE)
    graph = model.graph
    sizes = numpy_helper.from_array(np.array([size, rng.choice((1, 2**20))]), "huge_sizes")
    graph.initializer.append(sizes)
    one = numpy_helper.from_array(np.float32(1), "huge_one")
    graph.initializer.append(one)
    how = rng.randrange(5)
    if how == 0:
        node = helper.make_node("ConstantOfShape", ["huge_sizes"], ["huge"], "huge")
    elif how == 1:
        node = helper.make_node("Expand", ["huge_one", "huge_sizes"], ["huge"], "huge")
    elif how == 2:
        limit = numpy_helper.from_array(np.float32(size), "huge_limit")
        graph.initializer.append(limit)
        node = helper.make_node("Range", ["huge_one", "huge_limit", "huge_one"], ["huge"], "huge")
    elif how == 3:
        node = helper.make_node("RandomNormal", [], ["huge"], "huge", shape=[size, 2])
    else:
        graph.initializer.append(numpy_helper.from_array(np.ones((1, 1), np.float32), "huge_t"))
        node = helper.make_node("Tile", ["huge_t", "huge_sizes"], ["huge"], "huge")
    nodes = [node]
    if rng.random() < 0.7 and graph.output:
        nodes.append(helper.make_node("ReduceMax", ["huge"], ["huge_max"], keepdims=0))
        last = graph.output[0].name
        nodes.append(helper.make_node("Add", [last, "huge_max"], ["huge_out"]))
        graph.output[0].name = "huge_out"
    before = list(graph.node)
    del graph.node[:]
    graph.node.extend([nodes[0], *before, *nodes[1:]])


def _claims(rng: Random, model: Model) -> None:
    """A weight that claims sizes which its data does not have."""
    tensor = _tensor(rng, model)
    del tensor.dims[:]
    tensor.dims.extend(
        rng.choice(([2**62], [2**31, 2**31], [2**20] * 3, [-1], [0], [2**40, 0], [1] * 70))
    )


def _deep(rng: Random, model: Model) -> None:
    """If within If, or functions that call functions."""
    depth = rng.choice((5, 60, 120, 400))
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["leaf"], value_float=1.0)],
        "leaf",
        [],
        [helper.make_tensor_value_info("leaf", TensorProto.FLOAT, [])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.bool_(True), "deep_yes"))
    for index in range(depth):
        name = f"deep{index}"
        node = helper.make_node("If", ["deep_yes"], [name], then_branch=inner, else_branch=inner)
        if index == depth - 1:
            model.graph.node.append(node)
            model.graph.output.add().CopyFrom(helper.make_tensor_value_info(name, 1, []))
            return
        shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [])]
        wider = helper.make_graph([node], name, [], shown)
        if index > 8:  # both branches twice as large would never end
            del node.attribute[1].g.node[:]
            node.attribute[1].g.CopyFrom(_leaf(name))
            wider = helper.make_graph([node], name, [], shown)
        inner = wider


def _leaf(name: str) -> Any:
    made = helper.make_node("Constant", [], [name], value_float=1.0)
    return helper.make_graph([made], "leaf", [], [helper.make_tensor_value_info(name, 1, [])])


def _endless(rng: Random, model: Model) -> None:
    """A loop that never ends."""
    trips = numpy_helper.from_array(np.int64(rng.choice((2**31, 2**63 - 1))), "endless_trips")
    yes = numpy_helper.from_array(np.bool_(True), "endless_yes")
    model.graph.initializer.extend([trips, yes])
    inner = [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Sin", ["s"], ["t"])]
    scalar = [helper.make_tensor_value_info(n, k, []) for n, k in (("i", 7), ("c", 9), ("s", 1))]
    ends = [helper.make_tensor_value_info(n, k, []) for n, k in (("d", 9), ("t", 1))]
    body = helper.make_graph(inner, "endless", scalar, ends)
    start = numpy_helper.from_array(np.float32(1), "endless_start")
    model.graph.initializer.append(start)
    read = ["endless_trips", "endless_yes", "endless_start"]
    model.graph.node.append(helper.make_node("Loop", read, ["endless"], body=body))
    model.graph.output.append(helper.make_tensor_value_info("endless", 1, []))


def _long(rng: Random, model: Model) -> None:
    """A chain of thousands."""
    if not model.graph.output:
        return
    last = model.graph.output[0].name
    for index in range(rng.choice((50, 1500))):
        name = f"long{index}"
        model.graph.node.append(
            helper.make_node(rng.choice(("Relu", "Identity")), [last], [name], name)
        )
        last = name
    model.graph.output[0].name = last


def _recursive(rng: Random, model: Model) -> None:
    names = ("Own", "Other") if rng.random() < 0.5 else ("Own", "Own")
    for index, name in enumerate(dict.fromkeys(names)):
        calls = names[1 - index]
        node = helper.make_node(calls, ["a"], ["b"], domain="own")
        imports = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", name, ["a"], ["b"], [node], imports))
    model.opset_import.add(domain="own", version=1)
    model.graph.node.append(
        helper.make_node("Own", [model.graph.input[0].name], ["own"], domain="own")
    )


def _growing(rng: Random, model: Model) -> None:
    """Functions that call the next one twice: a few make millions of nodes."""
    count = rng.choice((4, 12, 30))
    for index in range(count):
        calls, domain = (f"F{index + 1}", "own") if index + 1 < count else ("Relu", "")
        nodes = [
            helper.make_node(calls, ["a"], ["m"], domain=domain),
            helper.make_node(calls, ["m"], ["b"], domain=domain),
        ]
        imports = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
        model.functions.append(
            helper.make_function("own", f"F{index}", ["a"], ["b"], nodes, imports)
        )
    model.opset_import.add(domain="own", version=1)
    model.graph.node.append(helper.make_node("F0", [_names(model)[0]], ["grown"], domain="own"))
    model.graph.output.add().CopyFrom(helper.make_tensor_value_info("grown", 1, None))


def _opset(rng: Random, model: Model) -> None:
    how = rng.randrange(4)
    if how == 0 and model.opset_import:
        model.opset_import[0].version = rng.choice((0, 1, 5, 6, 8, 12, 19, 22, 25, 30, 9999, -1))
    elif how == 1:
        model.opset_import.add(domain=rng.choice(("", "ai.onnx", "x")), version=rng.randrange(25))
    elif how == 2:
        del model.opset_import[:]
    else:
        model.ir_version = rng.choice((0, 1, 3, 4, 8, 13, 99, 2**40))


def _sizes(rng: Random, model: Model) -> None:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    if not values:
        return
    kind = rng.choice(values).type.tensor_type
    how = rng.randrange(6)
    if how == 0:
        kind.elem_type = rng.randrange(26)
    elif how == 1:
        kind.ClearField("shape")
    elif how == 2:
        kind.shape.dim.add(dim_value=hostile.integer(rng))
    elif how == 3 and kind.shape.dim:
        del kind.shape.dim[rng.randrange(len(kind.shape.dim))]
    elif kind.shape.dim:
        dim = rng.choice(kind.shape.dim)
        if rng.random() < 0.5:
            dim.dim_value = rng.choice((hostile.integer(rng), 3))
        else:
            dim.dim_param = rng.choice(
                ("batch", "seq", "a+b", "2*n", "n*n", "-1", hostile.text(rng))
            )


def _no_tensor(rng: Random, model: Model) -> None:
    value = rng.choice([*model.graph.input, *model.graph.output])
    kind = rng.choice(
        (
            helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, None)),
            helper.make_optional_type_proto(helper.make_tensor_type_proto(1, None)),
            helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, None)),
            helper.make_sparse_tensor_type_proto(1, [2, 2]),
            helper.make_tensor_type_proto(8, [2]),
        )
    )
    value.type.CopyFrom(kind)


def _outputs(rng: Random, model: Model) -> None:
    graph = model.graph
    how = rng.randrange(5)
    if how == 0:
        del graph.output[:]
    elif how == 1 and graph.input:
        graph.output.append(graph.input[0])
    elif how == 2 and graph.initializer:
        one = graph.initializer[0]
        graph.output.append(helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)))
    elif how == 3 and graph.output:
        graph.output.append(graph.output[0])
    else:
        graph.output.append(helper.make_tensor_value_info(rng.choice(_names(model)), 1, None))


def _inputs(rng: Random, model: Model) -> None:
    graph = model.graph
    how = rng.randrange(3)
    if how == 0:
        del graph.input[:]
    elif how == 1 and graph.initializer:
        one = rng.choice(graph.initializer)
        graph.input.append(helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)))
    else:
        extra = helper.make_tensor_value_info(
            "extra", rng.choice((1, 7, 9, 8)), [hostile.integer(rng)]
        )
        graph.input.append(extra)


def _renamed(rng: Random, model: Model) -> None:
    """One name, wherever it stands, becomes another: graphs stay right, and names are hostile."""
    before, after = rng.choice(_names(model)), hostile.text(rng)
    for message in _messages(model.graph):
        if isinstance(message, onnx.NodeProto):
            for names in (message.input, message.output):
                for index, name in enumerate(names):
                    names[index] = after if name == before else name
            message.name = after if message.name == before else message.name
        elif isinstance(message, onnx.ValueInfoProto | TensorProto) and message.name == before:
            message.name = after


def _all_renamed(rng: Random, model: Model) -> None:
    """Every name hostile, and still another than the others."""
    names = {
        name: f"{index}{hostile.text(rng)}" for index, name in enumerate(_names(model)) if name
    }
    for message in _messages(model.graph):
        if isinstance(message, onnx.NodeProto):
            for held in (message.input, message.output):
                held[:] = [names.get(name, name) for name in held]
        if isinstance(message, onnx.NodeProto | onnx.ValueInfoProto | TensorProto):
            message.name = names.get(message.name, message.name)


def _scales(rng: Random, model: Model) -> None:
    """Q/DQ with a scale and a zero point that are none."""
    if not model.graph.output:
        return
    scale = numpy_helper.from_array(np.array(hostile.number(rng), np.float32), "q_scale")
    kind = rng.choice((np.uint8, np.int8, np.uint16, np.int32))
    zero = numpy_helper.from_array(np.array(rng.choice((0, 100)), kind), "q_zero")
    model.graph.initializer.extend([scale, zero])
    last = model.graph.output[0].name
    model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", [last, "q_scale", "q_zero"], ["q"], "q"),
            helper.make_node("DequantizeLinear", ["q", "q_scale", "q_zero"], ["dq"], "dq"),
        ]
    )
    model.graph.output[0].name = "dq"


def _told(rng: Random, model: Model) -> None:
    """Words that a file brings along."""
    how = rng.randrange(7)
    if how == 0:
        model.metadata_props.add(key=hostile.text(rng), value=hostile.text(rng))
    elif how > 4:
        value = rng.choice((json.dumps(hostile.value(rng)), hostile.text(rng)))
        held = rng.choice([model, *_messages(model.graph)])
        if hasattr(held, "metadata_props"):
            held.metadata_props.add(key=rng.choice(_NOTES), value=value)
    elif how == 1:
        model.producer_name = hostile.text(rng)
    elif how == 2:
        model.graph.name = hostile.text(rng)
    elif how == 3:
        model.doc_string = hostile.text(rng)
    else:
        model.training_info.add().initialization.node.add(op_type="Relu")


def _swapped_type(rng: Random, model: Model) -> None:
    """Every float weight and input in another type: graphs stay right, kernels may lack."""
    kind, dtype = rng.choice(((11, np.float64), (10, np.float16)))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = kind
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            with np.errstate(all="ignore"):
                array = numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


_OF_GRAPHS: tuple[Callable[[Random, Model], None], ...] = (
    _other_operator, _other_operator, _contributed, _foreign_domain, _rewired, _rewired, _attribute,
    _attribute, _attribute, _refers, _values, _values, _shape_of_weight, _type_of_weight, _huge,
    _claims, _deep, _long, _endless, _recursive, _growing, _opset, _opset, _sizes, _sizes,
    _no_tensor, _outputs, _inputs, _renamed, _all_renamed, _all_renamed, _scales, _told,
    _swapped_type,
)  # fmt: skip


def _doubled(rng: Random, model: Model) -> None:
    """A node twice, whose second result goes nowhere, or becomes an output."""
    node = onnx.NodeProto()
    node.CopyFrom(rng.choice(model.graph.node) if model.graph.node else helper.make_node("Abs", []))
    node.name, node.output[:] = "again", [f"{name}_again" for name in node.output]
    model.graph.node.append(node)
    if rng.random() < 0.5 and node.output:
        model.graph.output.append(helper.make_tensor_value_info(node.output[0], 1, None))


def _shared(rng: Random, model: Model) -> None:
    """Two weights of one shape become one."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for tensor in model.graph.initializer:
        by_shape.setdefault((tensor.data_type, *tensor.dims), []).append(tensor.name)
    alike = [names for names in by_shape.values() if len(names) > 1]
    if not alike:
        return
    one, other = rng.sample(rng.choice(alike), 2)
    for node in model.graph.node:
        node.input[:] = [one if name == other else name for name in node.input]


def _unused(rng: Random, model: Model) -> None:
    """Weights, functions and inputs that nothing reads."""
    shape = rng.choice(([], [0], [1, 1], [3, 0, 2]))
    tensor = numpy_helper.from_array(np.zeros(shape, np.float32), "unused_weight")
    model.graph.initializer.append(tensor)
    if rng.random() < 0.4:
        model.graph.input.append(helper.make_tensor_value_info("unused_input", 1, ["batch", 2]))


def _passed_on(rng: Random, model: Model) -> None:
    """An output that is an input, through nothing or next to nothing."""
    if not model.graph.input:
        return
    given = model.graph.input[0]
    model.graph.node.append(helper.make_node("Identity", [given.name], ["passed_on"], "passing"))
    kind = given.type.tensor_type.elem_type
    model.graph.output.append(helper.make_tensor_value_info("passed_on", kind, None))


def _baked(rng: Random, model: Model) -> None:
    """Open sizes with numbers, or without names."""
    size = rng.choice((1, 2, 8))
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param and rng.random() < 0.7:
                dim.ClearField("dim_param") if rng.random() < 0.4 else None
                if dim.dim_param and dim.dim_param == "batch":
                    dim.dim_value = size


def _extreme(rng: Random, model: Model) -> None:
    """Weights of which some are of another order, all are alike, or none are normal."""
    tensor = _tensor(rng, model)
    if tensor.data_type != TensorProto.FLOAT:
        return
    array = np.array(numpy_helper.to_array(tensor))
    how = rng.randrange(5)
    with np.errstate(all="ignore"):
        if how == 0 and array.size:
            array.reshape(-1)[rng.randrange(array.size)] *= np.float32(1e6)
        elif how == 1:
            array[...] = rng.choice((0.0, 1.0, -1.0, 1e-40, 1e30))
        elif how == 2:
            array = array * np.float32(1e-38)
        elif how == 3 and array.ndim:
            array[0] = 0
        else:
            array = np.round(array)
    tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))


def odd_graph(rng: Random, model: Model) -> None:
    """What is right, and what nobody writes."""
    rng.choice(_ODD)(rng, model)


_ODD: tuple[Callable[[Random, Model], None], ...] = (
    _all_renamed, _renamed, _extreme, _extreme, _extreme, _doubled, _shared, _unused, _passed_on,
    _baked, _values, _scales, _told, _swapped_type, _long, _opset, _outputs,
)  # fmt: skip


def outside(rng: Random, model: Model) -> None:
    """A weight that lies in another file, or claims to."""
    tensor = _tensor(rng, model)
    if tensor.data_location != TensorProto.EXTERNAL:
        tensor.data_location = TensorProto.EXTERNAL
        for name in ("raw_data", "float_data", "int64_data", "int32_data"):
            tensor.ClearField(name)
    entries = {entry.key: entry.value for entry in tensor.external_data} or {
        "location": "weights.bin"
    }
    key = rng.choice(("location", "location", "offset", "length", "checksum", hostile.text(rng)))
    if key == "location":
        entries[key] = rng.choice(_LOCATIONS)
    else:
        entries[key] = rng.choice((str(hostile.integer(rng)), hostile.text(rng), "4", "1e3", "+4"))
    del tensor.external_data[:]
    for name, value in entries.items():
        tensor.external_data.add(key=name, value=value)
