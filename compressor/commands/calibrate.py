"""`compress calibrate`: statistics for later runs, collected in one place or in shards."""

from pathlib import Path

from calibration.collect import run_batch
from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats, merged
from compressor.checkpoint.prepare import prepare
from compressor.errors import DataError, OutputError, UsageError
from compressor.folding import fold
from compressor.quantization.placement import place, quantized_values
from compressor.quantization.statistics import statistics
from compressor.recipe.keeping import cache_of
from compressor.recipe.policy import policy_of
from compressor.recipe.recipe import Recipe
from compressor.recipe.targets import available_target
from compressor.results.records import Record
from compressor.system.progress import SILENT, Progress
from compressor.system.scratch import scratch
from compressor.system.workers import Workers, require_sendable
from compressor.system.writable import why_not_writable


class EmptyShardError(DataError):
    """The data has fewer batches than shards."""


class Collected(Record):
    """The result of `compress calibrate`.

    Attributes:
        file: Where the statistics were written.
        graph: Fingerprint of the float graph.
        samples: How many it has seen.
        tensors: Number of tensors with statistics.
        shards: How many parts were merged.
    """

    file: str
    graph: str
    samples: int
    tensors: int
    shards: int

    @property
    def sentence(self) -> str:
        """What was done, in a sentence."""
        parts = "" if self.shards == 1 else f", {self.shards} shards"
        return f"{self.file}: {self.tensors} tensors, {self.samples} samples{parts}"


def calibrate(
    model: object,
    *,
    output: str | Path,
    calibration: object = None,
    recipe: Recipe | None = None,
    shard: tuple[int, int] | None = None,
    progress: Progress = SILENT,
) -> Collected:
    """Collect statistics of the folded float graph and save them.

    Args:
        model: A path or a live module, as for `compress`.
        output: The file to write.
        calibration: Data; what the recipe names by default.
        recipe: Target, quantization options and how to load.
        shard: Part (i, n) of the data, i from 1; the merged parts are one pass, bit for bit.
        progress: Where progress is shown.

    Raises:
        CompressorError: See `compress`.
    """
    recipe = recipe or Recipe()
    options = recipe.quantize
    target = available_target(recipe)
    path = _writable(Path(output))
    prepared = prepare(
        model, target=target, recipe=recipe, calibration=calibration, progress=progress
    )
    data = prepared.calibration
    if data is None:
        raise UsageError("there is no data to calibrate on", hint="Pass --calib DATA.")
    with progress.stage("fold"):
        folded, _ = fold(
            prepared.model, feeds=prepared.feeds(prepared.fixed_batch or 2, recipe.seed)
        )
    policy = policy_of(target, options)
    values = quantized_values(folded, place(folded, policy).integer, policy)
    names = [value.name or "" for value in values]
    if shard is not None:
        block = run_batch(folded, names, data, options.batch, options.memory)
        data = _part(data, shard, block)
    with progress.stage("calibrate", total=len(data)) as advance:
        stats = statistics(
            folded,
            names,
            data,
            batch=options.batch,
            memory=options.memory,
            cache=cache_of(recipe).folder,
            advance=advance,
        )
    return _saved(stats, path)


def calibrate_in_shards(
    model: str | Path,
    *,
    output: str | Path,
    workers: Workers,
    calibration: object = None,
    recipe: Recipe | None = None,
    progress: Progress = SILENT,
) -> Collected:
    """The same by several processes, a shard each, merged: what one pass gives, bit for bit.

    Args:
        model: A path.
        output: The file to write.
        workers: What collects the shards; shards beyond the batches of the data are empty.
        calibration: Data that can be handed to a process; what the recipe names by default.
        recipe: As for `calibrate`.
        progress: Where progress is shown.

    Raises:
        CompressorError: See `compress`.
    """
    path, count = _writable(Path(output)), workers.count
    require_sendable(calibration=calibration)
    files: dict[int, Path] = {}
    with (
        scratch(path.parent) as aside,
        progress.stage("calibrate in shards", total=count) as advance,
    ):
        tickets = {}
        for index in range(1, count + 1):
            file = Path(aside, f"{index}.npz")
            ticket = workers.submit(_shard, model, file, calibration, recipe, (index, count))
            tickets[ticket] = index, file
        for _ in range(count):
            ticket, answer = workers.gather()
            index, file = tickets[ticket]
            # The first shard is never empty, so that data without samples is told.
            if isinstance(answer, BaseException):
                if isinstance(answer, EmptyShardError) and index > 1:
                    continue
                raise answer
            files[index] = file
            advance(1)
        return merge([files[index] for index in sorted(files)], path)


def _shard(
    model: str | Path,
    output: Path,
    calibration: object,
    recipe: Recipe | None,
    shard: tuple[int, int],
) -> Collected:
    """One shard, in a process of its own."""
    return calibrate(model, output=output, calibration=calibration, recipe=recipe, shard=shard)


def merge(files: list[Path], output: str | Path) -> Collected:
    """Merge the statistics of shards.

    Raises:
        DataError: A file holds none, or they do not belong together.
        OutputError: The result cannot be written.
    """
    path = _writable(Path(output))
    return _saved(merged([CalibrationStats.load(file) for file in files]), path)


def _part(data: CalibrationSet, shard: tuple[int, int], block: int) -> CalibrationSet:
    index, of = shard
    part = data.shard(index, of, block)
    if len(part) == 0:
        raise EmptyShardError(
            f"shard {index}/{of} is empty: {data.description} has {len(data)} samples, which are "
            f"{-(-len(data) // block)} batches of {block}",
            hint="Use fewer shards, or a smaller --calib-batch.",
        )
    return part


def _writable(path: Path) -> Path:
    """Refuse before the work what would fail after it."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise OutputError(f"{path} cannot be written: it is a folder, or its folder does not exist")
    reason = why_not_writable(path.parent)
    if reason is not None:
        raise OutputError(f"{path} cannot be written: {reason}")
    return path


def _saved(stats: CalibrationStats, path: Path) -> Collected:
    stats.save(path)
    return Collected(
        file=str(path),
        graph=stats.origin.graph,
        samples=stats.samples,
        tensors=len(stats.observed),
        shards=max(1, len(stats.origin.shards)),
    )
