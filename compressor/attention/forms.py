"""What a layer of attention can become, as recipes and plans write it, and where it fits."""

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.graph.cores import Core, cores
from compressor.graph.matching import producer, sizes
from compressor.recipe.attention import LINEAR, WINDOW, parse_attention

CAUSAL = "causal-"
LEAST_OPSET = 13
"""From which Softmax means one axis, and Pad and ReduceSum take what they need as inputs."""
LEAST_BLOCK = 32
"""Tokens of a block: with fewer, products of matrices are too small for their kernels."""
_WALKED = ("Reshape", "Transpose", "Squeeze", "Slice", "Gather", "Split", "Identity", "Cast")
_WITH_WEIGHTS = ("MatMul", "Gemm", "Add", "Mul", "Div")


@dataclass(frozen=True)
class Form:
    """A form of a layer.

    Attributes:
        kind: "window" or "linear".
        tokens: N of a window; 0 of linear attention.
        causal: Whether a window lies before its token alone.
    """

    kind: str
    tokens: int = 0
    causal: bool = False

    @property
    def name(self) -> str:
        """As plans write it: "window:128", "causal-window:128" or "linear"."""
        if self.kind == LINEAR:
            return LINEAR
        return f"{CAUSAL if self.causal else ''}{WINDOW}:{self.tokens}"

    @property
    def words(self) -> str:
        """What it is, for people."""
        if self.kind == LINEAR:
            return "linear attention"
        return f"{'causal ' if self.causal else ''}attention in a window of {self.tokens}"

    @property
    def before(self) -> int:
        """Tokens before its own that one sees."""
        return self.tokens if self.causal else self.tokens // 2

    @property
    def after(self) -> int:
        """Tokens behind its own that one sees."""
        return 0 if self.causal else self.tokens // 2

    @property
    def block(self) -> int:
        """Queries that share their keys: three blocks of them, one of which is their own."""
        return max(LEAST_BLOCK, -(-self.tokens // 2))

    @property
    def ahead(self) -> int:
        """Blocks of keys before the queries' own."""
        return 2 if self.causal else 1

    @property
    def behind(self) -> int:
        """Blocks of keys behind it."""
        return 0 if self.causal else 1


def form_named(name: str) -> Form:
    """The form that a plan names.

    Raises:
        RecipeError: There is no such form.
    """
    asked = parse_attention(name.removeprefix(CAUSAL))
    causal = name.startswith(CAUSAL)
    if causal and asked.window is None:
        raise RecipeError(f"the plan has {name!r}, and linear attention is not built causal")
    if asked.window is None:
        return Form(LINEAR)
    return Form(WINDOW, asked.window, causal)


def self_attentions(model: ir.Model) -> dict[str, Core]:
    """Layers of softmax attention by the name of their softmax, in graph order."""
    return {core.name: core for core in cores(model)}


def why_not_formed(model: ir.Model, core: Core) -> str | None:
    """Why a layer keeps its attention whatever that would gain; None where it need not."""
    opset = model.opset_imports.get("", 0)
    if opset < LEAST_OPSET:
        return f"the graph is of opset {opset}, and the forms need {LEAST_OPSET}"
    if core.scale <= 0:
        return f"its scores are multiplied by {core.scale:g}, and a number above 0 was expected"
    if not _is_of_itself(core):
        return "it is not known to have as many queries as keys"
    mask = None if core.mask is None else sizes(core.mask.value)
    if mask is not None and mask[-1] == 1:
        return "its mask is the same for all keys"
    return None


def _is_of_itself(core: Core) -> bool:
    """Whether queries and keys are of the same tokens, so that a place among them means the same.

    Their sizes say so, or they are projections of one value. A cache of keys is none of both.
    """
    axes = ((core.q, 2), (core.k, 2 if core.k_apart else 1))
    q, k = (None if one.shape is None else one.shape[axis] for one, axis in axes)
    if isinstance(q, int) and isinstance(k, int):
        return q == k
    names = [one.value for one in (q, k) if isinstance(one, ir.SymbolicDim)]
    if len(names) == 2 and names[0] is not None and names[0] == names[1]:
        return True
    reached = _behind(core.q)
    return any(value in reached for value in _behind(core.k))


def _behind(value: ir.Value) -> Collection[ir.Value]:
    """The values of tokens that a projection is made of, row by row."""
    found: dict[ir.Value, None] = {}
    one: ir.Value | None = value
    while one is not None and one not in found:
        found[one] = None
        node = one.producer()
        if node is None or node.domain != "":
            break
        one = _single(node)
    return [one for one in found if sizes(one) is not None and len(sizes(one) or ()) == 3]


def _single(node: ir.Node) -> ir.Value | None:
    """The one value that a node that mixes no tokens computes from, beside what is stored."""
    if node.op_type in _WALKED:
        return node.inputs[0]
    if node.op_type not in _WITH_WEIGHTS:
        return None
    computed = [
        one
        for one in node.inputs
        if one is not None and not one.is_initializer() and producer(one, "Constant") is None
    ]
    return computed[0] if len(computed) == 1 else None
