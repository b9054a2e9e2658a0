"""Figures of merit, one a file; the file's name is the metric's."""

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, cast

from compressor.errors import UsageError
from compressor.system.userfile import load_object

if TYPE_CHECKING:  # metrics import this package while it is being imported
    from compressor.evaluation.metrics.base import Metric


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
    spec = spec.replace("-", "_") if spec.replace("-", "_") in known else spec
    if spec not in known:
        raise UsageError(
            f"unknown metric {spec!r}",
            hint=f"Choose one of {', '.join(known)}, or write file.py:function.",
        )
    return cast("Metric", import_module(f"{__name__}.{spec}").METRIC)
