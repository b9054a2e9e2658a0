"""Texts, pictures and sound as inputs of a finished artifact, by the files in its folder.

    model = compressor.load("reviews-ort")
    outputs = model("a lovely film", "a dull one")

Neither torch nor transformers is needed: `tokenizers` reads texts, Pillow pictures, SciPy sound.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.encoders.base import Encoders
from calibration.encoders.finding import encoders_of
from calibration.encoders.model_folder import model_folder
from calibration.encoders.pictures import PictureEncoder
from calibration.encoders.sound import read_sound
from compressor.errors import DataError, UsageError
from compressor.graph.tensors import Array

Fields = dict[str, Array]


def inputs_of(
    samples: Sequence[object], folder: Path, names: Collection[str], length: int | None = None
) -> Mapping[str, Array]:
    """One batch of raw samples.

    Args:
        samples: Texts, pairs of texts, pictures (files, images of Pillow, arrays of bytes), or
            sounds (files, or arrays of floats at the model's rate).
        folder: The artifact's, with the model's own files in it.
        names: Inputs of the graph; what it does not take is left out.
        length: Tokens of a text, where the graph takes no other number.

    Raises:
        UsageError: Nothing in the folder reads them.
        DataError: One cannot be read, or they are not of one kind.
    """
    described = model_folder(folder)
    if described is None:
        raise UsageError(
            f"{folder} does not say how raw samples become inputs: it has no config.json",
            hint=f"Give arrays by name: {', '.join(names)}.",
        )
    encoders = encoders_of(described)
    if length is not None and encoders.text is not None:
        encoders = replace(encoders, text=encoders.text.of_length(length))
    made = _encoded(samples, encoders, folder)
    if len(names) == 1 and made and len(made[0]) == 1:
        (name,) = names
        made = [dict(zip([name], fields.values(), strict=True)) for fields in made]
    return _batched([{n: a for n, a in fields.items() if n in names} for fields in made])


def _encoded(samples: Sequence[object], encoders: Encoders, folder: Path) -> list[Fields]:
    if encoders.text is not None:
        return encoders.text.encode(*_texts(samples), "the call")
    read: Callable[[object], Fields] | None = None
    if encoders.audio is not None:
        hears = encoders.audio

        def read(sample: object) -> Fields:
            if isinstance(sample, str | Path):
                return hears.encode(read_sound(Path(sample), hears.rate, "the call"))
            return hears.encode(np.asarray(sample))

    elif encoders.images is not None:
        read = PictureEncoder(encoders.images).encode
    if read is None:
        raise UsageError(
            f"nothing in {folder} says how raw samples become inputs",
            hint="Give arrays by the names of the inputs.",
        )
    return [read(sample) for sample in samples]


def _texts(samples: Sequence[object]) -> tuple[list[str], list[str] | None]:
    """Texts, and the second of each pair."""
    if all(isinstance(one, str) for one in samples):
        return [str(one) for one in samples], None
    pairs = [one for one in samples if isinstance(one, tuple | list) and len(one) == 2]
    if len(pairs) == len(samples):
        return [str(one) for one, _ in pairs], [str(other) for _, other in pairs]
    raise DataError(
        f"the call: expected texts, or pairs of texts, found {type(samples[0]).__name__}"
    )


def _batched(rows: Sequence[Fields]) -> Fields:
    """The rows as one batch, filled up with zeros where their lengths differ."""
    found: Fields = {}
    for name in rows[0]:
        arrays = [row[name] for row in rows]
        sizes = [max(sizes) for sizes in zip(*(a.shape[1:] for a in arrays), strict=True)]
        whole = np.zeros((len(arrays), *sizes), arrays[0].dtype)
        for row, array in enumerate(arrays):
            place: tuple[int | slice, ...] = (row, *map(slice, array.shape[1:]))
            whole[place] = array[0]
        found[name] = whole
    return found
