"""What every linter offers: findings with node, reason and fix, and what its parser said.

A linter is one module or package `exporters/lint/NAME` that offers `LINTER = ...`; it is found by
its name. There can be one for a runtime that nothing here builds for yet.
"""

import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Literal, cast

import onnx_ir as ir

from compressor.errors import UsageError
from compressor.graph.names import label
from compressor.results.records import Record

SCHEMA_VERSION: Final = 1

Severity = Literal["error", "warning", "note"]
"""error: the runtime rejects the graph or computes other numbers, or the graph is not valid ONNX.
warning: it runs, slower or less exactly than it could. note: what one should know."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""

FoundBy = Literal["rules", "parser"]


class Finding(Record):
    """A finding about a graph.

    Attributes:
        rule: The rule's name, as `docs/lint.md` lists it.
        severity: How bad it is.
        node: The node's name as it stands in the file; None for the graph as a whole.
        operator: What the node does.
        reason: What was found and what the runtime makes of it, as one sentence.
        fix: What to do, as an imperative sentence.
        found_by: The rules, the runtime's own parser, or both.
    """

    rule: str
    severity: Severity
    node: str | None = None
    operator: str | None = None
    reason: str
    fix: str
    found_by: tuple[FoundBy, ...] = ("rules",)


class ParserRun(Record):
    """Whether the runtime's own parser read the graph.

    Attributes:
        package: The Python package it came from.
        version: Its version; None where it is not installed.
        accepted: Its verdict; None where it gave none, for `reason`.
        reason: Why there is no verdict.
        seconds: Wall time of the process it ran in.
    """

    package: str
    version: str | None = None
    accepted: bool | None = None
    reason: str | None = None
    seconds: float = 0.0


class LintReport(Record):
    """Everything a linter found, the worst first."""

    schema_version: Literal[1] = SCHEMA_VERSION
    model: str
    target: str
    nodes: int
    findings: tuple[Finding, ...] = ()
    parser: ParserRun

    def count(self, severity: Severity) -> int:
        """How many findings are of this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def counts(self) -> str:
        """How many findings of each severity, in words."""
        numbers = [(self.count(severity), severity) for severity in SEVERITIES]
        told = [f"{n:,} {severity}{'' if n == 1 else 's'}" for n, severity in numbers if n]
        return ", ".join(told) or "nothing to tell"


@dataclass(frozen=True)
class Rule:
    """Name, severity and advice of a rule; `at` makes its findings.

    Attributes:
        name: Lower case with hyphens.
        severity: Severity of its findings.
        fix: What to do, where a finding has nothing more exact to say.
    """

    name: str
    severity: Severity
    fix: str

    def at(
        self,
        node: ir.Node | None,
        reason: str,
        *,
        fix: str | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        """A finding at a node, or about the whole graph."""
        return Finding(
            rule=self.name,
            severity=severity or self.severity,
            node=None if node is None else label(node),
            operator=None if node is None else node.op_type,
            reason=reason,
            fix=fix or self.fix,
        )


class Linter(ABC):
    """The linter of one runtime."""

    name: str

    @abstractmethod
    def lint(self, model: ir.Model, path: Path, *, time_limit: float) -> LintReport:
        """Judge a model.

        Args:
            model: The graph; stays as it is.
            path: The file it came from, for the runtime's parser and the report.
            time_limit: Seconds that the parser may take.
        """


def linter_names() -> list[str]:
    """The linters that exist in this installation."""
    package = import_module("exporters.lint")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base")


def find_linter(name: str) -> Linter:
    """The linter for the target of that name.

    Raises:
        UsageError: There is none; the message lists those that exist.
    """
    known = linter_names()
    if name not in known:
        raise UsageError(
            f"there is no linter for the target {name!r}",
            hint=f"Choose one of: {', '.join(known)}.",
        )
    return cast(Linter, import_module(f"exporters.lint.{name}").LINTER)
