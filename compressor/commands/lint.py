"""`lint`: what a runtime would make of somebody's ONNX, without building or changing anything."""

from pathlib import Path

import onnx
import onnx_ir as ir

from compressor.checkpoint.kinds import directory_error
from compressor.errors import LintError
from compressor.graph.files import load_model, save_model
from compressor.system.scratch import scratch
from exporters import DEFAULT_LINTER
from exporters.lint.base import LintReport, find_linter

PARSER_SECONDS = 300.0
"""How long the runtime's parser may take."""


def lint(
    model: str | Path | ir.Model | onnx.ModelProto,
    *,
    target: str = DEFAULT_LINTER,
    time_limit: float = PARSER_SECONDS,
) -> LintReport:
    """Find what a runtime would reject, misread or run slowly.

    Args:
        model: The path of an ONNX file, or a model in memory, which stays as it is.
        target: The runtime, one that has a linter.
        time_limit: Seconds that the runtime's own parser may take, in a process of its own.

    Returns:
        Findings with node, reason and fix. Errors are among them; none is raised.

    Raises:
        UsageError: There is no linter for this target.
        CheckpointError: The file is not an ONNX model, or is damaged.
    """
    linter = find_linter(target)
    if isinstance(model, str | Path):
        path = Path(model)
        if path.is_dir():
            raise directory_error(path)
        return linter.lint(load_model(path), path, time_limit=time_limit)
    with scratch() as folder:
        path = Path(folder) / "model.onnx"
        if isinstance(model, ir.Model):
            save_model(model, path)
        else:
            _write(model, path)
        loaded = load_model(path)
        report = linter.lint(loaded, path, time_limit=time_limit)
    return report.model_copy(update={"model": loaded.graph.name or "model in memory"})


def _write(model: onnx.ModelProto, path: Path) -> None:
    """Write the model as it stands; above protobuf's 2 GB with its weights beside it."""
    try:
        path.write_bytes(model.SerializeToString())
    except Exception:
        save_model(ir.from_proto(model), path)


def require_clean(report: LintReport, *, strict: bool = False) -> None:
    """Nothing where a report has no errors.

    Args:
        report: What the linter found.
        strict: Whether warnings count as errors.

    Raises:
        LintError: It has some.
    """
    if report.count("error") or (strict and report.count("warning")):
        raise LintError(f"{report.model}: {report.counts}", hint="Each finding says what to do.")
