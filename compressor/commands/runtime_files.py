"""Files that only one runtime reads, where a model is expected: `compress compare a.onnx b.xml`.

Such a file is measured as it is. What the tool has to know of its graph it reads of the portable
ONNX file beside it, which `compress` writes there; without one, of the model that it is compared
with, whose inputs it has to have.
"""

from dataclasses import dataclass
from pathlib import Path

from compressor.errors import TargetError, UsageError
from exporters.base import Artifact, Target, target_of


@dataclass(frozen=True)
class RuntimeFile:
    """A file of a runtime's own.

    Attributes:
        path: The file.
        target: Whose it is.
        portable: The same graph as ONNX; None where it does not lie beside it.
    """

    path: Path
    target: Target
    portable: Path | None

    @property
    def artifact(self) -> Artifact:
        """As it is measured."""
        return Artifact(self.path, self.target.files_of(self.path))


def runtime_file(model: object) -> RuntimeFile | None:
    """The file, where the model is one; None for all else.

    Raises:
        TargetError: Its runtime is not usable here.
    """
    if not isinstance(model, str | Path) or not Path(model).is_file():
        return None
    path = Path(model)
    target = target_of(path)
    if target is None:
        return None
    reason = target.why_not_available()
    if reason is not None:
        raise TargetError(f"{path} is for {target.title}, which is not available here: {reason}")
    portable = path.with_suffix(".onnx")
    return RuntimeFile(path, target, portable if portable.is_file() else None)


def readable(
    models: tuple[object, object], files: tuple[RuntimeFile | None, RuntimeFile | None]
) -> tuple[object, object]:
    """What tells of the graph of each of two models: itself, its portable file, or the other's.

    Raises:
        UsageError: Neither is known.
    """
    known = [
        model if file is None else file.portable for model, file in zip(models, files, strict=True)
    ]
    if known == [None, None]:
        raise UsageError(
            f"neither {models[0]} nor {models[1]} has its graph beside it as ONNX, which tells of "
            "inputs and data",
            hint="Keep the .onnx of the same name beside one of them, as compress writes it, or "
            "compare with an ONNX file.",
        )
    return known[0] or known[1], known[1] or known[0]
