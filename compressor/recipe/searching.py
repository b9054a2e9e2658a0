"""What `compress search` looks for: the recipe's section [search]."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from compressor.recipe.section import Positive, Section

Objective = Literal["latency", "quality", "size", "memory"]

Sampler = Literal["tpe", "nsga2", "gp", "cmaes", "random", "grid"]


class SearchOptions(Section):
    """What `compress search` looks for: many plans on one front; a plain run leaves it unread."""

    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = Field(
        ("latency", "quality"),
        description="What is minimized; of quality its loss, of memory the peak of a process.",
    )
    sampler: Sampler = Field(
        "tpe",
        description="What proposes recipes: tpe, nsga2, gp (needs torch), cmaes (one objective), "
        "random, or grid.",
    )
    trials: Positive | None = Field(
        None, description="Recipes to try; default: 60, with a time budget as many as it allows."
    )
    limits: tuple[str, ...] = Field(
        (), description='The most that an objective may be: "latency<=2ms", "size<=5MB".'
    )
    validation: str = Field(
        "holdout",
        description="How evaluation samples are used: holdout, at once, kfold:5 or "
        "stratified-kfold:5. The half that confirms stays apart.",
    )
    warm_start: bool = Field(
        True, description="Begin with the front of the sensitivity table; false begins anywhere."
    )
    storage: str | None = Field(
        None,
        description="URL of a database that several machines share; default: a journal in the "
        "output folder.",
    )
    study: str = Field("compress", description="Name of the study in that database.")
    pick: str | None = Field(
        None, description='Ship a point of the front: knee, or limits such as "latency<=2ms".'
    )
    space: dict[str, Any] = Field(
        default_factory=dict,
        description="What is varied, as [search.space]: a value, a list, or { low, high, step }; "
        "docs/search.md has the names, and what is varied by default.",
    )

    @field_validator("objectives")
    @classmethod
    def _are_different(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        if len(set(objectives)) < len(objectives):
            raise ValueError("an objective is given twice")
        return objectives
