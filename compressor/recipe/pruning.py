"""How far a graph is pruned, and how: the recipe's section [prune]."""

from typing import Annotated, Literal, Self, cast

from pydantic import Field, ValidationInfo, field_validator, model_validator

from compressor.recipe.goal import FLAGS, Goal, Kind, parse_goal, share_of
from compressor.recipe.methods import METHODS, NORMS, Method
from compressor.recipe.section import Positive, Section

OFF = "none"
"""The value of `prune.macs` and --prune that prunes nothing."""


class PruneOptions(Section):
    """Structured pruning: macs, params, speedup, latency, size or a budget says how far."""

    macs: str | None = Field(
        None,
        description="Share of multiply-accumulates to remove: 30%; none: nothing, whatever the "
        "quality budget would allow.",
    )
    params: str | None = Field(None, description="Share of parameters to remove: 50%.")
    speedup: str | None = Field(
        None, description="Speed over the float baseline, measured on the target: 1.5x."
    )
    latency: str | None = Field(
        None, description="Time of one inference, measured on the target: 4ms."
    )
    size: str | None = Field(None, description="Size of the artifact's file: 5MB.")
    threshold: str | None = Field(
        None,
        description="Remove all units whose norm (method l2 or l1) is below this share of the "
        "largest of their group: 0.05.",
    )
    method: Method = Field(
        METHODS[0],
        description=f"What tells which units matter: {', '.join(METHODS)}; taylor is of a "
        "loss's gradients.",
    )
    loss: str | None = Field(
        None,
        description="The loss of taylor, file.py:function of (outputs, batch); default: "
        "cross-entropy where calibration data has class labels.",
    )
    round: Positive | None = Field(
        None,
        description="What stays is a multiple of this, unless more than 1.2 times the share "
        "asked for would go; default: the target's.",
    )
    least: Annotated[float, Field(gt=0, le=1)] = Field(
        0.125, description='Share of every group that stays at least: 0.25 or "25%".'
    )
    leave: tuple[str, ...] = Field(
        (),
        description="Patterns of node or initializer names whose groups and blocks stay whole.",
    )
    blocks: bool = Field(True, description="Whether whole residual blocks may go.")
    repair: bool = Field(True, description="Refit what stays to the original by least squares.")
    sparsity: Literal["2:4"] | None = Field(
        None,
        description="2:4: of every four neighbouring input channels of a weight two become zero, "
        "which sparse tensor cores skip; for targets with such kernels.",
    )

    @field_validator("least", mode="before")
    @classmethod
    def _is_a_share(cls, given: object) -> object:
        share = share_of(given) if isinstance(given, str) else None
        return given if share is None else share

    @property
    def goal(self) -> Goal | None:
        """What is to be reached; None where no more is asked than a quality budget allows."""
        given = ((kind, getattr(self, kind)) for kind in FLAGS)
        return next(
            (parse_goal(kind, text) for kind, text in given if text not in (None, OFF)), None
        )

    @property
    def off(self) -> bool:
        """Whether nothing is to be pruned, even if a quality budget would allow it."""
        return self.macs == OFF

    @field_validator(*FLAGS)
    @classmethod
    def _is_a_goal(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None and (info.field_name, text) != ("macs", OFF):
            parse_goal(cast(Kind, info.field_name), text)
        return text

    @model_validator(mode="after")
    def _is_one_goal(self) -> Self:
        given = [FLAGS[kind] for kind in FLAGS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} cannot both say how far to prune")
        if self.threshold is not None and self.method not in NORMS:
            raise ValueError("--prune-threshold is of norms: it needs --prune-method l2 or l1")
        return self
