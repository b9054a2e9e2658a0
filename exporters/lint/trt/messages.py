"""The parser's messages as findings of the same rules that read the graph by themselves."""

import re
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from compressor.graph.names import label
from exporters.lint.base import Finding, Rule
from exporters.lint.trt.encoding import (
    INT32_BIAS,
    INTEGER_TYPE,
    SCALE,
    SCALE_SHAPE,
    UNSIGNED,
    ZERO_POINT,
)
from exporters.lint.trt.interface import NAMES
from exporters.lint.trt.operators import MISSING, UNSUPPORTED
from exporters.lint.trt.types import ELEMENT_TYPE, MIXED_TYPES, OPSET

PARSER = Rule("parser", "error", "Change or replace this node; the message is TensorRT's own.")
WARNED = Rule("parser-warning", "note", "See whether it matters; the message is TensorRT's own.")
CRASH = Rule(
    "parser-crash",
    "error",
    "Simplify or export the model again: what the parser does not survive cannot be built.",
)

ERRORS = (
    (r"[Nn]on-zero zero point", ZERO_POINT),
    (r"which is not an initializer", ZERO_POINT),
    (r"[Ss]cale coefficients must all be positive", SCALE),
    (r"scale and zero point must have the same volume", SCALE_SHAPE),
    (r"number of scales is not equal", SCALE_SHAPE),
    (r"Axis must be in the range|quantization axis must index", SCALE_SHAPE),
    (r"input has type Int32 but must have type FP8", INT32_BIAS),
    (r"unsupported input type of UINT8", UNSIGNED),
    (r"quantization type is UINT8", UNSIGNED),
    (r"quantization type is|output_dtype specifies an unsupported", INTEGER_TYPE),
    (r"must (all )?(be of|have) (the )?(same|identical) (input )?types?", MIXED_TYPES),
    (r"of same types but has|must all be of the same type", MIXED_TYPES),
    (r"Failed to convert ONNX date type|Unsupported data type for the Cast", ELEMENT_TYPE),
    (r"legalUINT8|input type of UINT8|type (is )?UInt8|type UINT8", ELEMENT_TYPE),
    (r"convertOnnxWeights", ELEMENT_TYPE),
    (r"[Oo]pset", OPSET),
    (r"[Pp]lugin", UNSUPPORTED),
)
"""What a message of an error contains → the rule it is about."""

WARNINGS = (
    (r"UINT8 zero_point", UNSIGNED),
    (r"zero_point with type int32", INT32_BIAS),
    (r"first input has type \w+ but second input has type", MIXED_TYPES),
    (r"A node named .* already exists", NAMES),
)

_NOISE = re.compile(r"catchCudaError|CUDA driver version is insufficient|--- (Begin|End) node ---")
_API_ERROR = re.compile(r"Error Code \d+: [\w ]+ \((?P<said>.*?)\.? In \w+ at \S+\)?$")
_PLACE = re.compile(r"^\w+\.[ch]pp:\d+: ")
_ASSERTION = re.compile(r"^Assertion failed: (?:.*?\): |.*? && )?")
_CONDITION = re.compile(r'^.*? && "(?P<said>.*)"$')


def finding_of_error(error: dict[str, Any], nodes: Sequence[ir.Node]) -> Finding:
    """One entry of `OnnxParser.get_error` as a finding at its node.

    Args:
        error: code, text, index, node and operator, as the parser gives them.
        nodes: The main graph's nodes, for errors at nodes without a name. The index is of another
            node where the file had them out of order, or the error is inside a function: then the
            finding names none.
    """
    text, operator = error["text"], error.get("operator") or None
    rule = _matched(ERRORS, text)
    if rule is None:
        rule = UNSUPPORTED if error["code"] == "UNSUPPORTED_NODE" and operator else PARSER
    name = error.get("node") or None
    if name is None and 0 <= error["index"] < len(nodes):
        node = nodes[error["index"]]
        name = label(node) if node.op_type == operator else None
    fix = MISSING.get(operator or "", rule.fix) if rule is UNSUPPORTED else rule.fix
    return Finding(
        rule=rule.name,
        severity=rule.severity,
        node=name,
        operator=operator,
        reason=f"the parser rejects it: {readable(text) or error['code']}",
        fix=fix,
        found_by=("parser",),
    )


def finding_of_warning(text: str) -> Finding:
    """A line that the parser logged as a warning, as a finding about the whole graph."""
    rule = _matched(WARNINGS, text) or WARNED
    reason = f"the parser warns: {readable(text)}"
    return rule.at(None, reason).model_copy(update={"found_by": ("parser",)})


def merged(own: list[Finding], said: tuple[Finding, ...]) -> list[Finding]:
    """Both lists as one: what rules and parser found at one node is one finding.

    What names no node adds nothing where the rule has found the nodes.
    """
    result = list(own)
    for finding in dict.fromkeys(said):
        same = [index for index, other in enumerate(own) if _same(finding, other)]
        for index in same:
            result[index] = own[index].model_copy(update={"found_by": ("rules", "parser")})
        if not same:
            result.append(finding)
    return result


def _same(said: Finding, own: Finding) -> bool:
    if said.rule != own.rule or said.node not in (None, own.node):
        return False
    return said.node is not None or said.operator in (None, own.operator)


def readable(text: str) -> str:
    """A message in one line, without the parts that tell of the parser and the missing GPU."""
    kept = [line.strip() for line in text.splitlines() if line.strip() and not _NOISE.search(line)]
    for line in kept:
        if (found := _API_ERROR.search(line)) is not None:
            return found["said"]
    joined = _ASSERTION.sub("", _PLACE.sub("", " ".join(kept)))
    if (found := _CONDITION.search(joined)) is not None:
        return found["said"]
    return "" if joined == "false" else joined


def _matched(table: tuple[tuple[str, Rule], ...], text: str) -> Rule | None:
    return next((rule for pattern, rule in table if re.search(pattern, text)), None)
