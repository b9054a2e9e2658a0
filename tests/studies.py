"""Studies of a small problem, whose trials cost nothing."""

from pathlib import Path

from compressor.results.front import Found
from compressor.search.recipes.study import Asked, Study, open_study
from compressor.search.recipes.variables import Choice, Number, Space

SPACE = Space({"a": Choice("a", ("x", "y", "z")), "b": Number("b", 0.0, 1.0, 0.05)})
IDENTITY = {"model": "abc", "target": "ort"}


def opened(folder: Path, sampler: str = "tpe", **more: object) -> Study:
    folder.mkdir(exist_ok=True)
    how = {"objectives": 2, "storage": None, "name": "compress", "seed": 5} | more
    return open_study(folder, SPACE, IDENTITY, sampler=sampler, **how)  # type: ignore[arg-type]


def evaluate(study: Study, asked: Asked) -> None:
    cost = float(asked.point["b"]) + "xyz".index(str(asked.point["a"])) / 4
    violated = {"max-drop": 1.0 if asked.point["a"] == "z" else -1.0}
    study.tell(asked, Found(loss=cost), (cost, (1 - float(asked.point["b"])) ** 2), violated)
