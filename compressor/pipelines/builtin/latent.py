"""Generators: one call makes a sample of noise, and of a class if there are any."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from compressor.errors import UsageError
from compressor.graph.tensors import Array, TensorSpec
from compressor.pipelines.builtin.base import BuiltinLoop, LoopOptions, Part, rng_of
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.drawing import Generators, drawn, integers, shape_of, sizes
from compressor.pipelines.inputs import (
    Role,
    by_rows,
    cast,
    is_floating,
    is_integer,
    output_of,
    rows_fixed,
    wired,
)

OUTPUTS = ("sample", "image", "images", "x", "output")
ROLES = (
    Role("noise", ("z", "noise", "latent", "latents", "latent_vector", "input"), is_floating),
    Role(
        "class",
        ("labels", "label", "class_labels", "class", "classes", "y", "c"),
        is_integer,
        needed=False,
    ),
)


class Options(LoopOptions):
    """A generator."""

    shape: Annotated[tuple[int, ...], BeforeValidator(sizes)] | None = Field(
        None, description="Shape of the noise of a unit, like 128; default: the generator's input."
    )
    distribution: Literal["normal", "uniform"] = Field(
        "normal", description="normal: standard normal numbers; uniform: from -1 to 1."
    )
    truncation: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Numbers of greater size are drawn again; default: none."
    )
    classes: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Classes that are drawn from; default: as many as the input's size."
    )


class Latent(BuiltinLoop[Options]):
    """A generator of (noise) or (noise, class), where a class is a number or one-hot.

    A unit has `sample`, and `label` where there are classes.
    """

    name = "latent"
    Options = Options
    parts = (Part("generator", ("generator", "model", "decoder")),)
    noun = "sample"

    @property
    def judged(self) -> str | None:
        """The sample."""
        return "sample"

    def units(self, graphs: Mapping[str, GraphCall], seeds: Sequence[int]) -> dict[str, Array]:
        """All units in one call, unless the graph has its rows baked in."""
        graph = graphs["generator"]
        roles = wired(graph, ROLES, what=self.name)
        rngs = [rng_of(seed) for seed in seeds]
        shape = shape_of(graph, roles["noise"], self.options.shape)
        noise = self._noise(rngs, shape).astype(np.float32)
        wanted = graph.known.input(roles["noise"])
        feeds = {roles["noise"]: cast(noise, wanted)}
        labels: dict[str, Array] = {}
        if "class" in roles:
            spec = graph.known.input(roles["class"])
            drawn_classes = integers(rngs, self._classes(graph, roles["class"], spec))
            labels = {"label": drawn_classes}
            feeds[roles["class"]] = cast(self._spelt(drawn_classes, spec), spec)
        made = by_rows(graph, rows_fixed(wanted), feeds)
        return {"sample": output_of(graph, made, OUTPUTS), **labels}

    def _noise(self, rngs: Generators, shape: Sequence[int]) -> npt.NDArray[np.float64]:
        """Numbers of the distribution; beyond the truncation they are drawn anew."""
        bound = self.options.truncation
        if self.options.distribution == "uniform":
            return np.stack([rng.uniform(-1, 1, tuple(shape)) for rng in rngs]) * (bound or 1.0)
        found = drawn(rngs, shape)
        if bound is None:
            return found
        for row, rng in zip(found, rngs, strict=True):
            while (far := np.abs(row) > bound).any():
                row[far] = rng.standard_normal(int(far.sum()))
        return found

    def _classes(self, graph: GraphCall, name: str, spec: TensorSpec | None) -> int:
        if self.options.classes is not None:
            return self.options.classes
        size = spec.shape[-1] if spec is not None and len(spec.shape) == 2 else None
        if isinstance(size, int) and size > 1:
            return size
        raise UsageError(
            f"graph {graph.name!r} takes classes as {name!r}, and nothing says how many there are",
            hint="Say it by --pipeline-option classes=N.",
        )

    def _spelt(self, classes: Array, spec: TensorSpec | None) -> Array:
        """Classes as the input has them: numbers, numbers in a column, or one-hot."""
        if spec is None or len(spec.shape) < 2:
            return classes
        if spec.shape[1] == 1:
            return classes[:, np.newaxis]
        width = spec.shape[1] if isinstance(spec.shape[1], int) else int(classes.max()) + 1
        return np.asarray(np.eye(self.options.classes or width)[classes])


LOOP = Latent
