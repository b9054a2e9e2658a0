"""Captures that later runs take: an export of torch takes longer than most of what follows.

A capture is kept by the content of the model's files, of the code that builds the module and of
the module itself, by what it is traced with, and by the versions of what traces it. Live modules
are captured anew: they may be anything. So are ONNX files, whose capture is quick.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from compressor.capture import Captured
from compressor.capture.inputs import Inputs
from compressor.capture.source import ModelSource
from compressor.checkpoint.code_of import code_of
from compressor.graph.draws import Draw
from compressor.graph.files import PROTOBUF_LIMIT, initializer_bytes
from compressor.graph.fingerprint import fingerprint
from compressor.graph.lifting import DrawnInput
from compressor.graph.tensors import Array, TensorSpec
from compressor.recipe.loading import ModelOptions
from compressor.results.records import Parity, StageRecord
from compressor.system.cache import Cache, Entry, array_digest, digest_of
from compressor.system.versions import made_by

WHAT = "capture"
_BLOCK = 2**22
_TRACERS = ("torch", "onnx", "onnxscript", "transformers", "timm", "torchvision")


@dataclass(frozen=True)
class Question:
    """What is captured, and how.

    Attributes:
        source: The model.
        path: Its file or folder; None for what lies nowhere.
        options: How it was loaded.
        traced: What it is traced with, as JSON.
        arrays: Samples that it is traced with.
    """

    source: ModelSource
    path: Path | None
    options: ModelOptions
    traced: Mapping[str, Any]
    arrays: Mapping[str, Array] | None = None

    @property
    def key(self) -> dict[str, str] | None:
        """All that the graph depends on; None where that cannot be told."""
        source = self.source
        if self.path is None or source.kind == "onnx":
            return None
        code = "" if source.kind != "module" else code_of(source.module)
        if code is None:
            return None
        samples = {name: array_digest(array) for name, array in (self.arrays or {}).items()}
        own = [str(spec) for spec in source.inputs]
        return {
            "kind": source.kind,
            "model": digest_of(list(_files(self.path))),
            "code": code,
            "options": self.options.model_dump_json(),
            "traced": digest_of(dict(self.traced), samples, own, list(source.notices)),
            **{f"made by {name}": text for name, text in made_by(*_TRACERS).items()},
        }


def captured_once(cache: Cache, asked: Question, capture: Callable[[], Captured]) -> Captured:
    """A capture that is kept, or a new one, which is kept then.

    Args:
        cache: Where.
        asked: What is captured.
        capture: Does it.
    """
    key = asked.key if cache.keeps else None
    if key is None:
        return capture()
    found = cache.take(WHAT, key, _read)
    if found is not None:
        return found
    made = capture()
    kept = _written(made) if cache.holds(initializer_bytes(made.model)) else None
    if kept is not None:
        cache.put(WHAT, key, kept)
    return made


def _files(path: Path) -> list[list[str]]:
    """Name and SHA-256 of each file of a model."""
    if path.is_file():
        return [["", _digest(path)]]
    found = sorted(one for one in path.rglob("*") if one.is_file())
    return [[one.relative_to(path).as_posix(), _digest(one)] for one in found]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _written(made: Captured) -> Entry | None:
    """A capture as an entry; None for one beyond what a message of protobuf holds."""
    samples = made.inputs.samples
    arrays = [*samples.values()]
    if initializer_bytes(made.model) >= PROTOBUF_LIMIT or any(a.dtype.kind == "V" for a in arrays):
        return None
    content = ir.serde.serialize_model(made.model).SerializeToString()
    inputs = made.inputs
    document = {
        "fingerprint": fingerprint(made.model),
        "numbers": _numbers(made.model),
        "parity": [one.model_dump(mode="json") for one in made.parity],
        "record": made.record.model_dump(mode="json"),
        "specs": _specs(inputs.specs),
        "sizes": dict(inputs.sizes),
        "offset": inputs.offset,
        "asked": sorted(inputs.asked),
        "noise": {name: [draw.kind, draw.salt] for name, draw in inputs.noise.items()},
        "noises": [
            [*_specs([one.spec]), one.draw.kind, one.draw.salt, one.node, one.operator, one.seed]
            for one in made.noises
        ],
    }
    kept = {"model": np.frombuffer(content, np.uint8)}
    return Entry(document, kept | {f"sample {name}": a for name, a in samples.items()})


def _read(entry: Entry) -> Captured | None:
    """A capture of an entry; None where it is not the graph that was kept."""
    told = entry.document
    proto = onnx.ModelProto.FromString(entry.arrays["model"].tobytes())
    model = ir.serde.deserialize_model(proto)
    _put_back(model, told["numbers"])
    if fingerprint(model) != told["fingerprint"]:
        return None
    inputs = Inputs(
        specs=tuple(map(_spec, told["specs"])),
        samples={
            name.removeprefix("sample "): array
            for name, array in entry.arrays.items()
            if name.startswith("sample ")
        },
        sizes=told["sizes"],
        offset=told["offset"],
        asked=frozenset(told["asked"]),
        noise={name: Draw(kind, salt) for name, (kind, salt) in told["noise"].items()},
    )
    noises = tuple(
        DrawnInput(_spec(spec), Draw(kind, salt), node, operator, seed)
        for spec, kind, salt, node, operator, seed in told["noises"]
    )
    record = StageRecord.model_validate(told["record"])
    record = record.model_copy(
        update={"seconds": 0.0, "parameters": {**record.parameters, "cache": "taken"}}
    )
    parity = tuple(map(Parity.model_validate, told["parity"]))
    return Captured(model, parity, record, inputs, noises)


def _numbers(model: ir.Model) -> list[list[Any]]:
    """Attributes that are numbers, by the place of their node: a file rounds them to float32."""
    kinds = (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS)
    return [
        [place, name, attribute.value]
        for place, node in enumerate(model.graph.all_nodes())
        for name, attribute in node.attributes.items()
        if attribute.type in kinds and not attribute.is_ref()
    ]


def _put_back(model: ir.Model, numbers: Sequence[Sequence[Any]]) -> None:
    """Those numbers as they were, so that plans of this graph and of a new capture are one."""
    nodes = list(model.graph.all_nodes())
    for place, name, value in numbers:
        made = ir.AttrFloat32s if isinstance(value, list) else ir.AttrFloat32
        nodes[place].attributes[name] = made(name, value)


def _specs(specs: Sequence[TensorSpec]) -> list[list[Any]]:
    return [[spec.name, spec.dtype.name, list(spec.shape)] for spec in specs]


def _spec(told: Sequence[Any]) -> TensorSpec:
    name, dtype, shape = told
    return TensorSpec(name, np.dtype(dtype), tuple(shape))
