"""How a graph is trained: the recipe's section [train]."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from calibration.preprocess import fraction
from compressor.errors import RecipeError
from compressor.recipe.attention import parse_attention
from compressor.recipe.budget import parse_duration
from compressor.recipe.section import Positive, Section

NotNegative = Annotated[float, Field(ge=0)]
_COUNT = re.compile(r"\s*(\d+)\s*(steps?|epochs?)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Length:
    """How long training goes on: one of the three is given.

    Attributes:
        asked: As the user wrote it.
        seconds: Time.
        steps: Steps of the optimizer.
        epochs: Passes over the data.
    """

    asked: str
    seconds: float | None = None
    steps: int | None = None
    epochs: int | None = None


def parse_length(text: str) -> Length:
    """`5m`, `90s`, `2000steps` or `10epochs`.

    Raises:
        RecipeError: It is none of them, or nothing.
    """
    asked, hint = text.strip(), "Write a time, 90s, 5m or 1.5h, or 2000steps, or 10epochs."
    match = _COUNT.fullmatch(text)
    if match is not None:
        count = int(match[1])
        if count == 0:
            raise RecipeError(f"the training of {asked!r} does nothing", hint=hint)
        steps = match[2].lower().startswith("step")
        return Length(asked, steps=count) if steps else Length(asked, epochs=count)
    if asked.isdigit():
        raise RecipeError(
            f"the training of {asked!r} may mean steps, epochs or seconds",
            hint=f"Write {asked}s, {asked}steps or {asked}epochs.",
        )
    try:
        return Length(asked, seconds=parse_duration(text))
    except RecipeError as error:
        raise RecipeError(f"the training of {asked!r} is not understood", hint=hint) from error


class TrainOptions(Section):
    """Training with gradients, from the original graph's own outputs; labels are optional."""

    length: str | None = Field(
        None, description="How long: 5m, 2000steps or 10epochs; default: nothing is trained."
    )
    data: str | None = Field(
        None,
        description="Training data, with or without labels, in the forms of [data] calib; default: "
        "the calibration data.",
    )
    loss: str | None = Field(
        None,
        description="A loss in place of distillation: file.py:function of (outputs, batch), by "
        "name, batch.inputs and batch.labels; it returns a scalar.",
    )
    distill: Literal["auto", "logits", "output"] = Field(
        "auto",
        description="What outputs are compared by: logits, Kullback-Leibler divergence of their "
        "softmax; output, the squared error over the variance. auto: by names, labels and metric.",
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        2.0, description="What logits are divided by before they are compared."
    )
    labels: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Weight of the cross-entropy of class labels, where the data has them."
    )
    features: NotNegative = Field(
        1.0, description="Weight of the error at intermediate values; 0 is outputs alone."
    )
    match: tuple[str, ...] = Field(
        (),
        description="Patterns of names of intermediate values that are compared; default: residual "
        "sums and norms that both graphs have in the same shape.",
    )
    leave: tuple[str, ...] = Field(
        (), description="Patterns of names of weights, or of nodes that read them, that stay."
    )
    embeddings: bool = Field(False, description="Whether tables of embeddings are trained.")
    optimizer: Literal[
        "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lbfgs"
    ] = Field("adamw", description="One of torch's.")
    rate: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Learning rate at its highest. Default: what suits optimizer and graph. It is "
        "1e-3 for adamw, 3e-4 with attention or through integers, less where a trial loses by it.",
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="Momentum of momentum, nesterov and rmsprop."
    )
    weight_decay: NotNegative = Field(0.0, description="Weight decay of the optimizer.")
    l1: NotNegative = Field(0.0, description="Weight of the sum of absolute weights in the loss.")
    l2: NotNegative = Field(0.0, description="Weight of the sum of squared weights in the loss.")
    schedule: Literal["cosine", "step", "exponential", "one-cycle", "constant"] = Field(
        "cosine", description="How the rate falls behind the warm-up."
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="Share of the steps in which the rate rises to its highest."
    )
    decay: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="step: factor at each third; exponential: factor over the whole run."
    )
    batch: Positive | None = Field(
        None, description="Samples a step; default: 64, for sequences 16, or what the graph fixes."
    )
    clip: NotNegative = Field(
        1.0, description="Most that the norm of all gradients may be; 0: any."
    )
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Decay of the moving average of weights that is kept, 0.999; 0: none."
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32",
        description="What products are computed in; bf16 is faster where the processor has it.",
    )
    augment: tuple[str, ...] | None = Field(
        None,
        description="Any of flip, crop, jitter, mixup, mask (text tokens), or file.py:function of "
        "(inputs, generator); default: flip and crop for images. An empty list: none.",
    )
    attack: Literal["fgsm", "pgd"] | None = Field(
        None,
        description="Adversarial training by fgsm or pgd: every batch is changed so that the loss "
        "rises. The original's answers to it unchanged are learned. Default: none.",
    )
    radius: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Most that the attack changes any number that the model is fed: 0.03, or "
        "8/255.",
    )
    attack_steps: Positive = Field(
        7, description="Steps of pgd; each takes as long as a step of training."
    )
    dropout: bool = Field(False, description="Whether Dropout nodes of the graph drop.")
    patience: Positive | None = Field(
        None,
        description="Looks at the held-out samples without a gain after which training stops; "
        "default: never.",
    )
    looks: Positive = Field(
        10, description="How often the held-out samples are looked at, at most."
    )
    held_out: Positive | None = Field(
        None, description="Samples kept to choose the best moment; default: an eighth, at most 256."
    )
    checkpoint: Path | None = Field(
        None, description="File that keeps the state, from which a killed run goes on."
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="Threads of torch; 0: as many as cores. Results are equal for equal numbers."
    )
    device: str = Field("cpu", description="cpu, or cuda where there is one.")

    exits: Positive | None = Field(
        None,
        description="Early exits of a classifier, at most; default: none. They are heads at the "
        "ends of blocks, trained by distillation. [budget] max_drop says how sure they have to be.",
    )

    attention: str | None = Field(
        None,
        description="Efficient attention for long inputs: window:128 (tokens that each sees), or "
        "linear; default: softmax over all. Layers take it where it is faster. Needs length.",
    )

    @property
    def learns(self) -> bool:
        """Whether anything is trained."""
        return self.length is not None or self.exits is not None

    @property
    def asked(self) -> Length | None:
        """How long; None where nothing is trained."""
        return None if self.length is None else parse_length(self.length)

    @field_validator("radius", mode="before")
    @classmethod
    def _is_a_number(cls, given: object) -> object:
        return fraction(given)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.attack is None) != (self.radius is None):
            lacking = "radius" if self.radius is None else "attack"
            raise ValueError(f"attack and radius belong together, and there is no {lacking}")
        return self

    @field_validator("attention")
    @classmethod
    def _is_a_form(cls, text: str | None) -> str | None:
        return None if text is None else parse_attention(text).asked

    @field_validator("length")
    @classmethod
    def _is_a_length(cls, text: str | None) -> str | None:
        if text is not None:
            parse_length(text)
        return text
