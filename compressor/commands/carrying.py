"""What lies beside an artifact: the model's own configuration, tokenizer and preprocessing.

With them a folder is one that Optimum's `ORTModelFor….from_pretrained` and the pipelines of
transformers load. Weights, and what describes them alone, stay behind.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from calibration.encoders.model_folder import ModelFolder
from exporters.base import Artifact

GRAPH = "model"


def carry(folder: ModelFolder | None, into: Path) -> tuple[str, ...]:
    """Copy what belongs beside an artifact; the names of the files, from the folder on."""
    if folder is None:
        return ()
    names = []
    for path in folder.carried:
        name = path.relative_to(folder.path)
        if (into / name).exists():
            continue
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into / name)  # a link of the hub's cache becomes a file
        names.append(name.as_posix())
    return tuple(names)


def at_top(name: str, artifact: Artifact, folder: Path) -> Artifact:
    """The artifact of a graph where Optimum looks for it: `decoder_model.onnx`, not in a folder.

    One whose weights lie beside it stays, as its file names theirs.
    """
    if artifact.engine is not None or len(artifact.files) != 1:
        return artifact
    own = artifact.model.parent
    place = folder / ("model.onnx" if name == GRAPH else f"{name}.onnx")
    if own == folder or place.exists() or len(list(own.iterdir())) != 1:
        return artifact
    artifact.model.rename(place)
    own.rmdir()
    return replace(artifact, model=place, files=(place,))
