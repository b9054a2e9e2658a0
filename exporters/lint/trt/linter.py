"""Rules first, then the real parser; what both find is told once."""

from pathlib import Path

import onnx_ir as ir

from compressor.errors import CheckpointError, CompressorError
from compressor.graph.files import initializer_bytes
from compressor.graph.session import LARGE
from compressor.system.asked_first import why_not_survived
from exporters.lint.base import SEVERITIES, Finding, Linter, LintReport
from exporters.lint.trt.messages import merged
from exporters.lint.trt.parser import parse
from exporters.lint.trt.rules import RULES
from exporters.trt.graph import prepared

_BROKEN = "Export the model again; `-v` shows which part of it could not be read."


class TrtLinter(Linter):
    """The linter of what TensorRT rejects, misreads or runs slowly."""

    name = "trt"

    def lint(self, model: ir.Model, path: Path, *, time_limit: float) -> LintReport:
        """Apply every rule, have the parser read the file, and merge the two."""
        reason = why_not_survived(lambda: _read(model)) if _is_small(model) else None
        if reason is not None:
            raise CheckpointError(
                f"{path}: ONNX {reason} on this graph, in a process of its own", hint=_BROKEN
            )
        try:
            ready, own = _read(model)
        except CompressorError:
            raise
        except Exception as error:  # every rule has its own ways to fail in a graph that is none
            told = f"{type(error).__name__}: {error}"
            raise CheckpointError(
                f"{path}: its graph is none that can be read: {told}", hint=_BROKEN
            ) from error
        said = parse(path, list(model.graph), time_limit=time_limit)
        found = merged(own, said.findings)
        return LintReport(
            model=str(path),
            target=self.name,
            nodes=sum(1 for _ in ready.graph.all_nodes()),
            findings=tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))),
            parser=said.run,
        )


def _is_small(model: ir.Model) -> bool:
    return initializer_bytes(model) < LARGE


def _read(model: ir.Model) -> tuple[ir.Model, list[Finding]]:
    """The graph as TensorRT's kernels see it, and what the rules find in it."""
    ready = prepared(model)
    return ready, [finding for rule in RULES for finding in rule(ready)]


LINTER = TrtLinter()
