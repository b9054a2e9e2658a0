"""`compressor.compress`: the run of the command line, for Python and notebooks.

    report = compress(module, calibration=loader, evaluation=data, max_drop="1%")
    report            # in a notebook a table; print(report) is the terminal's summary

Progress is shown in a terminal or notebook, what the user should know comes as warnings.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Unpack

from compressor.commands.compress import compress as run
from compressor.commands.tracked import Tracked, tracked_by
from compressor.errors import CompressionWarning, UsageError
from compressor.options import FrontOptions, Options, recipe_with
from compressor.plan.plan import Plan
from compressor.recipe.recipe import Recipe
from compressor.results.front import SearchReport
from compressor.results.graph_report import Candidate
from compressor.results.report import Report
from compressor.system.progress import SILENT, Advance, Progress, say
from compressor.system.python_frames import warn_user

OnStage = Callable[[str, float | None], None]
"""Called with the name of a stage when it begins (None) and with its seconds when it has ended."""
OnCandidate = Callable[[Candidate], None]
"""Called with everything that could have shipped, as soon as it was judged."""


def compress(  # noqa: PLR0913 - the front door: all but the model is optional and named
    model: object,
    *,
    target: str | None = None,
    calibration: object = None,
    evaluation: object = None,
    recipe: Recipe | str | Path | None = None,
    recipe_file: Path | None = None,
    output: str | Path | None = None,
    plan: Plan | str | Path | None = None,
    pipeline: object = None,
    pipeline_options: Mapping[str, Any] | None = None,
    units: int | None = None,
    features: object = None,
    workers: int | str = 1,
    force: bool = False,
    progress: Progress | bool | None = None,
    on_stage: OnStage | None = None,
    on_candidate: OnCandidate | None = None,
    track: str | Sequence[str] = (),
    command: str | None = None,
    **options: Unpack[Options],
) -> Report:
    """Compress a trained model for a runtime and write artifact, plan, report and manifest.

    Args:
        model: A path (anything the command line takes), a live `torch.nn.Module`, an exported
            program, or an `onnx_ir.Model`; of a pipeline a mapping from names to such.
        target: The runtime's name; the recipe's by default.
        calibration: A path, arrays, a dict of arrays, a DataLoader, or a function that yields
            batches; of a pipeline a dict of such, for graphs that have data of their own.
        evaluation: Labelled data in the same forms.
        recipe: What is asked for, or the file of a recipe in TOML.
        recipe_file: Where the recipe was read from: the folder that holds it is not replaced.
        output: The folder to write; default: the checkpoint's name with "-TARGET" beside it, or
            a live model's class name with "-TARGET" in the working directory.
        plan: Replay these decisions instead of searching; it is written again, unchanged.
        pipeline: A loop over graphs: `generate(models, seed, count)`, `file.py:function` or the
            name of a built-in loop (docs/pipelines.md).
        pipeline_options: Options of a built-in loop, laid over the recipe's.
        units: How many generated units judge it; default: what a minute makes, at least 64.
        features: The feature model of metrics such as `fid`.
        workers: Processes here, or the address of a Ray cluster, that work on blocks of a model
            whose weights exceed the memory of the recipe.
        force: Replace a folder that was not written by this tool.
        progress: Where progress is shown: True for the terminal or notebook, False for nowhere;
            default: where there is a terminal or a notebook.
        on_stage: Called when a stage begins, with its name and None, and when it has ended, with
            its seconds.
        on_candidate: Called with every candidate that was judged.
        track: Where the run is logged: "mlflow", "tensorboard", "wandb", or several
            (docs/python.md).
        command: The command line, for the report.
        options: The flags of the command line with underscores: `max_drop="1%"`, `quantize="fp16"`,
            `metric="accuracy"`, laid over the recipe.

    Returns:
        The report, which was also written as `report.json`, `report.html` and `report.md`. Where a
        budget or a goal of pruning was asked for, `report.graphs["model"].budget.met` and
        `.goal.met` say whether it was kept: a result that was refused is written all the same, and
        no exception is raised, so that the best is of use.

    Raises:
        CompressorError: Its subclasses tell what was wrong; an earlier result is untouched.
        KeyboardInterrupt: Where a budget was asked for and something had kept it so far, that
            was written; else nothing was.
    """
    if isinstance(recipe, str | Path):
        from compressor.recipe.reading import load_recipe  # noqa: PLC0415 - of this alone

        recipe_file, recipe = Path(recipe), load_recipe(Path(recipe), {})
    recipe = recipe_with(recipe, options)
    watched = Watched(progress, on_stage, on_candidate)
    trackers = tracked_by([track] if isinstance(track, str) else track)
    report = run(
        model,
        target=target,
        calibration=calibration,
        evaluation=evaluation,
        recipe=recipe,
        recipe_file=recipe_file,
        output=output,
        plan=plan,
        pipeline=pipeline,
        pipeline_options=pipeline_options,
        units=units,
        features=features,
        workers=workers,
        force=force,
        progress=watched,
        command=command,
    )
    watched.tell_rest(report)
    return _logged(trackers, report, recipe)


def search(  # noqa: PLR0913 - as above
    model: object,
    *,
    target: str | None = None,
    calibration: object = None,
    evaluation: object = None,
    recipe: Recipe | str | Path | None = None,
    space: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    workers: int | str = 1,
    force: bool = False,
    progress: Progress | bool | None = None,
    on_stage: OnStage | None = None,
    **options: Unpack[FrontOptions],
) -> SearchReport:
    """Search recipes for the front between latency, quality, size and memory.

    Args:
        model: A path or a live module, as for `compress`.
        target: The runtime's name; the recipe's by default.
        calibration: Data that ranges, scores and repairs are of.
        evaluation: Data that judges: half of it searches, the other half confirms what is picked.
        recipe: What is asked for, or the path of one; its section `search` has the options below.
        space: What is varied: variable → a value, a list, or {"low": ..., "high": ..., "step": ...}
            (docs/search.md); by default what fits the kind of model.
        output: The folder of the study and its result; a search goes on there.
        workers: Processes here that try recipes at the same time, or the address of a Ray cluster.
        force: Begin anew where the folder holds anything else.
        progress: As of `compress`.
        on_stage: As of `compress`.
        options: Flags of `compress search` with underscores: max_drop="2%", trials=60,
            objectives=("latency", "size"), limits=("size<=1MB",), pick="knee".

    Returns:
        The front, which was also written as `front.json`, `front.html` and `front.md`.

    Raises:
        CompressorError: See `compressor.commands.search.search`.
    """
    from compressor.commands.search import search as run_search  # noqa: PLC0415 - of this alone
    from compressor.recipe.reading import load_recipe  # noqa: PLC0415 - as above

    base = load_recipe(Path(recipe), {}) if isinstance(recipe, str | Path) else recipe
    asked = recipe_with(base, options) or Recipe()
    if space is not None:
        varied = asked.search.model_copy(update={"space": dict(space)})
        asked = asked.model_copy(update={"search": varied})
    return run_search(
        model,
        target=target,
        calibration=calibration,
        evaluation=evaluation,
        recipe=asked,
        output=output,
        workers=workers,
        force=force,
        progress=Watched(progress, on_stage, None),
    )


def _logged(trackers: Sequence[Tracked], report: Report, recipe: Recipe | None) -> Report:
    """The report, logged; a tracker that cannot be reached costs no more than a notice."""
    from compressor.commands.tracked import logged  # noqa: PLC0415 - of runs that are tracked

    return logged(trackers, report, recipe or Recipe()) if trackers else report


class Watched:
    """A `Progress` that calls back, and gives what the user should know as warnings.

    Args:
        progress: See `compress`; an object of the caller's is told notices itself.
        on_stage: See `compress`.
        on_candidate: See `compress`.
    """

    def __init__(
        self,
        progress: Progress | bool | None,
        on_stage: OnStage | None,
        on_candidate: OnCandidate | None,
    ) -> None:
        self._inner, self._own = shown(progress), not isinstance(progress, bool | None)
        self._on_stage, self._on_candidate = on_stage, on_candidate
        self._told: set[str] = set()

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Open one stage; see `Progress.stage`."""
        from compressor.system.stopwatch import Stopwatch  # noqa: PLC0415 - as above

        watch = Stopwatch()
        if self._on_stage is not None:
            self._on_stage(name, None)
        with self._inner.stage(name, total) as advance:
            yield advance
        if self._on_stage is not None:
            self._on_stage(name, watch.seconds)

    def notice(self, text: str) -> None:
        """To the caller's own `Progress`; else a warning of the line that called us."""
        if self._own:
            self._inner.notice(text)
        else:
            warn_user(text, CompressionWarning)

    def say(self, text: str) -> None:
        """How far it has come: shown where progress is, and no warning."""
        say(self._inner, text)

    def candidate(self, told: Candidate) -> None:
        """Something was judged."""
        if self._on_candidate is not None and told.name not in self._told:
            self._told.add(told.name)
            self._on_candidate(told)

    def tell_rest(self, report: Report) -> None:
        """Candidates that no budget had judged while the search ran."""
        for graph in report.graphs.values():
            for one in graph.candidates:
                self.candidate(one)


def shown(progress: Progress | bool | None) -> Progress:
    """Where progress goes.

    Raises:
        UsageError: It is neither a flag nor a `Progress`.
    """
    if progress is None:
        progress = where() != "nowhere"
    if isinstance(progress, bool):
        return _on_console() if progress else SILENT
    if not hasattr(progress, "stage"):
        raise UsageError(
            f"progress is a {type(progress).__name__}: expected True, False, or an object with "
            "stage and notice"
        )
    return progress


def where() -> Literal["notebook", "terminal", "nowhere"]:
    """Whether a person watches."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and type(shell).__name__ == "ZMQInteractiveShell":
        return "notebook"
    return "terminal" if sys.stderr is not None and sys.stderr.isatty() else "nowhere"


def _on_console() -> Progress:
    from rich.console import Console  # noqa: PLC0415 - of this alone

    from compressor.report.terminal_progress import RichProgress  # noqa: PLC0415 - as above

    notebook = where() == "notebook"
    return RichProgress(Console(force_jupyter=True) if notebook else Console(stderr=True))
