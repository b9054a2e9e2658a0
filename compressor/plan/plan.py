"""What was decided, serializable: the same inputs with the same plan give the same bytes.

Search proposes plans, `realize` carries them out, and nothing else changes a model.
"""

from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import safetensors.numpy
from pydantic import ConfigDict, Field, ValidationError

from compressor.errors import RecipeError
from compressor.graph.tensors import Array
from compressor.plan.decisions import (
    EXIT,
    SPARSE,
    TRAINED,
    AttentionPlan,
    CacheTensor,
    ExitsPlan,
    PrunePlan,
    RealRange,
    SharedCacheTensor,
    SparsePlan,
    TrainedPlan,
)
from compressor.plan.storage import ROLES, StoragePlan
from compressor.results.precision import Precision
from compressor.results.records import Record
from compressor.system.nearby import did_you_mean

ROUNDED = "rounded"

ROUNDED_OF = {"graph", "baseline", "prune", "sparse", "attention", "trained", "forms", "smooth"} | {
    "weight_bits",
    "pairs",
    "granularity",
}
"""Decisions that make the weights whose integers are stored, and their scales."""


class GraphPlan(Record):
    """The decisions for one graph.

    Attributes:
        graph: Fingerprint of the captured graph that the names below belong to.
        baseline: Which float graph everything is built on and compared with: the faster one.
        ship: What goes into the artifact.
        cpu: Deployment CPU that the quantization policy was asked for.
        weight_bits: Bits of integer weights; written down because "host" differs by machine.
        pairs: Whether two neighbouring weights fit into sums of 16 bits; written down likewise.
        activation: Stored type of activations; None is what the target prefers, as below.
        symmetric: Whether real zero is in the middle of the integers of activations.
        granularity: Whether each output channel of a weight has its own scale.
        prune: What is removed before anything else; None where nothing is.
        sparse: Which weights then get a pattern of zeros; None where none do.
        attention: Which layers of attention take another form then; None where none do.
        trained: What training made of the weights then; None where nothing was trained.
        forms: Node → the form of the target that it is rewritten in before it is quantized.
        integer: Names of the nodes that run as integer, with ranges known beforehand.
        dynamic: Names of the MatMul, Gemm and LSTM nodes that run as integer with the range of
            each input, found while the model runs; none of them is in `integer`.
        rows: Those of `dynamic` whose input has a scale for each row, and not one for all.
        tied: Look-up → the one of `dynamic` whose integers are its table.
        cache: Input → the integers that it is, of a decoder's cache.
        shared: Input → the buffer that it is, of a decoder's cache; `cache` is empty then.
        tokens: What a decoder was decided for, PROMPT:NEW; None where that decides nothing.
        ranges: Quantized value → real range [low, high].
        bias: Integer node → what is added to the bias of each output channel, as little-endian
            float32; in JSON as base64.
        rounded: Integer node → the integers of its weight as the node stores it, where they are not
            the nearest. They are stored beside the plan's JSON, as `NODE/rounded`.
        rounded_for: SHA-256 of the decisions that those integers were made for: their scales are
            computed anew, and must be the same. None without any, and until the plan is saved.
        half: Names of the nodes that stay float32 where all else that is not integer is float16;
            None where all of that is float32.
        smooth: Value → divisor of each of its channels, which the weights that read it make up for,
            stored as `bias` is.
        plain_norms: Whether additions in front of LayerNormalization are kept from being fused
            with it.
        stored: Which weights are stored in fewer bits; None where none are.
        integers_trained: How integers of few bits were trained; they are `rounded`, or of `stored`.
            None where they were not.
        tables: Beside INT8, which embeddings are stored in blocks of 8 bits; None where none are.
        exits: Where samples leave that it is sure of early, of all that is above; None where all
            go to the end.
        floats: What float work is computed in, of the target's `arithmetics`; None for float32.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    graph: str
    baseline: Literal["captured", "folded"]
    ship: Precision
    cpu: str = "host"
    weight_bits: Literal[2, 3, 4, 5, 6, 7, 8] = 8
    pairs: bool = False
    activation: Literal["uint8", "int8"] | None = None
    symmetric: bool | None = None
    granularity: Literal["channel", "tensor"] | None = None
    prune: PrunePlan | None = None
    sparse: SparsePlan | None = None
    attention: AttentionPlan | None = None
    trained: TrainedPlan | None = None
    forms: dict[str, str] = Field(default_factory=dict)
    integer: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    tied: dict[str, str] = Field(default_factory=dict)
    cache: dict[str, CacheTensor] = Field(default_factory=dict)
    shared: dict[str, SharedCacheTensor] = Field(default_factory=dict)
    tokens: str | None = None
    ranges: dict[str, RealRange] = Field(default_factory=dict)
    bias: dict[str, bytes] = Field(default_factory=dict)
    rounded: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    rounded_for: str | None = None
    half: tuple[str, ...] | None = None
    smooth: dict[str, bytes] = Field(default_factory=dict)
    plain_norms: bool = False
    stored: StoragePlan | None = None
    integers_trained: TrainedPlan | None = None
    tables: StoragePlan | None = None
    exits: ExitsPlan | None = None
    floats: str | None = None

    @property
    def in_blocks(self) -> StoragePlan | None:
        """Whatever is stored in blocks; a plan has one or the other."""
        return self.tables if self.stored is None else self.stored

    @property
    def rounded_digest(self) -> str | None:
        """SHA-256 of what the rounded integers are made for; None without any."""
        if not self.rounded:
            return None
        # Without defaults, so that a field that later versions add does not count.
        told = self.model_dump_json(include=ROUNDED_OF, exclude_defaults=True)
        return sha256(told.encode()).hexdigest()

    @property
    def extent(self) -> int:
        """How much is quantized: integer nodes, or bits that stored matrices save a number."""
        if self.stored is None:
            return len(self.quantized)
        return sum(32 - matrix.bits for matrix in self.stored.matrices.values())

    @property
    def quantized(self) -> tuple[str, ...]:
        """Names of the nodes that run as integer in one way or the other."""
        return (*self.integer, *self.dynamic)


class Plan(Record):
    """Every decision of one run.

    Attributes:
        calibration: Fingerprint of the data behind the ranges, whatever later runs measure on.
        graphs: Keyed by graph; a single model is "model".
        digest: SHA-256 of the weights that lie beside the JSON; None without any.
        metadata: Graph → what its artifact says of itself (`metadata_props`).
    """

    format: Literal[1] = 1
    target: str
    seed: int
    calibration: str | None = None
    graphs: dict[str, GraphPlan]
    digest: str | None = None
    metadata: dict[str, dict[str, str]] = Field(default_factory=dict)

    def save(self, path: Path) -> tuple[Path, ...]:
        """Write as JSON, and new weights, if there are any, beside it; the files written."""
        weights = self.weights
        if not weights:
            path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
            return (path,)
        beside = path.with_suffix(".safetensors")
        safetensors.numpy.save_file(weights, beside)
        graphs = {
            name: plan.model_copy(update={"rounded_for": plan.rounded_digest})
            for name, plan in self.graphs.items()
        }
        with beside.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        sealed = self.model_copy(update={"graphs": graphs, "digest": digest})
        path.write_text(sealed.model_dump_json(indent=1) + "\n", encoding="utf-8")
        beside.chmod(path.stat().st_mode)  # safetensors lets nobody else read it
        return path, beside

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RecipeError: The file is missing or is not a plan, or the weights beside it are not
                those that it was saved with.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))._with_weights(path)
        except OSError as error:
            raise RecipeError(
                f"plan {path} cannot be read: {error.strerror}",
                hint=did_you_mean(path)
                or "Pass the plan.json that an earlier run wrote into its output folder.",
            ) from error
        except (ValidationError, UnicodeDecodeError) as error:
            raise RecipeError(
                f"{path} is not a plan of this version: {first_problem(error)}",
                hint="Pass the plan.json that an earlier run wrote into its output folder.",
            ) from error

    @property
    def weights(self) -> dict[str, Array]:
        """Repaired and stored weights: graph, owner and role → values; beside the JSON."""
        found: dict[str, Array] = {}
        for graph, plan in self.graphs.items():
            arrays = {} if plan.prune is None else dict(plan.prune.weights)
            arrays |= {} if plan.sparse is None else plan.sparse.stored
            arrays |= {} if plan.trained is None else plan.trained.stored
            arrays |= {} if plan.exits is None else plan.exits.weights
            arrays |= {} if plan.in_blocks is None else plan.in_blocks.arrays
            arrays |= {f"{node}/{ROUNDED}": integers for node, integers in plan.rounded.items()}
            found |= {f"{graph}/{n}": np.ascontiguousarray(array) for n, array in arrays.items()}
        return found

    def _with_weights(self, path: Path) -> Self:
        """What `save` wrote beside the JSON.

        Raises:
            RecipeError: It is missing or not what the plan was saved with.
        """
        beside = path.with_suffix(".safetensors")
        if self.digest is None:
            if beside.exists():
                raise RecipeError(
                    f"{path.name} tells of no weights beside it, and {beside} is there",
                    hint="Copy both from the same output folder, or move that file away.",
                )
            return self
        try:
            content = beside.read_bytes()
        except OSError as error:
            raise RecipeError(
                f"{path} has weights in {beside.name}, which cannot be read: {error.strerror}",
                hint=f"Keep {beside.name} beside {path.name}.",
            ) from error
        if sha256(content).hexdigest() != self.digest:
            raise RecipeError(
                f"{beside} is not the file that {path.name} was saved with",
                hint="Copy both from the same output folder.",
            )
        lost = self.take(safetensors.numpy.load(content))
        if lost is not None:
            raise RecipeError(
                f"{beside} has weights of the graph {lost!r}, of which {path.name} is not",
                hint="Copy both from the same output folder.",
            )
        for plan in self.graphs.values():
            if plan.rounded_for is not None and plan.rounded_for != plan.rounded_digest:
                raise RecipeError(
                    f"{path} was changed in what its rounded weights are made for: one of "
                    + ", ".join(sorted(ROUNDED_OF)),
                    hint="Change that back, or run without --plan to make a new one.",
                )
        return self

    def take(self, weights: Mapping[str, Array]) -> str | None:
        """Give arrays to the decisions that they belong to, by the names that `weights` has.

        Returns:
            A graph that there are weights of and no decisions; None where there is none.
        """
        for key, array in weights.items():
            graph, _, name = key.partition("/")
            plan = self.graphs.get(graph)
            if plan is None:
                return graph
            _put(plan, name, array)
        return None


def _put(plan: GraphPlan, name: str, array: Array) -> None:
    """Give an array that lay beside the JSON to the decision that it belongs to."""
    owner, _, role = name.rpartition("/")
    if role == ROUNDED:
        plan.rounded[owner] = array
    elif role == TRAINED and plan.trained is not None:
        plan.trained.weights[owner] = array
    elif role.startswith(EXIT) and plan.exits is not None:
        plan.exits.weights[name] = array
    elif role.startswith(SPARSE) and plan.sparse is not None:
        plan.sparse.weights[f"{owner}/{role.removeprefix(SPARSE)}"] = array
    elif role in ROLES and plan.in_blocks is not None:
        plan.in_blocks.arrays[name] = array
    elif plan.prune is not None:
        plan.prune.weights[name] = array


def first_problem(error: ValidationError | UnicodeDecodeError) -> str:
    """The first complaint of a validation, with the place it is about."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
