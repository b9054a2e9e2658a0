"""A loop and its graphs: the recipe's sections [pipeline] and [graphs]."""

from typing import Any

from pydantic import Field

from compressor.recipe.section import Positive, Section


class GraphOptions(Section):
    """One graph of a pipeline."""

    model: str | None = Field(None, description="Its checkpoint, or ONNX file.")
    factory: str | None = Field(None, description="Its module, package.module:factory.")
    calib: str | None = Field(
        None, description="Its calibration data; default: what the loop feeds it."
    )
    inputs: tuple[str, ...] = Field(
        (), description="Type and shape of inputs that nothing else tells: name:dtype[dims]."
    )


class PipelineOptions(Section):
    """The loop over graphs; a table [graphs.NAME] is one of them: model, factory, calib, inputs."""

    loop: str | None = Field(
        None,
        description="The function generate(models, seed, count), as file.py:function, or the name "
        "of a built-in loop.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of a built-in loop; `compress recipe --pipeline NAME` prints them.",
    )
    units: Positive | None = Field(
        None,
        description="Generated units that judge; default: what a minute makes, at least 64.",
    )
