"""What a user can choose about OpenVINO: section [openvino] of the recipe."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from exporters.base.options import Flag, TargetOptions

Precision = Literal["f32", "bf16", "auto"]


class OpenVinoOptions(TargetOptions):
    """OpenVINO on the CPU."""

    title: ClassVar[str] = "OpenVINO"

    precision: Annotated[
        Precision,
        Flag(
            "--precision",
            "What float work is computed in. bf16, or the plugin's own choice (auto), is tried "
            "and ships where it is faster and good enough.",
        ),
    ] = Field(
        "f32",
        description="What float work is computed in, INFERENCE_PRECISION_HINT. f32: as the graph "
        "says. bf16: tried where the CPU computes in it, and shipped where it is faster and good "
        "enough. auto: likewise what the plugin would choose by itself here.",
    )


OPTIONS = OpenVinoOptions
