"""The errors a user can meet, and the exit code each ends the command with.

CompressorError                1   a defect of ours, or an environment that broke under us
├── UsageError                 2   what was asked for cannot be done as asked
│   ├── CheckpointError        2   the model file: unreadable, unsafe, or not what it claims
│   ├── CaptureError           2   the module does not become an equivalent ONNX graph
│   ├── DataError              2   calibration or evaluation data
│   ├── RecipeError            2   recipe or plan file
│   └── OutputError            2   the output folder
├── GraphError                 1   a graph broke an invariant
├── PruningError               1   a pruned graph is not the original without what was dropped
├── BudgetError                3   the quality budget was not met; the best so far is written
├── GoalError                  3   less was pruned than asked for; the best is written
├── TargetError                4   the target is not available on this machine
└── LintError                  5   the linter found errors in a graph
"""

from typing import ClassVar


class CompressorError(Exception):
    """Base of every error that is shown to a user.

    Args:
        message: What was expected and what was found, naming the file, node or tensor.
        hint: What the user can do about it, as an imperative sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  → {self.hint}"


class CompressionWarning(UserWarning):
    """What a user should know of a run that goes on."""


class UsageError(CompressorError):
    """The request cannot be carried out as it stands."""

    exit_code = 2


class CheckpointError(UsageError):
    """The model file is unreadable, unsafe to load, or not what it claims to be."""


class CaptureError(UsageError):
    """The module could not be turned into an equivalent ONNX graph."""


class DataError(UsageError):
    """Calibration or evaluation data does not fit the model or is damaged."""


class RecipeError(UsageError):
    """A recipe or plan file is not valid, or belongs to another model."""


class OutputError(UsageError):
    """The output folder cannot be written or is not ours to replace."""


class GraphError(CompressorError):
    """A graph broke an invariant: the message names the node or value."""


class PruningError(CompressorError):
    """A graph cannot be cut as asked, or the cut graph does not compute the same."""


class BudgetError(CompressorError):
    """The quality budget was not met."""

    exit_code = 3


class GoalError(CompressorError):
    """The result is not as small or as fast as was asked for."""

    exit_code = 3


class TargetError(CompressorError):
    """The target runtime is not available on this machine."""

    exit_code = 4


class LintError(CompressorError):
    """The linter found errors in a graph; its report tells them."""

    exit_code = 5
