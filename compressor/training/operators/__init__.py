"""Operators of ONNX in torch: one function each, found by its name.

A function is called as its operator, underscores apart: `layer_normalization`, `and_`. It takes the
node's `Attributes`, those of control flow their bodies, then the inputs; left-out ones are None. It
returns a tensor, or a tuple where the operator has several outputs. One that cannot compute what a
node asks for raises NotImplementedError. A new operator is a function in the file of its family.
"""

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import FunctionType, ModuleType
from typing import Any

import onnx_ir as ir

Operator = Callable[..., Any]
CONTRIBUTED = "contributed"
STANDARD_DOMAINS = ("", "ai.onnx")
RUNTIME_DOMAIN = "com.microsoft"


def find_operator(domain: str, name: str) -> Operator | None:
    """The function of an operator; None where there is none."""
    key = name.lower()
    if domain in STANDARD_DOMAINS:
        return _standard().get(key)
    return _contributed().get(key) if domain == RUNTIME_DOMAIN else None


def unknown_operators(model: ir.Model) -> tuple[str, ...]:
    """What a graph has and torch is not taught, sorted."""
    found = {
        f"{node.domain}.{node.op_type}" if node.domain not in STANDARD_DOMAINS else node.op_type
        for node in model.graph.all_nodes()
        if find_operator(node.domain, node.op_type) is None
    }
    return tuple(sorted(found))


@cache
def _standard() -> dict[str, Operator]:
    found: dict[str, Operator] = {}
    for entry in iter_modules(__path__):
        if entry.name != CONTRIBUTED:
            found.update(_functions(import_module(f"{__name__}.{entry.name}")))
    return found


@cache
def _contributed() -> dict[str, Operator]:
    return dict(_functions(import_module(f"{__name__}.{CONTRIBUTED}")))


def _functions(module: ModuleType) -> Iterator[tuple[str, Operator]]:
    """Those that take a node, which helpers that others use may too, under names of no operator."""
    for name, value in vars(module).items():
        own = isinstance(value, FunctionType) and value.__module__ == module.__name__
        if own and not name.startswith("_"):
            code = value.__code__
            if code.co_varnames[:1] == ("node",):
                yield name.replace("_", ""), value
