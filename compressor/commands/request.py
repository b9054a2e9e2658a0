"""One run as it was asked for, and what it does before anything is loaded."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from compressor.commands.account import PLAN
from compressor.evaluation.metrics import find_metric
from compressor.plan.plan import Plan
from compressor.recipe.paths import read_by
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.sense import require_sense
from compressor.system.output_folder import prepare as prepare_output
from compressor.system.progress import Progress
from compressor.system.stopwatch import Stopwatch
from compressor.system.writable import bytes_of
from exporters.base import Target


@dataclass(frozen=True)
class Request:
    """What was asked for, beside the model and its data.

    Attributes:
        recipe: What is asked for.
        recipe_file: Where it was read from.
        output: The folder to write.
        plan: Decisions to replay.
        force: Replace a folder that was not written by this tool.
        progress: Where progress is shown.
        command: The command line, for the report.
        watch: Since when the run takes time.
    """

    recipe: Recipe
    recipe_file: Path | None
    output: str | Path | None
    plan: Plan | str | Path | None
    force: bool
    progress: Progress
    command: str | None
    watch: Stopwatch

    def folder(self, model: object) -> Path:
        """The folder to write."""
        return output_folder(model, self.recipe, self.output)

    def plan_read(self, folder: Path) -> Path | None:
        """The plan's file, unless it is the folder's own: the run writes it again unchanged."""
        if not isinstance(self.plan, str | Path):
            return None
        path = Path(self.plan)
        return None if path.resolve() == folder.resolve() / PLAN else path

    def prepared_folder(
        self, model: object, data: Iterable[object], recipe: Recipe, target: Target
    ) -> Path:
        """The folder to write, if recipe and target make sense and nothing is lost by writing it.

        Args:
            model: As it was given.
            data: Likewise, to calibrate and to judge.
            recipe: With what the target implies.
            target: Configured by it.

        Raises:
            CompressorError: As for `require_sense`, and for `output_folder.prepare`.
        """
        folder = self.folder(model)
        require_sense(recipe, target, find_metric)
        named = (model, *data, self.recipe_file, self.plan_read(folder))
        room = _room_of(model)
        prepare_output(folder, force=self.force, inputs=read_by(recipe, *named), room=room)
        return folder


def output_folder(
    model: object, recipe: Recipe, output: str | Path | None, ending: str = ""
) -> Path:
    """`-o`, else the recipe's, else named after the checkpoint, or after a live model's class.

    Args:
        model: As it was given.
        recipe: Which output, and which target.
        output: What `-o` says.
        ending: What a name ends with that is not chosen, behind the target's.
    """
    chosen = output or recipe.output
    if chosen is not None:
        return Path(chosen)
    ending = f"-{recipe.target}{ending}"
    if isinstance(model, str | Path):
        path = Path(model)
        hub = next((one for one in path.parents if one.name.startswith("models--")), None)
        if hub is not None:  # a name on the hub: into the working directory
            return Path(f"{hub.name.rpartition('--')[2]}{ending}")
        path = path if path.name not in ("", "..") else path.resolve()  # `.` has no name
        return path.with_name(f"{path.stem}{ending}")
    return Path(f"{type(model).__name__.lower()}{ending}")


def _room_of(model: object) -> int:
    """Bytes that a result takes at least: the smallest that weights are stored in is 4 bits."""
    return bytes_of(Path(model)) // 8 if isinstance(model, str | Path) else 0
