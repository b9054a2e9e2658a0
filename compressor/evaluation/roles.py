"""What the outputs of a graph are for: answers, states that go back into it, class scores.

A decoder returns its cache beside its logits, a streaming model its state. Such outputs mostly pass
on what came in: judged together with the answer they bury it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

_MOVING = frozenset(
    {"Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice"}
    | {"Expand", "Dropout", "Gather", "ScatterND", "ScatterElements"}
)
"""Operators whose first input comes out, moved or partly replaced; Concat has many such."""
_KEEPING = frozenset({"Identity", "Cast", "Transpose", "Reshape", "Clip", "Squeeze", "Unsqueeze"})
_INITIAL_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
_POOLING = frozenset(
    {"LpNormalization", "ReduceMean", "ReduceMax", "GlobalAveragePool", "GlobalMaxPool"}
)
_SUMS = frozenset({"ReduceL2", "ReduceSum", "ReduceSumSquare"})
_ON_ELEMENTS = _KEEPING | {"Max", "Add", "Sqrt", "Pow", "Expand", "Reciprocal", "Div"}
_STEPS = 8
"""Operators on single elements between a sum and what divides by it, at most."""
_SCORING = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}

_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_DIRECTIONS = frozenset(
    {
        "past",
        "present",
        "prev",
        "previous",
        "old",
        "new",
        "next",
        "in",
        "out",
        "input",
        "output",
        "init",
        "initial",
        "final",
        "updated",
        "cur",
        "current",
        "n",
        "values",
    }
)
_STATES = frozenset(
    {
        "past",
        "present",
        "cache",
        "state",
        "hidden",
        "memory",
        "mem",
        "mems",
        "kv",
        "carry",
        "buffer",
        "context",
        "key",
        "keys",
        "value",
        "h",
        "c",
    }
)
_ALIKE = {"states": "state", "hn": "h", "hx": "h", "ho": "h", "cn": "c", "cx": "c", "co": "c"}
_CLASS_WORDS = frozenset(
    {
        "logit",
        "logits",
        "score",
        "scores",
        "prob",
        "probs",
        "probability",
        "probabilities",
        "class",
        "classes",
        "cls",
        "softmax",
    }
)


@dataclass(frozen=True)
class Roles:
    """Roles of outputs, from the graph and from names.

    Attributes:
        states: Output → the input that it carries on.
        ends: Output → "softmax" or "sigmoid", where the graph ends in one.
        added: Output → the input that the graph ends in adding to.
        embeddings: Outputs that the graph ends in pooling or in scaling to a length: vectors that
            are compared with each other.
    """

    states: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    embeddings: frozenset[str] = frozenset()


def roles_of(model: ir.Model) -> Roles:
    """Read the roles of a graph's outputs, which is left as it is.

    An output is a state where it is made of an input by moving it and adding to it (Concat), where
    a recurrent operator begins with that input, or where its name and an input's are those of a
    state before and after (`past_key`, `present_key`) and the shapes allow it. Where that would
    leave no answer, none is.
    """
    graph = model.graph
    outputs = [value for value in graph.outputs if value.name]
    states = {}
    for value in outputs:
        source = _carried_on(value) or _named_alike(value, list(graph.inputs))
        if source is not None:
            states[value.name or ""] = source
    if len(states) == len(outputs):
        states = {}
    ends = {value.name or "": end for value in outputs if (end := _end(value)) is not None}
    added = {value.name or "": source for value in outputs if (source := _added_to(value))}
    embeddings = frozenset(value.name or "" for value in outputs if _is_embedding(value))
    return Roles(states, ends, added, embeddings)


def words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case: `StatefulPartitionedCall:1`, `pred_boxes`, `stateN`."""
    found = (token.lower() for token in _TOKEN.findall(name))
    return tuple(_ALIKE.get(token, token) for token in found)


def names_classes(name: str) -> bool:
    """Whether an output's name says that it holds scores of classes."""
    return not _CLASS_WORDS.isdisjoint(words(name))


def _carried_on(output: ir.Value) -> str | None:
    """The floating graph input that comes out again."""
    seen: set[int] = set()
    waiting = [output]
    while waiting:
        value = waiting.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if value.is_graph_input():
            if value.dtype is None or value.dtype.is_floating_point():
                return value.name
            continue
        waiting += [one for one in _moved(value) if one is not None]
    return None


def _moved(value: ir.Value) -> Iterator[ir.Value | None]:
    """What comes out of the node that makes a value as it went in."""
    node = value.producer()
    if node is None:
        return
    if node.op_type == "Concat":
        yield from node.inputs
    elif node.op_type in _MOVING:
        yield node.inputs[0]
    elif node.op_type in _INITIAL_STATES and value.index():
        yield from (node.inputs[i] for i in _INITIAL_STATES[node.op_type] if i < len(node.inputs))


def _named_alike(output: ir.Value, inputs: list[ir.Value]) -> str | None:
    """The input that an output is the next state of, by their names and shapes."""
    for value in inputs:
        before, after = words(value.name or ""), words(output.name or "")
        if "encoder" in before or value.name == output.name:
            continue
        cores = set(before) - _DIRECTIONS, set(after) - _DIRECTIONS
        worded = not _STATES.isdisjoint(before) and (cores[1] <= cores[0] or cores[0] <= cores[1])
        worded = worded and not _STATES.isdisjoint({*after, *(cores[1] & cores[0])})
        if worded and _is_like(value, output):
            return value.name
    return None


def _is_like(one: ir.Value, other: ir.Value) -> bool:
    """Whether types and fixed sizes allow both to be the same state."""
    if one.dtype is not None and other.dtype is not None and one.dtype != other.dtype:
        return False
    if one.shape is None or other.shape is None:
        return True
    pairs = list(zip(one.shape, other.shape, strict=False))
    fixed = all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
    return fixed and len(one.shape) == len(other.shape)


def _added_to(output: ir.Value) -> str | None:
    """The graph input that the last operator adds to, behind what moves or clips its values."""
    node = _behind(output).producer()
    if node is None or node.op_type not in ("Add", "Sub"):
        return None
    sources = [_behind(value) for value in node.inputs if value is not None]
    return next((value.name for value in sources if value.is_graph_input()), None)


def _is_embedding(output: ir.Value) -> bool:
    """Whether the last operator pools, or divides by what a sum over the same values comes to."""
    node = _behind(output).producer()
    if node is None:
        return False
    if node.op_type in _POOLING:
        return True
    if node.op_type not in ("Div", "Mul") or len(node.inputs) != 2:
        return False
    whole, part = node.inputs
    maker = None if whole is None else whole.producer()
    if maker is not None and maker.op_type == "Exp":
        return False  # a softmax, written out
    sides = (part,) if node.op_type == "Div" else (whole, part)
    return any(value is not None and _is_length(value) for value in sides)


def _is_length(value: ir.Value) -> bool:
    """Whether a divisor, or its reciprocal, is made of a sum, by operators on single elements."""
    for _ in range(_STEPS):
        node = value.producer()
        if node is None:
            return False
        if node.op_type in _SUMS:
            return True
        if node.op_type not in _ON_ELEMENTS:
            return False
        made = [one for one in node.inputs if one is not None and _is_computed(one)]
        if not made:
            return False
        value = made[0]
    return False


def _is_computed(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type != "Constant"


def _behind(value: ir.Value) -> ir.Value:
    """Where what is only moved as a whole, or clipped, comes from."""
    while (node := value.producer()) is not None and node.op_type in _KEEPING:
        if node.inputs[0] is None:
            break
        value = node.inputs[0]
    return value


def _end(output: ir.Value) -> str | None:
    """The operator that scores, behind what only moves its values."""
    value: ir.Value | None = output
    while value is not None:
        node = value.producer()
        if node is None:
            return None
        if node.op_type in _SCORING:
            return _SCORING[node.op_type]
        if node.op_type not in _MOVING or node.op_type.startswith(("Scatter", "Gather", "Slice")):
            return None
        value = node.inputs[0]
    return None
