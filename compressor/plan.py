"""What was decided, serializable: the same inputs with the same plan give the same bytes.

Search proposes plans, `realize` carries them out, and nothing else changes a model.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, ValidationError

from compressor.errors import RecipeError
from compressor.records import Record


class GraphPlan(Record):
    """The decisions for one graph.

    Attributes:
        graph: Fingerprint of the captured graph that the names below belong to.
        baseline: Which float graph everything is built on and compared with: the faster one.
        ship: What goes into the artifact.
        cpu: Deployment CPU that the quantization policy was asked for.
        weight_bits: Bits of integer weights; written down because "host" differs by machine.
        activation: Stored type of activations; None is what the target prefers, as below.
        symmetric: Whether real zero is in the middle of the integers of activations.
        granularity: Whether each output channel of a weight has its own scale.
        integer: Names of the nodes that run as integer.
        ranges: Quantized value → real range [low, high].
        bias: Integer node → what is added to the bias of each output channel, as little-endian
            float32; in JSON as base64.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    graph: str
    baseline: Literal["captured", "folded"]
    ship: Literal["int8", "float"]
    cpu: str = "host"
    weight_bits: int = 8
    activation: Literal["uint8", "int8"] | None = None
    symmetric: bool | None = None
    granularity: Literal["channel", "tensor"] | None = None
    integer: tuple[str, ...] = ()
    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    bias: dict[str, bytes] = Field(default_factory=dict)


class Plan(Record):
    """Every decision of one run. `calibration` is the fingerprint of the data behind the ranges."""

    format: Literal[1] = 1
    target: str
    seed: int
    calibration: str | None = None
    graphs: dict[str, GraphPlan]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RecipeError: The file is missing or is not a plan.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(f"plan {path} cannot be read: {error.strerror}") from error
        except (ValidationError, UnicodeDecodeError) as error:
            raise RecipeError(
                f"{path} is not a plan of this version: {first_problem(error)}",
                hint="Pass the plan.json that an earlier run wrote into its output folder.",
            ) from error


def first_problem(error: ValidationError | UnicodeDecodeError) -> str:
    """The first complaint of a validation, with the place it is about."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
