"""What is done to names and other words that a file brings along."""

import json
from random import Random

import onnx
from onnx import TensorProto

from fuzz import hostile
from fuzz.messages import Model, messages_of, names_of

_NOTES = (
    "compressor.kv_cache", "compressor.execution", "compressor.noise", "task", "names", "imgsz",
    "pkg.torch.onnx.name_scopes", "channels", "preprocess", "producer", "onnx.infer",
)  # fmt: skip
"""Keys that somebody reads."""


def renamed(rng: Random, model: Model) -> None:
    """One name, wherever it stands, becomes another: graphs stay right, and names are hostile."""
    before, after = rng.choice(names_of(model)), hostile.text(rng)
    for message in messages_of(model.graph):
        if isinstance(message, onnx.NodeProto):
            for names in (message.input, message.output):
                for index, name in enumerate(names):
                    names[index] = after if name == before else name
            message.name = after if message.name == before else message.name
        elif isinstance(message, onnx.ValueInfoProto | TensorProto) and message.name == before:
            message.name = after


def all_renamed(rng: Random, model: Model) -> None:
    """Every name hostile, and still another than the others."""
    names = {
        name: f"{index}{hostile.text(rng)}" for index, name in enumerate(names_of(model)) if name
    }
    for message in messages_of(model.graph):
        if isinstance(message, onnx.NodeProto):
            for held in (message.input, message.output):
                held[:] = [names.get(name, name) for name in held]
        if isinstance(message, onnx.NodeProto | onnx.ValueInfoProto | TensorProto):
            message.name = names.get(message.name, message.name)


def told(rng: Random, model: Model) -> None:
    """Words that a file brings along."""
    how = rng.randrange(7)
    if how == 0:
        model.metadata_props.add(key=hostile.text(rng), value=hostile.text(rng))
    elif how > 4:
        value = rng.choice((json.dumps(hostile.value(rng)), hostile.text(rng)))
        held = rng.choice([model, *messages_of(model.graph)])
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
