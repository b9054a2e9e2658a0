"""What the user asks for. Every field is a recipe key, a CLI flag and a Python argument."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from compressor.recipe.budget import BudgetOptions
from compressor.recipe.data import DataOptions
from compressor.recipe.loading import ModelOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pipelines import GraphOptions, PipelineOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.searching import SearchOptions
from compressor.recipe.section import Section
from compressor.recipe.training import TrainOptions
from exporters import DEFAULT_TARGET
from exporters.base import TargetOptions, options_of, target_names


def _of_targets() -> type[Section]:
    """A section for every target that lets something be chosen, under the target's name."""
    found = {name: options for name in target_names() if (options := options_of(name)) is not None}
    fields: dict[str, Any] = {name: (options, options()) for name, options in found.items()}
    return create_model("Targets", __base__=Section, __module__=__name__, **fields)


if TYPE_CHECKING:

    class Targets(Section):
        """The sections of targets, which are known when this module is imported."""

else:
    Targets = _of_targets()


class Recipe(Targets):
    """What is asked for, whole. `compress recipe` prints it as documented TOML.

    Every target that declares options has a section under its name beside those below.
    """

    target: str = Field(DEFAULT_TARGET, description="The runtime: see `compress targets`.")
    seed: int = Field(0, description="Seed of every random choice.")
    model: ModelOptions = ModelOptions()
    data: DataOptions = DataOptions()
    prune: PruneOptions = PruneOptions()
    quantize: QuantizeOptions = QuantizeOptions()
    train: TrainOptions = TrainOptions()
    measure: MeasureOptions = MeasureOptions()
    budget: BudgetOptions = BudgetOptions()
    search: SearchOptions = SearchOptions()
    pipeline: PipelineOptions = PipelineOptions()
    graphs: dict[str, GraphOptions] = Field(
        default_factory=dict, description="Graphs of the pipeline, by the loop's names for them."
    )
    package: Literal["triton"] | None = Field(
        None, description="Layout for a server beside the artifact: triton, a model repository."
    )
    output: Path | None = Field(
        None, description="Output folder; default: the checkpoint's name with -TARGET."
    )

    @property
    def target_options(self) -> TargetOptions | None:
        """What is chosen about the target; None where nothing can be."""
        return self.of_targets.get(self.target)

    @property
    def of_targets(self) -> dict[str, TargetOptions]:
        """Target → what is chosen about it, for all that let something be chosen."""
        return {name: value for name, value in self if isinstance(value, TargetOptions)}
