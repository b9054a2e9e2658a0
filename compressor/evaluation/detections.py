"""Boxes, scores and classes out of the outputs of detectors, whatever their layout.

Known are several outputs, told by name and shape (`boxes` beside `scores`, and perhaps `labels` or
a count), with a row per sample or for one sample as many rows as there are boxes; two outputs whose
names tell nothing, (samples, rows, 4) and (samples, rows) or (samples, rows, classes) in 0 to 1;
and one output:
(samples, rows, 6) or (rows, 6) with corners, score and class; (rows, 7) with the sample in front;
(samples, rows, 5 + classes) and (samples, 4 + classes, rows) with centres and sizes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from compressor.evaluation.metrics.base import FloatArray
from compressor.evaluation.outputs import is_floating
from compressor.evaluation.roles import words
from compressor.graph.tensors import Array

BOX_WORDS = frozenset({"box", "boxes", "bbox", "bboxes", "rois"})
SCORE_WORDS = frozenset(
    {
        "score",
        "scores",
        "conf",
        "confs",
        "confidence",
        "confidences",
        "prob",
        "probs",
        "probabilities",
        "logits",
        "logit",
    }
)
CLASS_WORDS = frozenset(
    {"label", "labels", "class", "classes", "cls", "category", "categories", "ids"}
)
_HEAD_WORDS = BOX_WORDS | {"det", "dets", "detection", "detections", "yolo", "anchors"}
DENSE = 300
"""Rows of a sample above which they are candidates, of which neighbours are suppressed."""
MOST = 100
"""Detections that are kept of a sample, by score."""
OVERLAP = 0.5
"""Intersection over union from which two boxes are one."""
_ROUNDING = 0.05
_FEWEST = 4
"""Rows a sample up to which anything of four columns may look like boxes."""


class Evidence(IntEnum):
    """Certainty that outputs are boxes and scores."""

    NONE = 0
    SHAPED = 1
    LIKELY = 2
    CERTAIN = 3


@dataclass(frozen=True)
class Rows:
    """Rows that may be detections of one sample, as the model gives them.

    Attributes:
        boxes: (k, 4).
        scores: (k,) where `classes` tells the class of each, else (k, classes).
        classes: (k,), or None.
        centred: Whether boxes are centres and sizes, and no corners; None where that is not known.
    """

    boxes: FloatArray
    scores: FloatArray
    classes: FloatArray | None
    centred: bool | None = None


@dataclass(frozen=True)
class RowFormat:
    """Format of the rows: found once, in the original's, for both models.

    Attributes:
        logits: Whether scores go through a sigmoid.
        centred: Whether boxes are centres and sizes.
        background: The class that stands for no object, if one does.
    """

    logits: bool = False
    centred: bool = False
    background: int | None = None


@dataclass(frozen=True)
class Detections:
    """Detections of one sample, by falling score."""

    boxes: FloatArray
    scores: FloatArray
    classes: FloatArray

    def above(self, score: float, most: int = MOST) -> "Detections":
        """Those of at least that score."""
        count = min(int(np.count_nonzero(self.scores >= score)), most)
        return Detections(self.boxes[:count], self.scores[:count], self.classes[:count])


def looks_like_detections(outputs: Mapping[str, Array], samples: int) -> Evidence:
    """Whether outputs are boxes and scores: certain by names or by values, likely by shape.

    Shaped are boxes beside what may be logits of them: nothing but names would tell.
    """
    if _by_name(outputs, samples) is not None:
        return Evidence.CERTAIN
    if _by_shape(outputs, samples) is not None:
        return Evidence.LIKELY
    if _by_shape(outputs, samples, logits=True) is not None:
        return Evidence.SHAPED
    if len(outputs) != 1:
        return Evidence.NONE
    name, array = next(iter(outputs.items()))
    rows = _single(array, samples)
    if rows is None:
        return Evidence.NONE
    if _is_plain(array.astype(np.float64), rows):
        return Evidence.CERTAIN
    return Evidence.LIKELY if _HEAD_WORDS.intersection(words(name)) else Evidence.NONE


def read(
    outputs: Mapping[str, Array], samples: int, *, like: Mapping[str, Array] | None = None
) -> list[Rows] | None:
    """The rows of every sample; None where the outputs have no known layout.

    Args:
        outputs: Outputs of one call.
        samples: In that call.
        like: The original's outputs, whose values tell what is what in both; by default these.
    """
    named = _by_name(outputs, samples)
    if named is not None:
        return named
    names = _by_shape(outputs if like is None else like, samples)
    if names is not None and all(name in outputs for name in names):
        return _by_name({names.get(name, name): outputs[name] for name in outputs}, samples)
    floating = {name: array for name, array in outputs.items() if is_floating(array.dtype)}
    for array in floating.values():
        found = _single(array, samples)
        if found is not None:
            return found
    return None


def form_of(rows: list[Rows]) -> RowFormat:
    """How the original's rows are to be read.

    Scores outside of 0 to 1 are logits. Boxes are centres and sizes where the second pair is no
    corner. A first or last class that most rows have stands for no object.
    """
    scores = np.concatenate([one.scores.reshape(-1) for one in rows])
    logits = bool(scores.size and (scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING))
    boxes = np.concatenate([one.boxes for one in rows])
    ordered = (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    centred = bool(len(boxes)) and ordered.mean() < 0.9 and bool((boxes[:, 2:] >= 0).all())
    known = rows[0].centred
    return RowFormat(logits, centred if known is None else known, _background(rows, logits))


def chosen(rows: Rows, form: RowFormat) -> Detections:
    """The best detections of a sample: neighbours of one class suppressed where rows are many."""
    scores, classes = _best(rows, form)
    order = np.argsort(-scores, kind="stable")[:DENSE]
    boxes, scores, classes = rows.boxes[order], scores[order], classes[order]
    if form.centred:
        half = np.abs(boxes[:, 2:]) / 2
        boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    if len(rows.boxes) > DENSE or rows.classes is None:
        kept = _suppressed(boxes, classes)
        boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
    return Detections(boxes[:MOST], scores[:MOST], classes[:MOST])


def _background(rows: list[Rows], logits: bool) -> int | None:
    tables = [one.scores for one in rows if one.classes is None and one.scores.shape[1] > 1]
    if not tables:
        return None
    means = np.mean(_probabilities(np.concatenate(tables), logits), axis=0)
    largest = int(means.argmax())
    return largest if means[largest] > 0.5 and largest in (0, len(means) - 1) else None


def overlaps(one: FloatArray, other: FloatArray) -> FloatArray:
    """Intersection over union of corners (a, 4) and (b, 4), in any order of corners: (a, b)."""
    first, second = _sorted(one)[:, None], _sorted(other)[None]
    low, high = (
        np.maximum(first[..., :2], second[..., :2]),
        np.minimum(first[..., 2:], second[..., 2:]),
    )
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (first, second)]
    union = areas[0] + areas[1] - shared
    same = np.isclose(first, second, rtol=1e-6, atol=0).all(axis=-1)
    return np.asarray(np.divide(shared, union, out=same.astype(float), where=union > 0))


def _sorted(boxes: FloatArray) -> FloatArray:
    low = np.minimum(boxes[:, :2], boxes[:, 2:])
    return np.concatenate([low, np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def _suppressed(boxes: FloatArray, classes: FloatArray) -> list[int]:
    """The places of boxes, by falling score, that overlap no better one of their class."""
    near = (overlaps(boxes, boxes) >= OVERLAP) & (classes[:, None] == classes[None])
    kept: list[int] = []
    for place in range(len(boxes)):
        if not near[place, kept].any():
            kept.append(place)
    return kept


def _best(rows: Rows, form: RowFormat) -> tuple[FloatArray, FloatArray]:
    """Score and class of each row."""
    scores = _probabilities(rows.scores, form.logits)
    if rows.classes is not None:
        return scores, rows.classes
    if form.background is not None and form.background < scores.shape[1]:
        scores[:, form.background] = 0
    return scores.max(axis=1, initial=0), scores.argmax(axis=1).astype(np.float64)


def _probabilities(scores: FloatArray, logits: bool) -> FloatArray:
    """Scores in 0 to 1, none where they are not numbers."""
    with np.errstate(over="ignore"):
        found = 1 / (1 + np.exp(-scores)) if logits else np.clip(scores, 0, 1)
    return np.asarray(np.nan_to_num(found))


# Several outputs


def _by_name(outputs: Mapping[str, Array], samples: int) -> list[Rows] | None:
    """Rows of outputs whose names say what they are, or of one sample by their shapes."""
    boxes = _named(outputs, BOX_WORDS, lambda a: a.ndim in (2, 3) and 4 in a.shape[-2:])
    boxes = boxes or _boxes_by_shape(outputs, samples)
    if boxes is None:
        return None
    table = outputs[boxes].astype(np.float64)
    table = table[None] if table.ndim == 2 and samples == 1 else table
    if table.ndim != 3 or len(table) != samples:
        return None
    table = table if table.shape[2] == 4 else table.transpose(0, 2, 1)
    others = {name: array for name, array in outputs.items() if name != boxes}
    graded, classes = _graded(others, samples, table.shape[1])
    if graded is None:
        return None
    return [
        Rows(
            table[i, :length],
            graded[i, :length],
            None if graded.ndim == 3 else classes[i, :length],
        )
        for i, length in enumerate(_lengths(others, samples, table.shape[1]))
    ]


def _boxes_by_shape(outputs: Mapping[str, Array], samples: int) -> str | None:
    """Boxes of one sample: floats (k, 4) beside floats (k,), as torchvision's detectors return."""
    if samples != 1:
        return None
    floating = {name: array for name, array in outputs.items() if is_floating(array.dtype)}
    counts = {array.shape for array in floating.values() if array.ndim == 1}
    fits = (n for n, a in floating.items() if a.ndim == 2 and a.shape[1] == 4)
    return next((name for name in fits if floating[name].shape[:1] in counts), None)


def _by_shape(
    outputs: Mapping[str, Array], samples: int, *, logits: bool = False
) -> dict[str, str] | None:
    """Names that outputs without telling ones should have; None where they may be anything else.

    Floats (samples, rows, 4) that are boxes by their values, beside floats of as many rows that
    are scores in 0 to 1, or logits; what else has a whole number a row tells classes.
    """
    floating = {n: a.astype(np.float64) for n, a in outputs.items() if is_floating(a.dtype)}
    fours = [n for n, a in floating.items() if a.ndim == 3 and len(a) == samples and _are_boxes(a)]
    if len(fours) != 1:
        return None
    rows = outputs[fours[0]].shape[:2]
    graded = {n: a for n, a in floating.items() if n != fours[0] and a.shape[:2] == rows}
    labels = [n for n, a in graded.items() if a.shape == rows and _is_class(a) and a.max() > 1]
    scores = [n for n in graded if n not in labels]
    if len(scores) != 1 or len(labels) > 1 or not _are_scores(graded[scores[0]], logits):
        return None
    return {fours[0]: "boxes", scores[0]: "scores", **dict.fromkeys(labels, "labels")}


def _are_boxes(array: FloatArray) -> bool:
    """Whether rows of four are corners in order, or centres and sizes; and more than a few."""
    if array.shape[2] != 4 or array.shape[1] < _FEWEST or not np.isfinite(array).all():
        return False
    ordered = (array[..., 2:] >= array[..., :2]).all(axis=-1).mean()
    return bool(ordered >= 0.9 or (array >= 0).all())


def _are_scores(array: FloatArray, logits: bool) -> bool:
    """Whether values of rows or of their classes are in 0 to 1, or any numbers."""
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] != 4)
    return fits and (logits or bool(array.min() >= 0 and array.max() <= 1))


def _graded(
    others: Mapping[str, Array], samples: int, count: int
) -> tuple[FloatArray | None, FloatArray]:
    """Scores (samples, count) or (samples, count, classes), and the class of each row."""
    floating = {name: array for name, array in others.items() if is_floating(array.dtype)}
    sure = _named(floating, SCORE_WORDS, lambda a: count in a.shape)
    name = sure or _named(floating, CLASS_WORDS, lambda a: count in a.shape)
    if name is None and samples == 1:
        name = next((key for key, array in floating.items() if array.shape == (count,)), None)
    if name is None:
        return None, np.zeros((samples, count))
    rest = {key: array for key, array in others.items() if key != name}
    own = _named(rest, CLASS_WORDS, lambda a: a.size == samples * count)
    own = own or next(
        (k for k, a in rest.items() if a.dtype.kind in "iu" and a.size == samples * count), None
    )
    classes = np.zeros((samples, count)) if own is None else rest[own].astype(np.float64)
    return _by_row(floating[name], samples, count), classes.reshape(samples, count)


def _named(
    outputs: Mapping[str, Array], known: frozenset[str], fits: Callable[[Array], bool]
) -> str | None:
    """The first output that fits and has a known word in its name."""
    for name, array in outputs.items():
        if not known.isdisjoint(words(name)) and fits(array):
            return name
    return None


def _by_row(array: Array, samples: int, count: int) -> FloatArray | None:
    """Scores as (samples, rows) or (samples, rows, classes)."""
    exact = array.astype(np.float64)
    if exact.shape == (count,) or (exact.ndim == 2 and samples == 1 and exact.shape[0] == count):
        exact = exact[None]
    if exact.ndim == 3 and exact.shape[1] != count and exact.shape[2] == count:
        exact = exact.transpose(0, 2, 1)
    if exact.ndim == 3 and exact.shape[2] == 1:
        exact = exact[:, :, 0]
    return exact if exact.shape[:2] == (samples, count) else None


def _lengths(outputs: Mapping[str, Array], samples: int, count: int) -> list[int]:
    """Rows of each sample that hold something, where an output `num_detections` tells."""
    for name, array in outputs.items():
        if "num" in words(name) and array.size == samples:
            return [min(max(int(n), 0), count) for n in array.reshape(-1)]
    return [count] * samples


# One output


def _single(array: Array, samples: int) -> list[Rows] | None:
    """Rows of one output, by its shape and by what its columns hold."""
    if not is_floating(array.dtype):
        return None
    exact = array.astype(np.float64)
    if exact.ndim == 2 and exact.shape[1] == 7:
        return _with_sample(exact, samples)
    if exact.ndim == 2 and exact.shape[1] == 6 and samples == 1:
        exact = exact[None]
    if exact.ndim != 3 or len(exact) != samples:
        return None
    if exact.shape[2] == 6 and _is_class(exact[..., 5]):
        return [Rows(one[:, :4], one[:, 4], one[:, 5]) for one in exact]
    if exact.shape[1] >= 20 and 6 <= exact.shape[2] < exact.shape[1] / 2:
        return [Rows(one[:, :4], one[:, 4:5] * one[:, 5:], None, True) for one in exact]
    if exact.shape[2] >= 20 and 5 <= exact.shape[1] < exact.shape[2] / 2:
        return [Rows(one[:4].T, one[4:].T, None, True) for one in exact]
    return None


def _with_sample(table: FloatArray, samples: int) -> list[Rows] | None:
    """Rows (sample, corners, class and score in either order)."""
    own = table[:, 0]
    if not _is_class(own) or (own >= samples).any():
        return None
    score, label = (5, 6) if _is_class(table[:, 6]) and not _is_class(table[:, 5]) else (6, 5)
    return [Rows(one[:, 1:5], one[:, score], one[:, label]) for one in _parts(table, own, samples)]


def _parts(table: FloatArray, own: FloatArray, samples: int) -> Iterator[FloatArray]:
    for sample in range(samples):
        yield table[own == sample]


def _is_class(column: FloatArray) -> bool:
    return bool((column >= 0).all() and (column == np.rint(column)).all())


def _is_plain(array: FloatArray, rows: list[Rows]) -> bool:
    """Whether values bear out what the shape says: boxes in pixels, scores in 0 to 1."""
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 6 and rows[0].classes is not None):
        scores = array[..., 4] if array.shape[-1] == 6 else np.concatenate([r.scores for r in rows])
        return scores.size == 0 or bool(scores.min() >= 0 and scores.max() <= 1)
    columns = array if array.shape[2] < array.shape[1] else array.transpose(0, 2, 1)
    boxes, scores = columns[..., :4], columns[..., 4:]
    in_pixels = bool((boxes[..., 2:] >= 0).all() and boxes.max(initial=0) > 2)
    return in_pixels and bool(scores.min(initial=0) >= 0 and scores.max(initial=0) <= 1)
