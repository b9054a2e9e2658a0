"""What is done to inputs, outputs, sizes and versions."""

from random import Random

from onnx import helper

from fuzz import hostile
from fuzz.messages import Model, names_of


def opset(rng: Random, model: Model) -> None:
    how = rng.randrange(4)
    if how == 0 and model.opset_import:
        model.opset_import[0].version = rng.choice((0, 1, 5, 6, 8, 12, 19, 22, 25, 30, 9999, -1))
    elif how == 1:
        model.opset_import.add(domain=rng.choice(("", "ai.onnx", "x")), version=rng.randrange(25))
    elif how == 2:
        del model.opset_import[:]
    else:
        model.ir_version = rng.choice((0, 1, 3, 4, 8, 13, 99, 2**40))


def sizes(rng: Random, model: Model) -> None:
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


def no_tensor(rng: Random, model: Model) -> None:
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


def outputs(rng: Random, model: Model) -> None:
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
        graph.output.append(helper.make_tensor_value_info(rng.choice(names_of(model)), 1, None))


def inputs(rng: Random, model: Model) -> None:
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


def passed_on(rng: Random, model: Model) -> None:
    """An output that is an input, through nothing or next to nothing."""
    if not model.graph.input:
        return
    given = model.graph.input[0]
    model.graph.node.append(helper.make_node("Identity", [given.name], ["passed_on"], "passing"))
    kind = given.type.tensor_type.elem_type
    model.graph.output.append(helper.make_tensor_value_info("passed_on", kind, None))


def baked(rng: Random, model: Model) -> None:
    """Open sizes with numbers, or without names."""
    size = rng.choice((1, 2, 8))
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param and rng.random() < 0.7:
                dim.ClearField("dim_param") if rng.random() < 0.4 else None
                if dim.dim_param and dim.dim_param == "batch":
                    dim.dim_value = size
