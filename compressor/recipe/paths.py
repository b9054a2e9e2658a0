"""What a run reads from disk, as far as it is named: replacing it would destroy it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from compressor.recipe.recipe import Recipe
from compressor.system.home import expanded
from compressor.system.userfile import is_object_spec


def read_by(recipe: Recipe, *named: object) -> list[Path]:
    """Files and folders that are there.

    Args:
        recipe: Names data, statistics, and the user's own code.
        named: What else is named: paths, `file.py:object`, or objects, which lie nowhere.
    """
    data = recipe.data
    code = (recipe.model.factory, recipe.measure.metric, recipe.prune.loss)
    of_graphs = [graph.calib for graph in recipe.graphs.values()]
    features = _of_features(recipe.measure.features)
    asked = (data.calib, data.eval, data.stats, *of_graphs, *features, *code)
    # The cache is made where it is missing, and would be lost with the next run.
    cache = () if data.cache is None else (data.cache,)
    return [*(path for path in _paths((*named, *asked)) if path.exists()), *cache]


def with_factory(text: str) -> tuple[str, str | None]:
    """A checkpoint and its factory, which `net.pt@net.py:build` names both; None without one."""
    path, at, factory = text.partition("@")
    is_whole = Path(text).exists() or Path(text.rpartition(":")[0]).is_file()
    return (text, None) if is_whole or not at else (path, factory)


def _of_features(model: object) -> tuple[object, ...]:
    return with_factory(model) if isinstance(model, str) else (model,)


def _paths(named: Iterable[object]) -> Iterator[Path]:
    for name in named:
        if isinstance(name, str) and is_object_spec(name):
            place = name.rpartition(":")[0]
            yield Path(place if place.endswith(".py") else f"{place.replace('.', '/')}.py")
        elif isinstance(name, str | Path):
            yield expanded(name)
