"""How a runtime is told to execute a graph, as a note in the graph: what no operator says.

Some runtimes choose at load time what float work is computed in, and whether products round their
activations. That is part of what is measured and judged, so that it travels with the graph, in its
`metadata_props`, from the search to the artifact.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Self

import onnx_ir as ir

from compressor.errors import CheckpointError

NOTE = "compressor.execution"


@dataclass(frozen=True)
class Execution:
    """What a graph's note says.

    Attributes:
        floats: What float work is computed in, as the target's `arithmetics` name it; None for the
            float32 of the graph.
        rounds: Whether products of stored weights may round what they read to 8 bits.
    """

    floats: str | None = None
    rounds: bool = False

    @classmethod
    def of(cls, model: ir.Model) -> Self:
        """What a graph's note says; the defaults where it has none."""
        text = model.metadata_props.get(NOTE)
        return cls() if text is None else cls.parsed(text)

    @classmethod
    def parsed(cls, text: str) -> Self:
        """From the text of a note.

        Raises:
            CheckpointError: Nothing here wrote it.
        """
        try:
            found = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise _damaged(text) from error
        if not isinstance(found.floats, str | None) or not isinstance(found.rounds, bool):
            raise _damaged(text)
        return found

    @property
    def text(self) -> str:
        """The note."""
        return json.dumps(asdict(self), sort_keys=True)


def executed(model: ir.Model, *, floats: str | None = None, rounds: bool | None = None) -> ir.Model:
    """The graph with a note; `model` stays as it is.

    Args:
        model: The graph.
        floats: What float work is computed in; as before without.
        rounds: Whether products round; likewise.
    """
    found = Execution.of(model)
    found = found if floats is None else replace(found, floats=floats)
    found = found if rounds is None else replace(found, rounds=rounds)
    made = model.clone()
    made.metadata_props[NOTE] = found.text
    return made


def _damaged(text: str) -> CheckpointError:
    return CheckpointError(
        f"the model's metadata {NOTE!r} says nothing that is known here: {text:.80}",
        hint="Compress the original again, or remove that entry.",
    )
