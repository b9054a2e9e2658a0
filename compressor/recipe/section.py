"""What the sections of a recipe have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Base of the recipe's sections."""

    model_config = ConfigDict(extra="forbid", frozen=True)
