"""Trainings that an earlier run ended: the longest thing that a run does."""

from collections.abc import Callable

from compressor.results.training import TrainingResult
from compressor.search.keys import cache_of_session, data_key, graph_key, recipe_key
from compressor.search.session import Session
from compressor.system.cache import Entry
from compressor.system.versions import machine_key
from compressor.training.task import Task, Training

WHAT = "training"


def trained_once(session: Session, task: Task, train: Callable[[], Training]) -> Training:
    """A training to its end, kept or new.

    Args:
        session: What is asked for; a loss of the user's is never kept.
        task: What is trained, and from what.
        train: Does it.
    """
    cache = cache_of_session(session)
    if not cache.keeps or recipe_key(session.recipe) is None:
        return train()
    key = {
        "student": graph_key(task.student),
        "teacher": "none" if task.teacher is None else graph_key(task.teacher),
        "samples": f"{data_key(task.data)} {data_key(task.held_out)}",
        "options": task.options.model_dump_json(exclude={"data"}),
        "length": repr(task.length),
        "how": repr([task.seed, task.memory, task.classes, sorted(task.only or ()), task.stops]),
        **machine_key(),
    }
    known = cache.take(WHAT, key, _read)
    if known is not None:
        return known
    found = train()
    if not found.result.interrupted:
        cache.put(WHAT, key, Entry(found.result.model_dump(mode="json"), found.weights))
    return found


def _read(entry: Entry) -> Training:
    return Training(dict(entry.arrays), TrainingResult.model_validate(entry.document))
