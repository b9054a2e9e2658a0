"""What is done to weights: values, shape, type, who reads them, where they lie."""

from random import Random

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fuzz import hostile
from fuzz.messages import Model, a_tensor


def values(rng: Random, model: Model) -> None:
    tensor = a_tensor(rng, model)
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


def shape_of_weight(rng: Random, model: Model) -> None:
    tensor = a_tensor(rng, model)
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


def type_of_weight(rng: Random, model: Model) -> None:
    tensor = a_tensor(rng, model)
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


def claims(rng: Random, model: Model) -> None:
    """A weight that claims sizes which its data does not have."""
    tensor = a_tensor(rng, model)
    del tensor.dims[:]
    tensor.dims.extend(
        rng.choice(([2**62], [2**31, 2**31], [2**20] * 3, [-1], [0], [2**40, 0], [1] * 70))
    )


def swapped_type(rng: Random, model: Model) -> None:
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


def extreme(rng: Random, model: Model) -> None:
    """Weights of which some are of another order, all are alike, or none are normal."""
    tensor = a_tensor(rng, model)
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


def shared(rng: Random, model: Model) -> None:
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


def unused(rng: Random, model: Model) -> None:
    """Weights, functions and inputs that nothing reads."""
    shape = rng.choice(([], [0], [1, 1], [3, 0, 2]))
    tensor = numpy_helper.from_array(np.zeros(shape, np.float32), "unused_weight")
    model.graph.initializer.append(tensor)
    if rng.random() < 0.4:
        model.graph.input.append(helper.make_tensor_value_info("unused_input", 1, ["batch", 2]))


def scales(rng: Random, model: Model) -> None:
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


_LOCATIONS = (
    "../outside.bin", "/etc/hostname", "", ".", "missing.bin", "link.bin",
    "inner/../../outside.bin", "weights.bin/", "WEIGHTS.bin", "weights.bin\x00x", "a/" * 300,
    "linked/outside.bin",
    "fifo.bin", "C:\\outside.bin", "..\\outside.bin", "./weights.bin", hostile.ESCAPES,
)  # fmt: skip


def lies_outside(rng: Random, model: Model) -> None:
    """A weight that lies in another file, or claims to."""
    tensor = a_tensor(rng, model)
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
