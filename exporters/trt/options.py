"""What a user can choose about the engine: section [trt] of the recipe."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ByteSize, Field, field_validator

from exporters.base.options import Flag, TargetOptions
from exporters.trt.notation import parse_profile

Precision = Literal["int8", "int8-fp32", "fp8", "fp16", "fp32", "int4-weights"]
Backend = Literal["auto", "tensorrt", "tensorrt-rtx", "script"]

FLAGS = {
    "version_compatible": "VERSION_COMPATIBLE",
    "strip_weights": "STRIP_PLAN",
    "refit": "REFIT",
}
"""Option → builder flag."""
SPARSE = "SPARSE_WEIGHTS"
"""The builder flag that lets kernels skip the zeros of 2:4 sparse weights."""


class TrtOptions(TargetOptions):
    """TensorRT engines."""

    title: ClassVar[str] = "TensorRT"

    precision: Annotated[
        Precision,
        Flag("--precision", "Precision of the engine. Layers outside INT8 or FP8 run in half."),
    ] = Field(
        "int8",
        description="Precision of the engine. int8: convolutions and products in INT8, the rest in "
        "half; int8-fp32: the rest in float32. fp8: 8-bit floats (E4M3) in place of INT8. fp16 and "
        "fp32: all of it. int4-weights: matrices of products in blocks of 128 that share a "
        "scale, or of 64 with block = 64 in [quantize]; all else in half.",
    )
    backend: Annotated[
        Backend,
        Flag("--trt-backend", "Builder of the engine; script only writes its build script."),
    ] = Field(
        "auto",
        description="What builds the engine: tensorrt where it has a GPU, else tensorrt-rtx, else "
        "script, which writes model.onnx and build_engine.py only.",
    )
    require_engine: Annotated[
        bool, Flag("--require-engine", "Exit code 4 if no engine was built.")
    ] = Field(False, description="End with exit code 4 where none was built.")
    profiles: Annotated[
        tuple[str, ...],
        Flag(
            "--profile",
            "Least, most likely and greatest shape of an open input (repeatable): "
            "x:1x3x224x224,8x3x224x224,32x3x224x224. Of a graph of a pipeline GRAPH/NAME:...",
            "NAME:MIN,OPT,MAX",
        ),
    ] = Field(
        (),
        description="name:min,opt,max shapes of an input, as x:1x3x224x224,8x3x224x224,32x3x224x224"
        "; a name that comes again begins another profile. graph/name:... is of one graph of a "
        "pipeline. Default: from the data, of a pipeline from what the loop feeds it.",
    )
    workspace: ByteSize | None = Field(
        None, description="GPU memory that layers may use while they run, like 2GB."
    )
    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = Field(
        None, description="0 builds fastest, 5 searches longest; default: TensorRT's, 3."
    )
    timing_cache: Path | None = Field(
        None, description="File of kernel timings, read and extended; of tensorrt only."
    )
    version_compatible: bool = Field(
        False, description="Let later versions of TensorRT run the engine."
    )
    hardware_compatible: bool = Field(
        False, description="Let later GPUs (Ampere and on) run the engine; slower."
    )
    strip_weights: bool = Field(False, description="Leave out weights that a refit can restore.")
    refit: bool = Field(False, description="Let weights be exchanged without a new build.")
    time_limit: Annotated[float, Field(gt=0)] = Field(
        3600.0, description="Seconds that a build may take."
    )

    @property
    def quantizes(self) -> bool:
        """Whether the precision asks for fewer bits than half has."""
        return self.precision not in ("fp16", "fp32")

    @property
    def remainder(self) -> Literal["float32", "float16"]:
        """What is computed in that is not integer."""
        return "float32" if self.precision in ("int8-fp32", "fp32") else "float16"

    def settings(self, *, sparse: bool = False) -> dict[str, Any]:
        """What the build script needs of it, as JSON knows it.

        Args:
            sparse: Whether there are 2:4 sparse weights.
        """
        flags = [flag for option, flag in FLAGS.items() if getattr(self, option)]
        return {
            "workspace": None if self.workspace is None else int(self.workspace),
            "optimization_level": self.optimization_level,
            "flags": [*flags, SPARSE] if sparse else flags,
            "hardware_compatibility": "AMPERE_PLUS" if self.hardware_compatible else None,
        }

    @field_validator("profiles")
    @classmethod
    def _are_profiles(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            parse_profile(text)
        return texts


OPTIONS = TrtOptions
