import json
import math
import re
from enum import Enum
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from compressor.results.records import Parity, Record
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


def sections() -> dict[str, str]:
    """Record → what the document says under its heading."""
    return dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S))


def fields_of(section: str) -> dict[str, str]:
    """Field → the row of the table that tells it."""
    rows = re.findall(r"^\|([^|]*)\|(.*)$", section, re.M)
    return {name: rest for cell, rest in rows for name in re.findall(r"`(\w+)`", cell)}


def values_of(kind: object) -> set[str]:
    """The words that a field of this type can hold, where the type lists them."""
    found = {value for value in get_args(kind) if isinstance(value, str)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        found |= {str(member.value) for member in kind}
    return found.union(*(values_of(argument) for argument in get_args(kind)))


def test_every_field_is_documented_under_its_record() -> None:
    documented = sections()
    records = records_of(Report) | records_of(Comparison)
    assert {"Report", "GraphReport", "LatencyResult", "Interval", "Decision"} <= records.keys()
    assert set(documented) == set(records)
    for name, record in records.items():
        assert set(fields_of(documented[name])) == set(record.model_fields), name


def test_every_value_is_documented_with_its_field() -> None:
    documented = sections()
    told = 0
    for name, record in (records_of(Report) | records_of(Comparison)).items():
        rows = fields_of(documented[name])
        for field, info in record.model_fields.items():
            values = values_of(info.annotation)
            quoted = set(re.findall(r'`"([^"`]+)"`', rows[field]))
            assert values <= quoted, f"{name}.{field} may be {values - quoted}"
            told += len(values)
    assert told > 40, "the types of the schema list their values"


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


def test_fields_of_this_version_are_never_taken_away() -> None:
    """A field that goes would refuse the reports that have it; new ones are added to the list."""
    told: dict[str, list[str]] = json.loads((Path(__file__).parent / "version_1.json").read_text())
    records = records_of(Report) | records_of(Comparison)
    assert SCHEMA_VERSION == 1, "a new version starts a new list"
    assert set(told) == set(records)
    for name, fields in told.items():
        assert set(fields) == set(records[name].model_fields), name
