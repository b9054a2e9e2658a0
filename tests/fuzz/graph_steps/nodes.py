"""What is done to nodes: operator, domain, inputs, outputs, attributes."""

from random import Random

import onnx
from onnx import defs, helper

from fuzz import hostile
from fuzz.messages import Model, a_node, names_of

_OPERATORS = sorted({schema.name for schema in defs.get_all_schemas()})
_CONTRIBUTED = (
    "FusedConv", "Attention", "MatMulNBits", "QLinearAdd", "BiasGelu", "Trilu", "Inverse",
)  # fmt: skip


def other_operator(rng: Random, model: Model) -> None:
    node = a_node(rng, model)
    node.op_type = rng.choice((rng.choice(_OPERATORS), "Nothing", hostile.text(rng)))


def contributed(rng: Random, model: Model) -> None:
    node = a_node(rng, model)
    node.op_type, node.domain = rng.choice(_CONTRIBUTED), "com.microsoft"
    if rng.random() < 0.7:
        model.opset_import.add(domain="com.microsoft", version=1)


def foreign_domain(rng: Random, model: Model) -> None:
    a_node(rng, model).domain = rng.choice(("ai.onnx.ml", "ai.onnx", "mine", hostile.text(rng)))


def rewired(rng: Random, model: Model) -> None:
    node, names = a_node(rng, model), names_of(model)
    how = rng.randrange(4)
    if how == 0 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice((*names, ""))
    elif how == 1 and node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice((*names, ""))
    elif how == 2:
        node.input.append(rng.choice((*names, "")))
    else:
        node.output.append(rng.choice((*names, "", "more")))


def attribute(rng: Random, model: Model) -> None:
    node = a_node(rng, model)
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


def refers(rng: Random, model: Model) -> None:
    node = a_node(rng, model)
    node.attribute.add(name="axis", ref_attr_name="given", type=onnx.AttributeProto.INT)


def doubled(rng: Random, model: Model) -> None:
    """A node twice, whose second result goes nowhere, or becomes an output."""
    node = onnx.NodeProto()
    node.CopyFrom(rng.choice(model.graph.node) if model.graph.node else helper.make_node("Abs", []))
    node.name, node.output[:] = "again", [f"{name}_again" for name in node.output]
    model.graph.node.append(node)
    if rng.random() < 0.5 and node.output:
        model.graph.output.append(helper.make_tensor_value_info(node.output[0], 1, None))
