"""`compress` of a model whose weights exceed `--memory`, which is worked on block by block."""

from contextlib import closing
from pathlib import Path

from compressor.commands.request import Request
from compressor.commands.stream_account import written
from compressor.commands.streaming import streamed
from compressor.errors import UsageError
from compressor.plan.plan import Plan
from compressor.recipe.policy import as_implied
from compressor.recipe.targets import available_target
from compressor.results.report import Report
from compressor.system.output_folder import written_aside
from compressor.system.scratch import scratch
from compressor.system.workers import LocalWorkers, workers_of


def compress_blocks(
    model: Path, data: tuple[object, object], request: Request, workers: str
) -> Report:
    """Load a block, decide, write, go on.

    Args:
        model: The model's file.
        data: To calibrate and to judge.
        request: What is asked for.
        workers: Processes here, or the address of a Ray cluster, that work on blocks.

    Raises:
        UsageError: The plan to replay is no file.
        CompressorError: As for `compress`.
    """
    target = available_target(request.recipe)
    recipe, plan = as_implied(request.recipe, target), request.plan
    directory = request.prepared_folder(model, data, recipe, target)
    if isinstance(plan, Plan):
        raise UsageError(
            "a plan in memory is of a whole model, and this one is worked on block by block",
            hint="Pass the path of its plan.json.",
        )
    replayed = None if plan is None else Path(plan)
    progress = request.progress
    with (
        closing(workers_of(workers) or LocalWorkers(1)) as several,
        written_aside(directory) as folder,
        scratch(directory.resolve().parent) as aside,
    ):
        found = streamed(
            model, data, replayed, recipe=recipe, target=target, scratch=Path(aside),
            workers=several if workers != "1" else None, progress=progress,
        )  # fmt: skip
        return written(
            found,
            directory,
            folder,
            progress=progress,
            watch=request.watch,
            command=request.command,
        )
