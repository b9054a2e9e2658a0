"""Which module of the source a node came from, as the exporters note it.

torch's exporter writes the modules around a node from outside to inside (`pkg.torch.onnx.
name_scopes`), the older one names nodes by them (`/layer1/layer1.0/conv1/Conv`). Where neither
does, a weight is called as its module (`layer1.0.conv1.weight`).
"""

import ast

import onnx_ir as ir

SCOPES = "pkg.torch.onnx.name_scopes"
VIEW = "source."
"""What a module is called within the view of it that is exported."""
_ROLES = ("weight", "bias")


def modules_of(model: ir.Model) -> dict[str, str]:
    """Node → module, of the nodes that it is known of."""
    found = ((node.name or "", module_of(node)) for node in model.graph)
    return {name: module for name, module in found if name and module}


def module_of(node: ir.Node) -> str | None:
    """The innermost module that a node was written for; None where nothing tells."""
    return _by_scopes(node) or _by_weight(node) or _by_name(node.name or "")


def _by_scopes(node: ir.Node) -> str | None:
    try:
        scopes = ast.literal_eval(node.metadata_props.get(SCOPES, ""))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(scopes, list) or len(scopes) < 2:
        return None
    innermost = str(scopes[-2])  # the last is the node itself
    return innermost.removeprefix(VIEW) if innermost not in ("", VIEW[:-1]) else None


def _by_weight(node: ir.Node) -> str | None:
    for value in node.inputs[1:]:
        module, _, role = (value.name or "" if value is not None else "").rpartition(".")
        if module and role in _ROLES and value is not None and value.is_initializer():
            return module.removeprefix(VIEW)
    return None


def _by_name(name: str) -> str | None:
    """`/source/layer1/layer1.0/conv1/Conv` → `layer1.0.conv1`: a part repeats what is before it."""
    if not name.startswith("/"):
        return None
    path = ""
    for part in name.split("/")[1:-1]:
        if part + "." == VIEW:
            continue
        repeats = path and (part == path or part.startswith(f"{path.rpartition('.')[2]}."))
        outer = path.rpartition(".")[0] if repeats else path
        path = f"{outer}.{part}" if outer else part
    return path or None
