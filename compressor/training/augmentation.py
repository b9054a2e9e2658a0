"""Samples that vary from epoch to epoch: what the original answers to them is asked anew each time.

What is drawn depends on the seed and the step alone.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.graph.tensors import Array, Arrays
from compressor.system.userfile import is_object_spec, load_object, user_errors

Generator = np.random.Generator
Augmentation = Callable[[dict[str, Array], Generator], dict[str, Array]]
"""From the inputs of a batch to others of the same shapes and types."""

IMAGE_CHANNELS = (1, 3, 4)
LEAST_SIDE = 16
CROPPED = 1 / 8
"""Of a side, by which a picture is shifted at most."""
JITTER = 0.2
"""Of the spread of pixels: how far brightness moves; and contrast likewise."""
MASKED = 0.15
"""Of the tokens (Devlin et al. 2019, arXiv 1810.04805)."""
NAMES = ("flip", "crop", "jitter", "mixup", "mask")


@dataclass(frozen=True)
class Augmenting:
    """Some of them, one after the other.

    Attributes:
        names: As the recipe calls them.
        steps: What they do.
    """

    names: tuple[str, ...]
    steps: tuple[Augmentation, ...]

    def __call__(self, inputs: Arrays, rng: Generator) -> dict[str, Array]:
        """The inputs of a batch, varied."""
        made = dict(inputs)
        for step in self.steps:
            made = step(made, rng)
        return made


def rng_of(seed: int, number: int, purpose: str) -> Generator:
    """Random numbers that depend on these three alone."""
    return np.random.default_rng([seed, number, zlib.crc32(purpose.encode())])


def augmenting(
    asked: Sequence[str] | None, model: ir.Model, *, dense: bool = False, labelled: bool = False
) -> Augmenting:
    """What was asked for, or what suits the inputs.

    Args:
        asked: Names, or functions of the user; None for what suits.
        model: Tells which inputs are images, and which are tokens.
        dense: Whether labels have places of their own, which would have to move along.
        labelled: Whether labels are learned.

    Raises:
        RecipeError: There is no such augmentation, nothing that it could vary, or it would have to
            change labels, too.
    """
    images, tokens = image_inputs(model), token_inputs(model)
    if asked is None:
        asked = ("flip", "crop") if images and not dense else ()
    steps = []
    for name in asked:
        if is_object_spec(name):
            steps.append(_users(name))
            continue
        if name not in NAMES:
            raise RecipeError(
                f"there is no augmentation {name!r}",
                hint=f"Choose {', '.join(NAMES)}, or file.py:function of (inputs, generator).",
            )
        if labelled and (name == "mixup" or (dense and name in ("flip", "crop"))):
            why = "blends two samples" if name == "mixup" else "moves what labels lie beside"
            raise RecipeError(
                f"augmentation {name!r} {why}, and labels, which are learned, stay as they are",
                hint="Leave it out, or set [train] labels = 0 to learn from the original alone.",
            )
        on = tokens if name == "mask" else images
        if not on:
            kind = "tokens" if name == "mask" else "images"
            raise RecipeError(
                f"augmentation {name!r} is of {kind}, and no input of the graph is such",
                hint="Leave it out, or name file.py:function of (inputs, generator).",
            )
        steps.append(_each(_STEPS[name], on) if name != "mixup" else _mixed(on))
    return Augmenting(tuple(asked), tuple(steps))


def image_inputs(model: ir.Model) -> tuple[str, ...]:
    """Inputs that are pictures: floats [n, channels, height, width], large enough."""
    found = []
    for value in model.graph.inputs:
        sizes = list(value.shape or ())
        whole = [n if isinstance(n, int) else None for n in sizes]
        floats = value.dtype is not None and value.dtype.is_floating_point()
        if not floats or len(sizes) != 4 or whole[1] not in IMAGE_CHANNELS:
            continue
        if all(n is None or n >= LEAST_SIDE for n in whole[2:]):
            found.append(value.name or "")
    return tuple(found)


def token_inputs(model: ir.Model) -> tuple[str, ...]:
    """Inputs that are whole numbers [n, length] which a table is read by."""
    return tuple(
        value.name or ""
        for value in model.graph.inputs
        if value.dtype in (ir.DataType.INT64, ir.DataType.INT32)
        and len(value.shape or ()) == 2
        and any(node.op_type == "Gather" and index == 1 for node, index in value.uses())
    )


def _each(vary: Callable[[Array, Generator], Array], names: Sequence[str]) -> Augmentation:
    def run(inputs: dict[str, Array], rng: Generator) -> dict[str, Array]:
        return {name: vary(a, rng) if name in names else a for name, a in inputs.items()}

    return run


def _flipped(x: Array, rng: Generator) -> Array:
    """Each picture mirrored or not."""
    mirrored = rng.random((len(x), 1, 1, 1)) < 0.5
    return np.ascontiguousarray(np.where(mirrored, x[..., ::-1], x))


def _cropped(x: Array, rng: Generator) -> Array:
    """Each picture shifted; what comes in is its own reflection."""
    height, width = x.shape[2:]
    down, across = max(1, round(height * CROPPED)), max(1, round(width * CROPPED))
    wide = np.pad(x, ((0, 0), (0, 0), (down, down), (across, across)), mode="reflect")
    top, left = rng.integers(0, 2 * down + 1, len(x)), rng.integers(0, 2 * across + 1, len(x))
    made = np.empty_like(x)
    for place, (t, s) in enumerate(zip(top, left, strict=True)):
        made[place] = wide[place, :, t : t + height, s : s + width]
    return made


def _jittered(x: Array, rng: Generator) -> Array:
    """Each picture brighter or darker, with more or less contrast."""
    spread = x.std()
    shift = rng.uniform(-JITTER, JITTER, (len(x), 1, 1, 1)) * spread
    factor = rng.uniform(1 - JITTER, 1 + JITTER, (len(x), 1, 1, 1))
    centre = x.mean((1, 2, 3), keepdims=True)
    return np.asarray((x - centre) * factor + centre + shift, dtype=x.dtype)


def _masked(x: Array, rng: Generator) -> Array:
    """Some tokens replaced by others of the batch."""
    flat = x.reshape(-1)
    others = flat[rng.integers(0, flat.size, flat.size)].reshape(x.shape)
    return np.where(rng.random(x.shape) < MASKED, others, x)


def _mixed(names: Sequence[str]) -> Augmentation:
    """Each picture mixed with another of the batch (Zhang et al. 2018, arXiv 1710.09412)."""

    def run(inputs: dict[str, Array], rng: Generator) -> dict[str, Array]:
        made = dict(inputs)
        first = inputs[names[0]]
        share = rng.beta(0.2, 0.2, (len(first), 1, 1, 1)).astype(first.dtype)
        other = rng.permutation(len(first))
        for name in names:
            x: Any = inputs[name]
            made[name] = np.asarray(share * x + (1 - share) * x[other], dtype=x.dtype)
        return made

    return run


def _users(spec: str) -> Augmentation:
    """A function of the user, whose mistakes are told with its file and line.

    Raises:
        RecipeError: It is none.
    """
    found = load_object(spec, "augmentation", error=RecipeError)
    if not callable(found):
        raise RecipeError(f"augmentation {spec}: expected a function of (inputs, generator)")

    def run(inputs: dict[str, Array], rng: Generator) -> dict[str, Array]:
        with user_errors(f"augmentation {spec}", error=RecipeError):
            made = found(dict(inputs), rng)
            if not isinstance(made, Mapping):
                raise RecipeError(
                    f"augmentation {spec} should return a dict of all inputs, and returned "
                    f"{type(made).__name__}"
                )
            arrays = {n: np.asarray(made[n], dtype=a.dtype) for n, a in inputs.items() if n in made}
        for name, array in inputs.items():
            if name not in arrays or arrays[name].shape != array.shape:
                raise RecipeError(
                    f"augmentation {spec} should return every input in its shape: {name!r} is not"
                )
        return arrays

    return run


_STEPS: dict[str, Callable[[Array, Generator], Array]] = {
    "flip": _flipped,
    "crop": _cropped,
    "jitter": _jittered,
    "mask": _masked,
}
