"""What quality is measured in: which output decides, by which metric, and what stands beside it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.errors import UsageError
from compressor.evaluation.classification import ClassificationMetric
from compressor.evaluation.detections import Evidence
from compressor.evaluation.distributions import DistributionMetric
from compressor.evaluation.label_sense import doubts, require_within
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT, TARGET, Metric, Scores
from compressor.evaluation.outputs import PREFERRED
from compressor.evaluation.roles import Roles, names_classes, words
from compressor.evaluation.seen import SAMPLES, Seen, SeenOutput, look
from compressor.evaluation.views import only
from compressor.graph.tensors import Array
from exporters.base import Runner

Reseed = Callable[[CalibrationSet], CalibrationSet]

FEW = 8
"""Values a sample up to which cosine says little: of one it is the sign."""
_TELLING = 20
"""Samples from which an accuracy says something."""
NEAR = 0.5
"""`r2` of an output that is its input, from which it is judged by what the model changes. It is the
floor of `r2`: what hands its input back must not pass for an answer."""
CONSTANT = 0.7
"""Cosine of an answer that never changes, from which cosine cannot tell a ruined result. It is
below the floor of `cosine`: what never changes must not pass for an answer."""

STILL = 0.05
"""Change of a score in 0 to 1 over all samples up to which its spread is noise."""


@dataclass(frozen=True)
class Yardstick:
    """The metrics that quality is measured in; made by `choose`.

    Attributes:
        metrics: The first decides; empty where none fits.
        primary: The output that decides; None where a metric looks at all of them, or none fits.
        seen: The outputs as they were seen.
        roles: Which of them are states.
        classes: How many the primary output scores; None where it scores none.
        reason: Why no metric fits.
        notices: What the user should know.
        reseeded: Makes other samples of the same kind, which distributions are compared with; None
            where half of the samples have to do for that.
        continued: Outputs that go on by themselves, as texts do.
    """

    metrics: tuple[Metric, ...]
    primary: str | None
    seen: Seen
    roles: Roles
    classes: int | None = None
    reason: str | None = None
    notices: tuple[str, ...] = ()
    reseeded: Reseed | None = None
    continued: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """Outputs that are no states."""
        return tuple(one.name for one in self.seen.outputs if one.name not in self.roles.states)

    def scores(
        self, metric: Metric, runners: Mapping[str, Runner], data: CalibrationSet, batch: int
    ) -> Scores:
        """The metric on what it looks at: the primary output, or all of them.

        Raises:
            DataError: The data lacks labels that the metric needs, or they do not fit.
            UsageError: The metric does not apply to the outputs.
        """
        if not metric.whole and self.primary is not None:
            runners = only(runners, [self.primary, *self._beside(metric)])
        if self.reseeded is not None and isinstance(metric, DistributionMetric):
            return metric.against(runners, data, self.reseeded(data), batch)
        return metric.evaluate(runners, data, batch)

    def _beside(self, metric: Metric) -> tuple[str, ...]:
        """What a metric takes beside the primary output: what that should be, if a loop tells."""
        names = [one.name for one in self.seen.outputs]
        tells = metric.takes_labels and TARGET in names and self.primary != TARGET
        return (TARGET,) if tells else ()

    def output_of(self, metric: Metric) -> str | None:
        """What a metric looks at; None where that is all outputs."""
        return None if metric.whole else self.primary


def choose(
    original: Runner,
    data: CalibrationSet,
    batch: int,
    *,
    roles: Roles,
    metric: Metric | None = None,
    output: str | None = None,
    reseeded: Reseed | None = None,
) -> Yardstick:
    """Look at the original's outputs on a few samples, and choose what quality is measured in.

    The primary output is the one asked for, else `logits` or `output`, else one called so in part,
    else the first that is no state and that a metric fits. Its metric is the one asked for, else:
    detections matched, where the outputs are boxes and scores; agreement of decisions; accuracy
    where labels are classes; perplexity where they are tokens; error relative to the change
    where an output is near an input, or adds to one that is most of it; error relative to the
    spread where there are few values a sample, or where an answer that never changes would have a
    high cosine; squared error of one probability that hardly varies, as its spread is noise; else
    cosine. Scores of classes have agreement beside it: those that labels, a softmax or their name
    say to be such. Embeddings, which the graph pools or normalizes, have neighbours beside it.

    Args:
        original: What is compared with.
        data: Samples that judge.
        batch: Samples per inference.
        roles: Roles of the original's outputs.
        metric: What the user asked for.
        output: The output that the user asked for.
        reseeded: See `Yardstick`.

    Raises:
        UsageError: There is no such output, or the metric fits none.
        DataError: The metric needs labels that the data does not have, or they do not fit it.
    """
    seen = look(original, data, batch)
    start = Yardstick((), None, seen, roles, reseeded=reseeded)
    noisy = [repr(one.name) for one in seen.outputs if one.noisy]
    if noisy:
        found = _chosen(start, original, data, batch, metric=metric, output=output)
        said = (
            f"the model draws random numbers: {', '.join(noisy)} differed when the same samples "
            "were run again, and closeness to the original is limited by that noise"
            + _to_itself(found, original, data, batch),
        )
        return replace(found, notices=(*found.notices, *said))
    return _chosen(start, original, data, batch, metric=metric, output=output)


def to_itself(
    yardstick: Yardstick, original: Runner, data: CalibrationSet, batch: int
) -> Scores | None:
    """How close the original is to itself in two runs; None where that is not what is measured."""
    if not yardstick.metrics:
        return None
    runners = {BASELINE: original, RESULT: original}
    scores = yardstick.scores(yardstick.metrics[0], runners, data.take(SAMPLES), batch)
    return scores if scores.reference == "original" else None


def _to_itself(found: Yardstick, original: Runner, data: CalibrationSet, batch: int) -> str:
    """That closeness in words, as the end of a sentence."""
    scores = to_itself(found, original, data, batch)
    if scores is None:
        return ""
    metric = found.metrics[0]
    value = float(metric.aggregate(scores.units[RESULT]))
    return f": two runs of the original have a {metric.name} of {value:.6g}{metric.unit}"


def _chosen(
    start: Yardstick,
    original: Runner,
    data: CalibrationSet,
    batch: int,
    *,
    metric: Metric | None,
    output: str | None,
) -> Yardstick:
    seen, roles = start.seen, start.roles
    if output is not None and output not in [one.name for one in seen.outputs]:
        raise UsageError(
            f"--output-metric {output}: the model has no such output",
            hint=f"It has {', '.join(one.name for one in seen.outputs)}.",
        )
    primary = _primary(seen, roles, output, metric)
    found = replace(start, primary=None if primary is None else primary.name)
    if metric is not None:
        return _asked(found, primary, metric, original, data, batch)
    if seen.boxes is Evidence.CERTAIN and output is None:
        return replace(found, metrics=(find_metric("detection"),))
    if primary is None or primary.misfit is not None:
        return replace(found, primary=None, reason=_why_none(seen, primary))
    metrics, classes = _fitting(primary, seen, roles, data)
    notices = _hidden(seen, metrics[0], primary.name) if seen.boxes else ()
    notices = (*notices, *_same(primary), *_missing(primary, roles, metrics[0], data.classes))
    found = replace(found, metrics=metrics, classes=classes, notices=notices)
    if seen.labels:
        scores = found.scores(metrics[0], {BASELINE: original}, data.take(SAMPLES), batch)
        if scores.reference == "original":
            said = _unused(seen.labels, primary, metrics[0], data.classes)
            found = replace(found, notices=(*notices, said))
    return _doubted(found, original, data, batch)


def _doubted(found: Yardstick, original: Runner, data: CalibrationSet, batch: int) -> Yardstick:
    """The yardstick with what is odd about labels of classes."""
    if not isinstance(found.metrics[0], ClassificationMetric) or found.primary is None:
        return found
    runner = only({BASELINE: original}, [found.primary])[BASELINE]
    said = doubts(runner, data.take(SAMPLES), batch, data.classes)
    return replace(found, notices=(*found.notices, *said))


def _same(output: SeenOutput) -> tuple[str, ...]:
    """That the original's answer tells samples not apart."""
    if not output.flat:
        return ()
    return (
        f"output {output.name!r} is the same for all samples seen: a result that always "
        "answers the same looks as good; give samples with other answers",
    )


def _is_still(output: SeenOutput, roles: Roles) -> bool:
    """Whether one probability hardly varies, as a detector's of what never occurs in the data."""
    if output.elements != 1 or roles.ends.get(output.name) != "sigmoid" or output.within is None:
        return False
    low, high = output.within
    return not output.flat and high - low < STILL


def _missing(
    output: SeenOutput, roles: Roles, metric: Metric, counts: Mapping[int, int]
) -> tuple[str, ...]:
    """Which samples are missing where nothing that decides otherwise is among them."""
    said = []
    if _is_still(output, roles) and output.within is not None:
        low, high = output.within
        absent = "detects" if high < 0.5 else "rejects" if low > 0.5 else "decides"
        said.append(
            f"output {output.name!r} scores all samples seen alike, {low:.3g} to {high:.3g}, and "
            f"{metric.name} of those says little: give samples of what it {absent}"
        )
    told_apart = isinstance(metric, ClassificationMetric)
    if len(counts) == 1 and sum(counts.values()) > 1 and not told_apart:
        said.append(
            f"all labels are {next(iter(counts))}: what is measured tells nothing of the others; "
            "give samples of all of them"
        )
    return tuple(said)


def _unused(
    labels: Sequence[Array], output: SeenOutput, metric: Metric, counts: Mapping[int, int]
) -> str:
    """That the labels judge nothing, and why."""
    if counts:
        labels = [*labels, np.array(list(counts))]
    numbers = np.concatenate([part.reshape(-1) for part in labels])
    classes = _classes(output)
    per_sample = all(part.size == len(part) for part in labels)
    if classes is not None and per_sample and not (numbers % 1).any():
        why = (
            f"they run from {int(numbers.min())} to {int(numbers.max())}, and {output.name!r} "
            f"scores {classes} classes, from 0 to {classes - 1}"
            if numbers.dtype.kind in "iub"
            else f"class numbers are integers, and these are {numbers.dtype}"
        )
    elif output.elements is not None and numbers.size == output.elements * sum(map(len, labels)):
        why = "they are targets of the output's size, which r2, nrmse, mse and psnr take"
    else:
        why = (
            f"of {list(labels[0].shape[1:])} a sample they are neither class numbers nor targets "
            f"for {output.name!r} of {list(output.shape[1:])}"
        )
    return (
        f"labels are not used: {why}; {metric.name} compares with the original (--metric "
        "file.py:function may use them)"
    )


def relative_metric(output: SeenOutput, roles: Roles) -> str:
    """The name of the metric of closeness that fits a floating output."""
    adds = output.name in roles.added and (output.passing or 0) >= CONSTANT
    if adds or (output.near or 0) >= NEAR:
        return "residual"
    if _is_still(output, roles):
        return "mse"
    few = output.elements is not None and output.elements <= FEW
    constant = output.constancy is not None and output.constancy >= CONSTANT
    return "r2" if few or constant else "cosine"


def _primary(
    seen: Seen, roles: Roles, asked: str | None, metric: Metric | None
) -> SeenOutput | None:
    if asked is not None:
        return seen[asked]
    answers = [one for one in seen.outputs if one.name not in roles.states]
    answers = [one for one in answers if one.name != TARGET] or answers
    fitting = [one for one in answers if one.misfit is None]
    decisions = [one for one in fitting if not one.floating]
    if metric is not None and metric.takes_decisions and decisions:
        return decisions[0]
    floating = [one for one in fitting if one.floating]
    by_name = [one for name in PREFERRED for one in floating if one.name == name]
    in_part = [one for one in floating if "logits" in words(one.name)]
    return next(iter([*by_name, *in_part, *floating, *fitting]), None)


def _asked(
    found: Yardstick,
    primary: SeenOutput | None,
    metric: Metric,
    original: Runner,
    data: CalibrationSet,
    batch: int,
) -> Yardstick:
    """The user's metric, tried on a few samples, so that what does not fit fails early."""
    if not metric.whole and (primary is None or primary.misfit is not None):
        raise UsageError(
            f"metric {metric.name} fits no output: {_why_none(found.seen, primary)}",
            hint="--metric detection matches boxes with scores; file.py:function scores outputs of "
            "any form.",
        )
    found = replace(found, metrics=(metric,), classes=_classes(primary))
    if isinstance(metric, ClassificationMetric) and found.classes is not None:
        require_within(data.classes, found.classes, data.description)
    scores = found.scores(metric, {BASELINE: original}, data.take(SAMPLES), batch)
    notices = _hidden(found.seen, metric, found.primary) if found.seen.boxes else ()
    if scores.noun == "batch":
        notices = (*notices, without_samples(metric, batch))
    if len(data) < scores.least:
        notices = (*notices, _few(metric, len(data), scores.least))
    return _doubted(replace(found, notices=notices), original, data, batch)


def without_samples(metric: Metric, batch: int) -> str:
    """That a metric has no value per sample, and what that means."""
    return (
        f"{metric.name} gives one number for a batch of {batch} samples and none per sample. Its "
        "value is the mean over batches; that of a distance between distributions depends on their "
        "size (--calib-batch). Only batches can be resampled to prove a loss"
    )


def _few(metric: Metric, found: int, least: int) -> str:
    """That a figure of so few samples is mostly chance."""
    return (
        f"{metric.name} of {found:,} samples says little: for as many features as there are it "
        f"takes {least:,} or more"
    )


def _hidden(seen: Seen, metric: Metric, output: str | None) -> tuple[str, ...]:
    """That a figure over all boxes says little of what is detected."""
    if metric.whole:
        return ()
    told = {
        Evidence.CERTAIN: "--metric detection matches detections by overlap",
        Evidence.LIKELY: f"--metric detection matches detections by overlap, and {_NAMED}",
        Evidence.SHAPED: f"if they are, {_NAMED}",
    }
    return (
        f"the outputs look like boxes and scores: {metric.name} of {output!r} takes all boxes "
        f"alike and hides what is detected; {told[seen.boxes]}",
    )


_NAMED = (
    'names let them be matched without asking: return {"boxes": …, "scores": …} from forward, with '
    '"labels" where each box has a class'
)


def _why_none(seen: Seen, asked: SeenOutput | None) -> str:
    """Why no metric fits."""
    if asked is not None and asked.misfit is not None:
        return f"{asked.misfit}, so that none fits it; {_REMEDY}"
    told = "; ".join(one.misfit or "" for one in seen.outputs if one.misfit)
    return f"{told or 'the model has no output that is no state'}; {_REMEDY}"


_REMEDY = "--metric detection matches boxes with scores, file.py:function scores any outputs"


def _fitting(
    output: SeenOutput, seen: Seen, roles: Roles, data: CalibrationSet
) -> tuple[tuple[Metric, ...], int | None]:
    """What fits the primary output, and how many classes it scores."""
    if not output.floating:
        return (find_metric("agreement"),), None
    classes, agreement = _classes(output), find_metric("agreement")
    within = all(0 <= label < (classes or 0) for label in data.classes)  # the rest of the data too
    if classes is not None and are_classes(seen.labels, classes) and within:
        return (find_metric("accuracy"),), classes
    if _are_tokens(seen.labels, output):
        return (find_metric("perplexity"), agreement), output.shape[2]
    scoring = names_classes(output.name) or roles.ends.get(output.name) == "softmax"
    beside = (agreement,) if scoring and _has_choices(output) else ()
    first = find_metric(relative_metric(output, roles))
    if first.name == "cosine" and not scoring and _is_embedding(output, roles):
        beside = (find_metric("neighbours"),)
    return (first, *beside), classes if scoring else None


def _is_embedding(output: SeenOutput, roles: Roles) -> bool:
    """Whether it is a vector a sample that others are compared with."""
    return output.name in roles.embeddings and len(output.shape) == 2


def _classes(output: SeenOutput | None) -> int | None:
    """How many classes a floating output (samples, classes) would score; also of one pixel."""
    if output is None or not output.floating or len(output.shape) < 2:
        return None
    classes = output.shape[1]
    return classes if classes >= 2 and set(output.shape[2:]) <= {1} else None


def _has_choices(output: SeenOutput) -> bool:
    """Whether the last axis can be one of classes: of samples or of their positions."""
    return len(output.shape) in (2, 3) and output.shape[-1] > 1


def are_classes(labels: Sequence[Array], classes: int) -> bool:
    """Whether labels are one class number a sample."""
    for part in labels:
        flat = part.reshape(-1) if part.shape[1:] == (1,) else part
        if flat.ndim != 1 or flat.dtype.kind not in "iub":
            return False
        numbers = flat.astype(np.int64)
        if numbers.min(initial=0) < 0 or numbers.max(initial=0) >= classes:
            return False
    return bool(labels)


def _are_tokens(labels: Sequence[Array], output: SeenOutput) -> bool:
    """Whether labels are one token a position of the output (samples, positions, vocabulary)."""
    if not labels or len(output.shape) != 3 or output.shape[2] < 2:
        return False
    if any(part.dtype.kind not in "iu" for part in labels):
        return False
    first = labels[0].reshape(len(labels[0]), -1)
    largest = max(int(part.astype(np.int64).max(initial=0)) for part in labels)
    return first.shape == output.shape[:2] and largest < output.shape[2]


def chance(yardstick: Yardstick, metric: Metric, scores: Scores) -> str | None:
    """That the original is no better on the labels than what knows nothing; None where it is.

    Accuracy: 1 / classes lies in the 95 % interval of the original's (Wilson 1927), or above it.
    r2: the mean of the labels would do as well. Perplexity: all tokens were as likely.
    """
    if scores.reference != "labels" or BASELINE not in scores.units:
        return None
    units = scores.units[BASELINE]
    value, n, classes = float(metric.aggregate(units)), len(units), yardstick.classes or 0
    if metric.name == "accuracy" and classes and n >= _TELLING:
        guessed = _lower_bound(value / 100, n) <= 1 / classes
        told = f"{value:.1f} %: {classes} classes guessed"
    elif metric.name == "r2":
        guessed, told = value <= 0, f"{value:.3g}: the mean of the labels"
    elif metric.name == "perplexity" and classes:
        guessed, told = value >= classes, f"{value:.4g}: {classes} tokens guessed"
    else:
        return None
    if not guessed:
        return None
    return (
        f"{metric.name} of the original is at chance, {told} would do as well. Look whether labels "
        "are in the model's order and inputs preprocessed as in training (--mean, --std, --scale, "
        "--layout)"
    )


def _lower_bound(share: float, n: int) -> float:
    """The lower end of Wilson's 95 % interval of a proportion."""
    z = 1.96
    root = math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (share + z * z / (2 * n) - z * root) / (1 + z * z / n)
