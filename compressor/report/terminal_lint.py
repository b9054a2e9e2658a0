"""A linter's report for the terminal: what is wrong, where, and what to do, by rule.

A graph quantized for another runtime breaks one rule at every node: each rule is told once, with
its first nodes. `--json` has them all.
"""

from collections.abc import Iterable
from itertools import groupby

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from compressor.report.spoken import Speak, Spoken, one_line
from compressor.results import format as fmt
from exporters.lint.base import Finding, LintReport, ParserRun, Severity

MOST_NODES = 3
"""Nodes that are listed of one rule."""

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}


def findings(report: LintReport) -> RenderableType:
    """The findings grouped by rule, the worst first; then who looked."""

    def build(speak: Speak) -> Iterable[RenderableType]:
        yield Text(speak(one_line(_headline(report))), style="bold", overflow="fold")
        # Sorted by severity already; one rule may give findings of two.
        order = list(dict.fromkeys(_group(finding) for finding in report.findings))
        arranged = sorted(report.findings, key=lambda finding: order.index(_group(finding)))
        for (severity, rule, fix), group in groupby(arranged, key=_group):
            yield from _rule(severity, rule, fix, list(group), speak)
        yield Text(speak(one_line(_parser(report.parser))), style="dim", overflow="fold")

    return Spoken(build)


def _group(finding: Finding) -> tuple[Severity, str, str]:
    return finding.severity, finding.rule, finding.fix


def _rule(
    severity: Severity, rule: str, fix: str, group: list[Finding], speak: Speak
) -> Iterable[RenderableType]:
    confirmed = any("parser" in finding.found_by for finding in group)
    count = f" · {len(group)} times" if len(group) > 1 else ""
    head = Text(speak(severity), style=_STYLES[severity])
    head.append(
        speak(f" {rule}{count}{' · the parser says so' if confirmed else ''}"), style="bold"
    )
    yield head
    for finding in group[:MOST_NODES]:
        yield _indented(speak(one_line(_sentence(finding))))
    if len(group) > MOST_NODES:
        yield _indented(speak(f"and {len(group) - MOST_NODES} more"), "dim")
    yield _indented(speak(f"→ {one_line(fix)}"), "cyan")


def _sentence(finding: Finding) -> str:
    if finding.node is None:
        return finding.reason
    return f"{finding.node} ({finding.operator}): {finding.reason}"


def _indented(text: str, style: str = "") -> Padding:
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, 2))


def _headline(report: LintReport) -> str:
    nodes = fmt.plural(report.nodes, "node")
    return f"{report.model} for {report.target}: {report.counts} in {nodes}"


def _parser(run: ParserRun) -> str:
    name = f"{run.package} {run.version or ''}".strip()
    if run.accepted is None:
        return f"Rules only: {run.reason}."
    verdict = "accepts" if run.accepted else "rejects"
    return f"The parser of {name} {verdict} the graph ({fmt.milliseconds(run.seconds * 1000)})."
