"""Rules first, then the real parser; what both find is told once."""

from pathlib import Path

import onnx_ir as ir

from exporters.lint.base import SEVERITIES, Linter, LintReport
from exporters.lint.trt.messages import merged
from exporters.lint.trt.parser import parse
from exporters.lint.trt.rules import RULES
from exporters.trt.graph import prepared


class TrtLinter(Linter):
    """The linter of what TensorRT rejects, misreads or runs slowly."""

    name = "trt"

    def lint(self, model: ir.Model, path: Path, *, time_limit: float) -> LintReport:
        """Apply every rule, have the parser read the file, and merge the two."""
        ready = prepared(model)
        own = [finding for rule in RULES for finding in rule(ready)]
        said = parse(path, list(model.graph), time_limit=time_limit)
        found = merged(own, said.findings)
        return LintReport(
            model=str(path),
            target=self.name,
            nodes=sum(1 for _ in ready.graph.all_nodes()),
            findings=tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))),
            parser=said.run,
        )


LINTER = TrtLinter()
