"""What became of a compiled engine: records that the report shows."""

from typing import Literal

from pydantic import Field

from compressor.results.records import Record


class Agreement(Record):
    """An output of an engine, held against the reference executor on the same graph.

    Attributes:
        output: Its name.
        shapes: Input → shape.
        cosine: Cosine of the angle between both.
        max_abs: The greatest difference.
        top1: Share of rows whose greatest element is the same; None for outputs that are no rows.
    """

    output: str
    shapes: dict[str, tuple[int, ...]]
    cosine: float
    max_abs: float
    top1: float | None = None


class EngineBuild(Record):
    """A compiled engine beside the model, or why there is none.

    Attributes:
        status: "built" and run here; "built, not run"; or "script only", where none was built.
        backend: The package that built it; None where none was there.
        version: Version of that package.
        precision: What was asked for.
        file: The engine's file name in the output folder.
        file_bytes: Its size.
        seconds: What the build took.
        reason: Why it was not run, or not built.
        failed: Whether a build was tried and failed.
        required: Whether the run is to fail without one.
        profiles: Optimization profiles, input → its least, most likely and greatest shape.
        integer: Operator → layers of the parsed network that read integers.
        floating: Operator → such layers that read floats.
        warnings: What the linter and the parser warn of.
        inputs: Names, types and shapes.
        outputs: Names, types and shapes.
        tolerance: Cosine that outputs should have with those of ONNX Runtime on the same graph.
        agreement: What they have where the engine was run: each output, at the least, the most
            likely and the greatest shapes.
        sparse: Layers with 2:4 sparse weights, for which sparse kernels were allowed.
        not_integer: Nodes that read integers in the graph and floats in the engine that was run.
        kernels: Type → layers of the engine that was run whose kernels read it, each counted for
            the fewest bits that it reads; empty where the inspector tells no types.
        sparse_kernels: Such layers whose kernels skip the zeros of 2:4 sparse weights.
    """

    status: Literal["built", "built, not run", "script only"]
    backend: str | None = None
    version: str | None = None
    precision: str
    file: str | None = None
    file_bytes: int | None = None
    seconds: float | None = None
    reason: str | None = None
    failed: bool = False
    required: bool = False
    profiles: tuple[dict[str, tuple[tuple[int, ...], ...]], ...] = ()
    integer: dict[str, int] = Field(default_factory=dict)
    floating: dict[str, int] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    tolerance: float | None = None
    agreement: tuple[Agreement, ...] = ()
    sparse: int = 0
    not_integer: tuple[str, ...] = ()
    kernels: dict[str, int] = Field(default_factory=dict)
    sparse_kernels: int = 0
