"""Calls of local functions written out."""

from collections.abc import Container
from functools import partial

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass


def inline(model: ir.Model) -> None:
    """Write the body of each function in the place of its calls, in place; none is left.

    From the innermost calls outwards. The pass finds a free name for what a body brings by counting
    up: written out from the outside, thousands of copies of one node are counted up to anew for
    each (a minute for twelve functions that call the next one twice), while a body that has been
    written into another brings names that differ.

    Args:
        model: Its functions do not call each other in a circle.

    Raises:
        ValueError: A call does not fit its function.
    """
    while any(_calls(model, function) for function in model.functions.values()):
        innermost = {key for key, one in model.functions.items() if not _calls(model, one)}
        InlinePass(criteria=partial(_is_among, innermost))(model)
        for key in innermost & model.functions.keys():  # which nothing calls
            del model.functions[key]
    InlinePass()(model)
    model.functions.clear()


def _is_among(keys: Container[ir.OperatorIdentifier], function: ir.Function) -> bool:
    return function.identifier() in keys


def _calls(model: ir.Model, function: ir.Function) -> bool:
    """Whether a function calls others."""
    return any(node.op_identifier() in model.functions for node in function.all_nodes())
