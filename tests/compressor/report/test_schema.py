import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from compressor.results.measurements import Parity
from compressor.results.records import Record
from compressor.results.report import SCHEMA_VERSION, Comparison, Report

DOCUMENT = Path(__file__).parents[3] / "docs" / "report.md"


def records_of(model: type[Record]) -> dict[str, type[Record]]:
    """The model and every record that its fields can hold, by name."""
    found: dict[str, type[Record]] = {}

    def visit(kind: object) -> None:
        if isinstance(kind, type) and issubclass(kind, Record):
            if kind.__name__ in found:
                return
            found[kind.__name__] = kind
            for field in kind.model_fields.values():
                visit(field.annotation)
        for argument in getattr(kind, "__args__", ()):
            visit(argument)

    visit(model)
    return found


def test_every_field_is_documented_under_its_record() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S))
    records = records_of(Report) | records_of(Comparison)
    assert {"Report", "GraphReport", "LatencyResult", "Interval", "Decision"} <= records.keys()
    assert set(sections) == set(records)
    for name, record in records.items():
        cells = " ".join(re.findall(r"^\|([^|]*)\|", sections[name], re.M))
        assert set(re.findall(r"`(\w+)`", cells)) == set(record.model_fields), name


def test_report_survives_json(int8_report: Report, float_report: Report) -> None:
    for report in (int8_report, float_report):
        assert Report.model_validate_json(report.model_dump_json()) == report


def test_what_is_infinite_is_not_mistaken_for_not_measured() -> None:
    parity = Parity(
        batch=2, output="y", max_absolute=math.inf, max_relative=math.inf, tolerance=1e-4
    )
    text = parity.model_dump_json()
    assert '"Infinity"' in text
    assert Parity.model_validate_json(text) == parity


def test_another_version_is_refused(int8_report: Report) -> None:
    document = int8_report.model_dump(mode="json") | {"schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(ValidationError, match="schema_version"):
        Report.model_validate(document)
