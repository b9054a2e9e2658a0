"""What is small in a file, and large or endless as it is read."""

from random import Random
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fuzz.messages import Model, names_of

_HUGE = (2**20, 2**31, 2**33, 2**40, 2**62, 2**63 - 1)


def huge(rng: Random, model: Model) -> None:
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


def deep(rng: Random, model: Model) -> None:
    """If within If, or functions that call functions."""
    depth = rng.choice((5, 60, 120, 400))
    inner = _leaf("leaf")
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


def endless(rng: Random, model: Model) -> None:
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


def long(rng: Random, model: Model) -> None:
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


def recursive(rng: Random, model: Model) -> None:
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


def growing(rng: Random, model: Model) -> None:
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
    model.graph.node.append(helper.make_node("F0", [names_of(model)[0]], ["grown"], domain="own"))
    model.graph.output.add().CopyFrom(helper.make_tensor_value_info("grown", 1, None))
