"""Which models are worked on block by block, what cannot be, and what blocks hand on."""

from pathlib import Path

import onnx
import onnx_ir as ir
from onnxscript.optimizer import fold_constants_ir

from compressor.capture.inputs import named
from compressor.checkpoint.kinds import find_kind
from compressor.errors import CaptureError, CompressorError, RecipeError, TargetError
from compressor.graph.batch import batch_axes
from compressor.graph.files import load_model
from compressor.graph.invariants import import_domains
from compressor.graph.names import make_unique
from compressor.graph.noise import drawing_nodes
from compressor.graph.shapes import input_specs, known_shapes, shape_of
from compressor.graph.tensors import Dimension, TensorSpec
from compressor.recipe.recipe import Recipe
from exporters.base import Target

HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
LEAVE_OUT = "Leave --memory out, and all of the model is worked on at once."
FOLDED = 1024
"""Elements of a constant up to which what is made of it is computed before the graph is cut."""
OR_ELSE = "Without --memory all of the model is worked on at once."


def is_streamed(model: object, recipe: Recipe) -> bool:
    """Whether a model is an ONNX file whose weights, in files beside it, exceed `--memory`."""
    memory = recipe.quantize.memory
    if memory is None or not isinstance(model, str | Path):
        return False
    path = Path(model)
    try:
        if not path.is_file() or find_kind(path) != "onnx":
            return False
        proto = onnx.load(str(path), load_external_data=False)
    except (CompressorError, OSError, ValueError):
        return False
    except Exception:  # protobuf's own, which has no stubs; whoever loads it says what is wrong
        return False
    return _external_bytes(proto) > memory


def _external_bytes(proto: onnx.ModelProto) -> int:
    """Bytes that initializers have in other files, as far as they say."""
    entries = (
        entry
        for tensor in proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "length" and entry.value.isdecimal()
    )
    return sum(int(entry.value) for entry in entries)


def require_streamable(recipe: Recipe, target: Target, model: object) -> None:
    """Refuse what is not decided block by block.

    Raises:
        RecipeError: Something of the whole is asked for.
        TargetError: The target cannot.
    """
    quantize, goal = recipe.quantize, recipe.prune.goal
    asked = {
        "" if goal is None else goal.flag: goal is not None,
        "--prune-threshold": recipe.prune.threshold is not None,
        "--sparsity": recipe.prune.sparsity is not None,
        "--max-drop": recipe.budget.max_drop is not None,
        "--train": recipe.train.learns,
        "--exits": recipe.train.exits is not None,
        "--kv-cache": quantize.kv_cache != "float",
        "--stats": recipe.data.stats is not None,
        "--package": recipe.package is not None,
    }
    refused = [flag for flag, is_asked in asked.items() if is_asked]
    why = f"{model} has more weights than --memory allows, and is worked on block by block"
    if refused:
        raise RecipeError(
            f"{why}: {refused[0]} asks for what only all of it together can tell",
            hint=f"Leave {refused[0]} out. {OR_ELSE}",
        )
    if not target.streams:
        raise TargetError(f"{why}, which {target.title} cannot be built from", hint=LEAVE_OUT)


def loaded(path: Path, target: Target) -> ir.Model:
    """The graph with the names that blocks share; its weights stay in their files.

    Raises:
        CheckpointError: The file is damaged.
        CaptureError: It would have to be changed as a whole first.
    """
    model = load_model(path)
    make_unique(model)
    import_domains(model)
    opset = model.opset_imports.get("", 0)
    if opset < target.least_opset:
        raise CaptureError(
            f"{path} has opset {opset}, and {target.title} wants {target.least_opset}: a model is "
            "not raised block by block (--memory)",
            hint="Export it with a later opset, or convert it with onnx.version_converter.",
        )
    half = next((v for v in model.graph.initializers.values() if _is_half(v)), None)
    if half is not None:
        raise CaptureError(
            f"{path} has weights in half ({half.name!r}), which are not widened block by block "
            "(--memory)",
            hint=f"Export it in float32. {OR_ELSE}",
        )
    if drawing_nodes(model):
        raise CaptureError(
            f"{path} draws random numbers, which each block would draw anew (--memory)",
            hint=LEAVE_OUT,
        )
    return _without_shapes(known_shapes(model))


def _without_shapes(model: ir.Model) -> ir.Model:
    """With what exporters compute from sizes and types of values made constants, in place.

    `CastLike` or `Shape` reads a value of which nothing counts but that; else a zero bias that
    takes its type from an activation would be handed on from block to block.
    """
    fold_constants_ir(model, input_size_limit=FOLDED, output_size_limit=FOLDED)
    return model


def _is_half(value: ir.Value) -> bool:
    tensor = value.const_value
    return tensor is not None and tensor.dtype in HALVES and tensor.size > 1


def named_inputs(model: ir.Model, path: Path) -> tuple[TensorSpec, ...]:
    """The inputs, with a name for each open size.

    Raises:
        CaptureError: The samples of one do not lie along its first axis.
    """
    specs = tuple(map(named, input_specs(model)))
    for spec in specs:
        lies = batch_axes(specs)[spec.name]
        if lies is None or lies.axis or lies.multiple != 1:
            raise CaptureError(
                f"{path}: input {spec} has no row for each sample, which a model has to have that "
                "is worked on block by block (--memory)",
                hint=LEAVE_OUT,
            )
    return specs


def handed_on(
    name: str, model: ir.Model, shape: tuple[int, ...], sizes: dict[str, int], batch: Dimension
) -> tuple[Dimension, ...]:
    """The shape of what a block hands on, as far as it is known to follow from the inputs' sizes.

    Args:
        name: The value.
        model: The whole graph, with the shapes that could be inferred.
        shape: With so many samples as there are.
        sizes: Open sizes of the inputs, as they are in the data.
        batch: The size that counts samples.
    """
    found = next((v for n in model.graph for v in n.outputs if v.name == name), None)
    stated = None if found is None else shape_of(found)
    if stated is None or len(stated) != len(shape):
        stated = (None,) * len(shape)
    return (batch, *(_size(s, size, sizes) for s, size in zip(stated[1:], shape[1:], strict=True)))


def _size(stated: Dimension, size: int, sizes: dict[str, int]) -> Dimension:
    """A name where the graph says so, or where one open size alone is as large."""
    if isinstance(stated, int) or (isinstance(stated, str) and stated in sizes):
        return stated
    alike = [name for name, value in sizes.items() if value == size]
    return alike[0] if len(alike) == 1 else size


def with_specs(part: ir.Model, specs: tuple[TensorSpec, ...]) -> ir.Model:
    """A block with the types and shapes of its inputs, in place."""
    known = {spec.name: spec for spec in specs}
    for value in part.graph.inputs:
        spec = known[value.name or ""]
        value.shape = ir.Shape(spec.shape)
        value.dtype = ir.DataType.from_numpy(spec.dtype)
    return part
