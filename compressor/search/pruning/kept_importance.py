"""Scores of units that an earlier run, or another process, has found."""

from collections.abc import Callable

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.pruning import Grouping
from compressor.pruning.selection.importance import Scores
from compressor.search.keys import cache_of_session, data_key, graph_key, recipe_key
from compressor.search.session import Session
from compressor.system.cache import Entry
from compressor.system.versions import made_by

WHAT = "importance"


def scored_units(
    session: Session,
    model: ir.Model,
    grouping: Grouping,
    data: CalibrationSet,
    score: Callable[[], Scores],
) -> Scores:
    """What each unit of a float graph is worth, kept or new.

    How many processors there were is no part of the key: a worker, which has fewer, goes by what
    the process that started it has found.

    Args:
        session: What is asked for.
        model: The float graph.
        grouping: Its groups.
        data: The samples that score.
        score: Does it.
    """
    cache, asked = cache_of_session(session), recipe_key(session.recipe)
    if not cache.keeps or asked is None:
        return score()
    units = {group.name: group.units for group in grouping.groups}
    key = {
        "graph": graph_key(model),
        "groups": repr(sorted(units.items())),
        "samples": data_key(data),
        "recipe": asked,
        **{f"made by {name}": text for name, text in made_by("torch").items()},
    }

    def read(entry: Entry) -> Scores | None:
        found = {name: entry.arrays[name] for name in entry.document}
        return found if all(len(found[name]) == units[name] for name in found) else None

    found = cache.take(WHAT, key, read)
    if found is None:
        found = score()
        cache.put(WHAT, key, Entry(list(found), dict(found)))
    return found
