"""Folders of sound files: `class/name.wav` with labels, or files side by side without."""

from itertools import zip_longest
from pathlib import Path

import numpy as np

from calibration.encoders.base import Encoders
from calibration.encoders.sound import read_sound
from calibration.sources.base import Fields, SampleSource
from calibration.sources.folder import natural_order
from calibration.sources.records import RecordSource, listener
from compressor.errors import DataError

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})


def has_sound(folder: Path) -> bool:
    """Whether there is a sound file in the folder or one folder below."""
    levels = (folder.iterdir(), folder.glob("*/*"))
    return any(path.suffix.lower() in SUFFIXES for level in levels for path in level)


def audio_source(folder: Path, encoders: Encoders, where: str) -> SampleSource:
    """The sounds of a folder, the classes in turn.

    Classes are numbered by the model's names where it has those of all folders, else in plain
    sorted order.

    Raises:
        DataError: Sounds lie both in folders of classes and beside them, or one cannot be read.
    """
    encoder = listener(encoders, where)
    paths, labels = _found(folder, encoders.labels, where)

    def read(row: int) -> Fields:
        return encoder.encode(read_sound(paths[row], encoder.rate, where))

    return RecordSource(
        read,
        len(paths),
        labels=None if labels is None else np.array(labels, np.int64),
        texts=[str(path.relative_to(folder)) for path in paths],
        where=where,
        description=str(folder),
        made_by=encoder.words,
    )


def class_numbers(folders: list[str], names: tuple[str, ...]) -> dict[str, int]:
    """Folder → number of its class: by the model's names where all are among them, else sorted."""
    known = {name.casefold(): place for place, name in enumerate(names)}
    if folders and all(folder.casefold() in known for folder in folders):
        return {folder: known[folder.casefold()] for folder in folders}
    return {folder: place for place, folder in enumerate(sorted(folders))}


def _found(folder: Path, names: tuple[str, ...], where: str) -> tuple[list[Path], list[int] | None]:
    loose = _sounds(folder)
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] not in "._")
    numbers = class_numbers(classes, names)
    by_class = [[(path, numbers[name]) for path in _sounds(folder / name)] for name in classes]
    if loose and any(by_class):
        raise DataError(
            f"{where}: sounds lie both in class folders and beside them ({loose[0].name})",
            hint="Move them into the folder of their class, or out of the way.",
        )
    if loose:
        return loose, None
    pairs = [pair for group in zip_longest(*by_class) for pair in group if pair is not None]
    return [path for path, _ in pairs], [number for _, number in pairs]


def _sounds(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda path: natural_order(path.name))
