"""Figures of merit, one a file; the file's name is the metric's."""

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, cast

import numpy as np

from compressor.errors import UsageError
from compressor.evaluation.outputs import primary_spec
from compressor.graph.tensors import TensorSpec
from compressor.userfile import load_object

if TYPE_CHECKING:  # metrics import this package while it is being imported
    from calibration.dataset import CalibrationSet
    from compressor.evaluation.metrics.base import Metric

_PROBE = 256


def metric_names() -> list[str]:
    """The metrics that exist in this installation."""
    return sorted(
        module.name
        for module in pkgutil.iter_modules(__path__)
        if module.name != "base" and not module.name.startswith("_")
    )


def find_metric(spec: str) -> "Metric":
    """The metric of that name, or the user's own: `file.py:function`, `package.module:function`.

    See `compressor.evaluation.user_metric` for what such a function takes and returns.

    Raises:
        UsageError: There is none; the message lists those that exist.
    """
    if ":" in spec:
        from compressor.evaluation.user_metric import metric_of  # noqa: PLC0415 - imports us

        return metric_of(load_object(spec, "metric"), spec)
    known = metric_names()
    if spec not in known:
        raise UsageError(
            f"unknown metric {spec!r}",
            hint=f"Choose one of {', '.join(known)}, or write file.py:function.",
        )
    return cast("Metric", import_module(f"{__name__}.{spec}").METRIC)


def default_metrics(data: "CalibrationSet", outputs: Sequence[TensorSpec]) -> tuple["Metric", ...]:
    """What to measure when the user names no metric; the first one is to be shown first.

    With labels that are class numbers of a (samples, classes) output: accuracy. Else fidelity to
    the original: cosine, and beside it the agreement on the largest value where the output looks
    like one of a classifier.
    """
    spec = primary_spec(outputs)
    looks_like_classes = (
        spec is not None
        and len(spec.shape) == 2
        and (not isinstance(spec.shape[1], int) or spec.shape[1] >= 2)
    )
    if spec is None or not looks_like_classes:
        return (find_metric("cosine"),)
    if data.has_labels and _are_classes(data.head(_PROBE).labels, spec.shape[1]):
        return (find_metric("accuracy"),)
    return (find_metric("cosine"), find_metric("agreement"))


def default_metric(data: "CalibrationSet", outputs: Sequence[TensorSpec]) -> "Metric":
    """The first of `default_metrics`."""
    return default_metrics(data, outputs)[0]


def _are_classes(labels: object, classes: object) -> bool:
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iub" or not array.size:
        return False
    return bool(array.min() >= 0 and (not isinstance(classes, int) or array.max() < classes))
