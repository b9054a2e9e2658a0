"""What ONNX says of an operator."""

import onnx
import onnx_ir as ir


def schema_of(node: ir.Node, version: int) -> onnx.defs.OpSchema | None:
    """The schema of a node's operator at a version of its domain; None where ONNX has none."""
    if version < 1 or not onnx.defs.has(node.op_type, version, node.domain):
        return None
    return onnx.defs.get_schema(node.op_type, version, node.domain)
