"""How a model is loaded: the recipe's section [model]."""

from typing import Any, Literal

from pydantic import Field

from compressor.recipe.section import Section


class ModelOptions(Section):
    """How the checkpoint becomes a module."""

    factory: str | None = Field(
        None, description="package.module:factory or file.py:factory, for a state dict."
    )
    args: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments for it.")
    task: str | None = Field(
        None,
        description="What a Hugging Face folder is for, such as text-classification; default: what "
        "its architecture is for.",
    )
    state_key: str | None = Field(
        None,
        description="Which of several state dicts in the file: a dotted key like ema, or what its "
        "names begin with; default: the one that fits.",
    )
    trust_pickle: bool = Field(
        False, description="Unpickle a whole module; this runs code from the file."
    )
    inputs: tuple[str, ...] = Field(
        (), description="name:dtype[dim,...] per input; names of dimensions are dynamic."
    )
    noise: Literal["inside", "input"] = Field(
        "inside",
        description="Where a model that draws random numbers gets them: inside, as it did, or as "
        "inputs of the artifact. Either way all that is compared sees the same numbers.",
    )
