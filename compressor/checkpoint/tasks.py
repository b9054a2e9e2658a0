"""What a class of `transformers` is for: its task, by the library's own tables.

The tables map a model's type to the class of a task:
`MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES` holds `bert → BertForSequenceClassification`. Read
backwards they tell the task of a class.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

from compressor.errors import UsageError


@dataclass(frozen=True)
class Task:
    """A task of the hub.

    Attributes:
        name: As the hub and Optimum name it.
        tables: The library's tables of its classes, without `MODEL_` and `_MAPPING_NAMES`.
        writes: Whether it generates text, so that a decoder keeps a cache.
        classes: Whether its outputs score classes.
    """

    name: str
    tables: tuple[str, ...]
    writes: bool = False
    classes: bool = False


TASKS = (
    Task("text-classification", ("FOR_SEQUENCE_CLASSIFICATION",), classes=True),
    Task("token-classification", ("FOR_TOKEN_CLASSIFICATION",), classes=True),
    Task("question-answering", ("FOR_QUESTION_ANSWERING",)),
    Task("multiple-choice", ("FOR_MULTIPLE_CHOICE",)),
    Task("next-sentence-prediction", ("FOR_NEXT_SENTENCE_PREDICTION",), classes=True),
    Task("fill-mask", ("FOR_MASKED_LM",)),
    Task("automatic-speech-recognition", ("FOR_CTC",)),
    Task("speech-to-text", ("FOR_SPEECH_SEQ_2_SEQ",), writes=True),
    Task("text2text-generation", ("FOR_SEQ_TO_SEQ_CAUSAL_LM",), writes=True),
    Task("text-generation", ("FOR_CAUSAL_LM",), writes=True),
    Task("image-classification", ("FOR_IMAGE_CLASSIFICATION",), classes=True),
    Task("audio-classification", ("FOR_AUDIO_CLASSIFICATION",), classes=True),
    Task("audio-frame-classification", ("FOR_AUDIO_FRAME_CLASSIFICATION",)),
    Task("audio-xvector", ("FOR_AUDIO_XVECTOR",)),
    Task("object-detection", ("FOR_OBJECT_DETECTION",)),
    Task("image-segmentation", ("FOR_SEMANTIC_SEGMENTATION", "FOR_IMAGE_SEGMENTATION")),
    Task("depth-estimation", ("FOR_DEPTH_ESTIMATION",)),
    Task("image-to-image", ("FOR_IMAGE_TO_IMAGE",)),
    Task("masked-im", ("FOR_MASKED_IMAGE_MODELING",)),
    Task("feature-extraction", ("", "FOR_TEXT_ENCODING", "FOR_BACKBONE")),
)
"""In the order of looking a class up: some are in the tables of several tasks."""

_OTHER_NAMES = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "sentence-similarity": "feature-extraction",
    "image-feature-extraction": "feature-extraction",
    "semantic-segmentation": "image-segmentation",
    "translation": "text2text-generation",
    "summarization": "text2text-generation",
    "masked-lm": "fill-mask",
    "causal-lm": "text-generation",
}


def find_task(name: str) -> Task:
    """A task by its name on the hub.

    Raises:
        UsageError: There is none of that name.
    """
    plain = _OTHER_NAMES.get(name, name).removesuffix("-with-past")
    for task in TASKS:
        if task.name == plain:
            return task
    names = [task.name for task in TASKS]
    close = difflib.get_close_matches(name, names, n=1)
    raise UsageError(
        f"--task {name}: there is no such task",
        hint=f"Did you mean {close[0]}?" if close else f"There is {', '.join(names)}.",
    )


def task_of(auto: ModuleType, architecture: str) -> Task | None:
    """The task of a class; None where the library has it in no table of those above.

    Args:
        auto: `transformers.models.auto.modeling_auto`.
        architecture: Name of the class.
    """
    for task in TASKS:
        if any(architecture in _classes(names) for names in _tables(auto, task)):
            return task
    return None


def class_for(auto: ModuleType, task: Task, model_type: str) -> str | None:
    """Name of the class that does a task with a type of models; None where there is none."""
    for names in _tables(auto, task):
        found = names.get(model_type)
        if found is not None:
            return found if isinstance(found, str) else found[0]
    return None


def _tables(auto: ModuleType, task: Task) -> Iterator[Mapping[str, str | tuple[str, ...]]]:
    for table in task.tables:
        name = "_".join(part for part in ("MODEL", table, "MAPPING_NAMES") if part)
        yield getattr(auto, name, {})


def _classes(names: Mapping[str, str | tuple[str, ...]]) -> Iterator[str]:
    for found in names.values():
        yield from (found,) if isinstance(found, str) else found
