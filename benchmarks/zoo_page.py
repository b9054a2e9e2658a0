"""docs/zoo.md, from what `zoo_measure` found of each network."""

import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from compressor.report.markdown import escaped
from compressor.system.hardware import has_int8_dot

Entry = dict[str, Any]

HEAD = """# The zoo

{count} small networks with random weights, each wired like the large one whose name it bears, go
through every stage. What the product makes of a family stands here, with what it refuses and why.
`make zoo` tests them and writes this page; nothing of it is written by hand.

- **Parity** is the largest difference of the folded graph from the PyTorch module, relative to the
  largest output, at batch sizes 1 and 3.
- **INT8** and **dynamic** are the share of the multiply-accumulates that run as integer, and the
  least cosine of an output of the artifact with the module's, at both batch sizes, on new samples.
  Sixteen samples of noise calibrated. What is not faster ships as well.
- **INT4** is the file's size against float's, and the same cosine.
- **Prunable** is the share of the parameters that lies in a row or column of some group. A random
  half of all groups was cut, and the oracle found the same outputs as with zeros in their place.
- **TensorRT** is what the linter finds in the graph made for it, and whether TensorRT's parser
  reads that.

Random weights have no answers to lose: a cosine tells what rounding does to such a wiring, not what
quality a trained network keeps. {machine}
"""

COLUMNS = ("network", "parameters", "parity", "INT8", "dynamic", "INT4", "prunable", "TensorRT")

LEAST = 0.01
"""Reasons that hold a smaller share of the parameters are told together."""


def page(entries: Sequence[Entry], parts: Sequence[str]) -> str:
    """The whole page.

    Args:
        entries: Of every network of the zoo; one that was not measured has no parts.
        parts: What is measured of each.
    """
    whole = [entry for entry in entries if _is_whole(entry, parts)]
    lines = [HEAD.format(count=len(entries), machine=_machine()), _counted(whole, entries, parts)]
    lines += ["", _row(COLUMNS), _row(["---", *["---:"] * (len(COLUMNS) - 1)])]
    lines += [_row(_cells(entry)) for entry in whole]
    lines += ["", "## What stays float, what stays whole, and why", ""]
    for entry in whole:
        lines += [f"### {entry['name']}", "", *(f"- {said}" for said in _told(entry)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _is_whole(entry: Entry, parts: Sequence[str]) -> bool:
    return _failure(entry.get("parity", {})) is not None or all(part in entry for part in parts)


def _machine() -> str:
    dot = "with" if has_int8_dot("host") else "without"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime"))
    return f"Figures are of {platform.machine()} {dot} an 8-bit dot product, {packages}."


def _counted(whole: Sequence[Entry], entries: Sequence[Entry], parts: Sequence[str]) -> str:
    """How many were measured, refused and broken; and by name those that are not measured yet."""
    kinds = Counter(
        key
        for entry in whole
        for part in parts
        for key in ("refused", "fault")
        if key in entry.get(part, {})
    )
    said = (
        f"**{len(whole)} of {len(entries)} networks measured; {kinds['refused']} parts refused, "
        f"{kinds['fault']} broken.**"
    )
    missing = [entry["name"] for entry in entries if entry not in whole]
    return said + (f" Not measured yet: {', '.join(missing)}." if missing else "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _failure(part: Entry) -> str | None:
    return next((f"{key}: {part[key]}" for key in ("refused", "fault") if key in part), None)


def _cells(entry: Entry) -> list[str]:
    name = f"[{entry['name']}](#{entry['name']})"
    if _failure(entry["parity"]) is not None:
        return [name, "", next(iter(entry["parity"])), *[""] * (len(COLUMNS) - 3)]
    prune, trt = entry["prune"], entry["trt"]
    return [
        name,
        _or_refused(prune, lambda: f"{prune['parameters']:,}"),
        f"{entry['parity']['folded']:.0e}",
        _rounded(entry["int8"], "integer"),
        _rounded(entry["dynamic"], "integer"),
        _rounded(entry["int4"], "bytes"),
        _or_refused(prune, lambda: _percent(prune["share"])),
        _or_refused(trt, lambda: _linted(trt)),
    ]


def _or_refused(part: Entry, told: Any) -> str:
    return next((key for key in ("refused", "fault") if key in part), None) or str(told())


def _rounded(part: Entry, figure: str) -> str:
    """A figure of what was quantized and the cosine, or that float ships, as the reasons tell."""
    if part.get("shipped") == "float":
        return "float ships"
    return _or_refused(part, lambda: f"{_percent(part[figure])}, {_cosine(part['cosine'])}")


def _cosine(cosine: float | None) -> str:
    return "other boxes" if cosine is None else f"{cosine:.4f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _linted(part: Entry) -> str:
    errors = len(part["errors"])
    read = {True: "parsed", False: "not parsed", None: "no parser"}[part["parser"]]
    return f"{read}, {errors} errors" if errors else read


def _told(entry: Entry) -> list[str]:
    """Everything with a reason, a sentence each."""
    failed = _failure(entry["parity"])
    if failed is not None:
        return [f"capture: {_flat(failed)}"]
    said = [f"capture: {entry['parity']['exporter']}"]
    for part, title in (("int8", "INT8"), ("dynamic", "dynamic"), ("int4", "INT4")):
        said += _precision(entry[part], title)
    prune = entry["prune"]
    said += [_flat(f"pruning: {_failure(prune)}")] if _failure(prune) else _held(prune)
    trt = entry["trt"]
    if _failure(trt):
        said.append(_flat(f"TensorRT: {_failure(trt)}"))
    else:
        rules = ", ".join(f"{rule} {count}" for rule, count in trt["rules"].items())
        said.append(f"TensorRT: {trt['counts']}{rules and f' ({rules})'}")
        said += [_flat(f"TensorRT: error at {error}") for error in trt["errors"]]
    return said


def _precision(part: Entry, title: str) -> list[str]:
    failed = _failure(part)
    if failed is not None:
        return [_flat(f"{title}: {failed}")]
    if part["shipped"] == "float":
        return [_flat(f"{title}: float ships: {part['reason']}")]
    return [
        f"{title}: {island['nodes']} node{'s' * (island['nodes'] > 1)} float, "
        f"{100 * island['work']:.1f} % of the work, first `{island['first']}`: "
        + _flat(island["reason"])
        for island in part.get("islands", ())
    ]


def _held(part: Entry) -> list[str]:
    said = [f"pruning: no rule for {operator}" for operator in part["unknown"]]
    small = []
    for held in part["held"]:
        if held["share"] < LEAST:
            small.append(f"{held['reason']} (`{held['first']}`)")
        else:
            share = _percent(held["share"])
            said.append(f"whole: {share}, first `{held['first']}`: {_flat(held['reason'])}")
    return said + ([f"whole: less than 1 % each: {'; '.join(small)}"] if small else [])


def _flat(text: str) -> str:
    """On one line, and nothing in it is markup."""
    return escaped(" ".join(text.split()))
