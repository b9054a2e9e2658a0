"""Which samples serve which purpose: to calibrate, to search on, to judge, to confirm."""

from dataclasses import dataclass, replace
from typing import Literal

from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats
from compressor.checkpoint.prepared import Prepared
from compressor.evaluation.grounds import shared_samples, why_degenerate
from compressor.evaluation.trained_on import unlike_training
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.data import HOLDOUT
from compressor.results.report import DataUse
from compressor.search.measure import yardstick
from compressor.system.progress import Progress
from exporters.base import Target

CALLS = "recorded calls not used to calibrate"
"""What judges a graph of a loop by itself."""


@dataclass(frozen=True)
class DataSplit:
    """Which samples serve which purpose.

    Attributes:
        calibration: What ranges are taken from.
        quality: What judges; no decision sees it.
        words: Which data judges, in words.
        fingerprint: Of the calibration data.
        notices: What the user should know about it.
        quality_reason: Why nothing judges, when nothing does.
        share: What part of the samples that the user passed `quality` is.
        search: With a budget, what candidates are compared on; no part of `quality`.
        training: What is trained on, where that was asked for.
        held_out: What chooses the best moment of a training; neither a repair nor the training
            sees it.
        degenerate: Why ranges of the calibration data fit nothing else; None where they may.
    """

    calibration: CalibrationSet | None
    quality: CalibrationSet | None
    words: str = ""
    fingerprint: str | None = None
    notices: tuple[str, ...] = ()
    quality_reason: str = "no data to measure on: pass --eval or --calib"
    share: float = 1.0
    search: CalibrationSet | None = None
    training: CalibrationSet | None = None
    held_out: CalibrationSet | None = None
    degenerate: str | None = None

    @property
    def uses(self) -> tuple[DataUse, ...]:
        """The same, for the report."""
        confirm: Literal["confirm"] | None = None if self.search is None else "confirm"
        found = (
            _use("calibration", self.calibration),
            _use("training", self.training),
            _use("evaluation", self.search, "search"),
            _use("evaluation", self.quality, confirm),
        )
        return tuple(use for use in found if use is not None)


def _use(
    role: Literal["calibration", "training", "evaluation"],
    data: CalibrationSet | None,
    purpose: Literal["search", "confirm"] | None = None,
) -> DataUse | None:
    if data is None:
        return None
    return DataUse(
        role=role,
        description=data.description,
        samples=len(data),
        fingerprint=data.fingerprint(),
        purpose=purpose,
    )


def split_data(prepared: Prepared, seed: int, stats: CalibrationStats | None = None) -> DataSplit:
    """Evaluation data judges when there is any; else calibration samples are held out.

    With statistics that were collected earlier none can be: they may be of these very samples.
    """
    calib, evaluation = prepared.calibration, prepared.evaluation
    if stats is not None:
        notices = ("the ranges come from statistics that were collected earlier (--stats)",)
        reason = "the statistics may be of the calibration data, which cannot judge: pass --eval"
        return DataSplit(calib, evaluation, "evaluation data", stats.data, notices, reason)
    if calib is None:
        return DataSplit(None, evaluation, "evaluation data")
    if evaluation is not None:
        return DataSplit(calib, evaluation, "evaluation data", calib.fingerprint())
    if len(calib) < 2:
        notice = ("one calibration sample cannot both calibrate and judge; pass --eval",)
        return DataSplit(calib, None, "", calib.fingerprint(), notice, notice[0])
    used, held_out = calib.split(1 - HOLDOUT, seed)
    words = "calibration samples not used to calibrate"
    return DataSplit(used, held_out, words, used.fingerprint(), share=HOLDOUT)


def of_calls(data: DataSplit) -> DataSplit:
    """The same of a loop's recorded calls, which are no samples that a user passed."""
    return replace(data, words=data.words and CALLS)


def examined(prepared: Prepared, data: DataSplit, progress: Progress) -> DataSplit:
    """With what the figures rest on: what does not vary, was seen twice, or looks unlike training.

    Nothing is refused here; each finding is a notice. Calls of a loop may well be alike: it feeds
    a graph the same at the same place of every run, and what it makes is judged on runs apart.
    """
    said, degenerate = list[str](), None
    with progress.stage("look at data"):
        if data.calibration is not None:
            degenerate, odd = why_degenerate(data.calibration)
            said += odd if degenerate is None else (degenerate,)
        given = data.words != CALLS and degenerate is None
        if given and data.calibration is not None and data.quality is not None:
            apart = prepared.evaluation is not None
            said += _shared(data.calibration, data.quality, data.words, apart=apart)
        said += _unlike(prepared, None if degenerate else data.calibration, data.quality)
    for notice in said:
        progress.notice(notice)
    return replace(data, notices=(*data.notices, *said), degenerate=degenerate)


def _unlike(
    prepared: Prepared, calibration: CalibrationSet | None, judging: CalibrationSet | None
) -> tuple[str, ...]:
    """What looks unlike the training data; evaluation data is looked at by itself.

    It may come prepared in another way than what is calibrated on. What was held out of the
    calibration data may not.
    """
    sets = {"the calibration data": calibration}
    if prepared.evaluation is not None:
        sets["the evaluation data"] = judging
    elif calibration is None:
        sets = {"the data": judging}
    found = (
        unlike_training(prepared.model, samples, prepared.fixed_batch, words)
        for words, samples in sets.items()
        if samples is not None
    )
    return tuple(one for one in found if one is not None)


def _shared(
    calibration: CalibrationSet, judging: CalibrationSet, words: str, *, apart: bool
) -> tuple[str, ...]:
    """What both hold; `apart` says whether they were given apart, or are parts of one."""
    same, of = shared_samples(calibration, judging)
    if not same:
        return ()
    advice = "Keep --calib and --eval apart, and copies out of both"
    if not apart:
        advice = "The data holds them more than once"
    return (
        f"{same:,} of {of:,} samples that judge ({words}) are calibrated on, too: what is seen "
        f"twice looks better than it is. {advice}",
    )


def looked_at(
    prepared: Prepared, data: DataSplit, recipe: Recipe, target: Target, progress: Progress
) -> Prepared:
    """With what quality is measured in, before any work: what does not fit is refused here.

    Raises:
        DataError: The metric needs labels that the data does not have.
        UsageError: There is no such metric or output, or the metric fits none.
    """
    if data.quality is None:
        return prepared
    with progress.stage("look at outputs"):
        found = yardstick(prepared, recipe, target, data.quality)
    for notice in found.notices:
        progress.notice(notice)
    return replace(prepared, yardstick=found)
