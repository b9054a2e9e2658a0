"""What speed and quality are measured at: the recipe's section [measure]."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_serializer, field_validator

from calibration.preprocess import fraction
from compressor.recipe.section import Positive, Section
from compressor.recipe.usage import Usage, parse_usage


class MeasureOptions(Section):
    """The deciding configuration and the metric."""

    batch: Positive = Field(1, description="Deciding batch size.")
    threads: Annotated[int, Field(ge=0)] = Field(1, description="Deciding threads; 0 is all.")
    phase: Literal["decode", "prefill"] = Field(
        "decode",
        description="The phase of a decoder with a cache in which regions are timed: decode, one "
        "token behind the cache, or prefill, a whole prompt. What ships is decided by both.",
    )
    context: Positive | None = Field(
        None,
        description="Tokens of that prompt, and in the cache behind which one token is timed. "
        "Default: what tokens come to, where they are given; as many as cache and input have "
        "together in the data; else 128.",
    )
    tokens: str | None = Field(
        None,
        description="PROMPT:NEW, what a decoder with a cache is used for: tokens that it reads at "
        "once, and tokens that it writes then. What ships is decided by the time of both. Default: "
        "64:64.",
    )
    metric: str | None = Field(
        None,
        description="A name, as docs/metrics.md lists them, or file.py:function; default: what "
        "fits outputs and labels.",
    )
    radius: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Most that attacks of robust_accuracy change any number that the model is fed: "
        "0.03, or 8/255. Behind mean and std that is so much times std of a stored value.",
    )
    attack_steps: Positive = Field(10, description="Steps of the attack PGD of robust_accuracy.")
    features: object = Field(
        None,
        description="Feature model of metrics such as fid and kid: an ONNX file, a checkpoint, "
        "checkpoint@file.py:factory, or file.py:function.",
    )
    output: str | None = Field(
        None,
        description="Output that the metric looks at; default: logits or output, else the first "
        "that is no state, such as a cache.",
    )
    seconds: Annotated[float, Field(gt=0)] = Field(
        4.0, description="Most time for the deciding latency measurement; others take a fourth."
    )
    memory: bool = Field(
        True, description="Peak memory of original and result, of a process each, is measured."
    )

    @field_serializer("features")
    def _by_name(self, features: object) -> str | None:
        """A live model is told by its name; what a file holds is a text."""
        if features is None or isinstance(features, str | Path):
            return None if features is None else str(features)
        return str(getattr(features, "__name__", type(features).__name__))

    @property
    def usage(self) -> Usage:
        """What a decoder is used for."""
        return Usage() if self.tokens is None else parse_usage(self.tokens)

    @field_validator("radius", mode="before")
    @classmethod
    def _is_a_number(cls, given: object) -> object:
        return fraction(given)

    @field_validator("tokens")
    @classmethod
    def _is_a_usage(cls, text: str | None) -> str | None:
        if text is not None:
            parse_usage(text)
        return text

    @field_validator("features")
    @classmethod
    def _is_a_model(cls, features: object) -> object:
        if isinstance(features, bool | int | float | list | dict):
            raise ValueError("expected the name of a file, or file.py:function")
        return features
