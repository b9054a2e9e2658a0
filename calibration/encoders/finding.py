"""What reads the user's texts, pictures and sound for a model, by the model's own folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibration.encoders.base import NONE, AudioEncoder, Encoders
from calibration.encoders.model_folder import TOKENIZER, TOKENIZER_CONFIG, ModelFolder, sides
from calibration.encoders.offline import offline
from calibration.encoders.sound import FeatureEncoder, WaveEncoder
from calibration.encoders.tokens import TokenEncoder, open_tokenizer
from compressor.errors import CompressorError, DataError

_RATE = 16_000
_INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's numbers, as `resample` has them."""


def encoders_of(folder: ModelFolder | None, tokenizer: Path | None = None) -> Encoders:
    """What a model's folder says of how its inputs are made.

    Args:
        folder: The folder; None where the model comes from none.
        tokenizer: The one that the user named, before the folder's.

    Raises:
        DataError: The tokenizer that the user named cannot be read.
        UsageError: The package `tokenizers` is missing, and the user named a tokenizer.
    """
    if folder is None:
        return NONE if tokenizer is None else Encoders(text=_named(tokenizer, None))
    text, why = _text(folder, tokenizer)
    try:
        pictures, sound = picture_fields(folder.preprocessor), _audio(folder)
        return Encoders(text, why, pictures, sound, folder.labels)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder.path}: its preprocessing says what cannot be read: {error}",
            hint="Copy or download preprocessor_config.json and config.json again.",
        ) from error


def picture_fields(pre: Mapping[str, Any]) -> dict[str, object] | None:
    """Fields of the preprocessing of pictures; None where a folder has nothing of the kind.

    Args:
        pre: `preprocessor_config.json`, or the `pretrained_cfg` of timm under that name.
    """
    if "pretrained_cfg" in pre:
        return _of_timm(pre["pretrained_cfg"])
    if not any(key in pre for key in ("image_mean", "do_rescale", "image_processor_type")):
        return None
    found: dict[str, object] = {"scale": 1.0}
    if pre.get("do_rescale", True):
        found["scale"] = float(pre.get("rescale_factor") or 1 / 255)
    if pre.get("do_normalize", True) and pre.get("image_mean") and pre.get("image_std"):
        found |= {"mean": _numbers(pre["image_mean"]), "std": _numbers(pre["image_std"])}
    crops = pre.get("do_center_crop", False) and pre.get("crop_size") is not None
    size = sides(pre.get("size")) if pre.get("do_resize", True) else None
    crop = sides(pre.get("crop_size")) if crops else None
    stretched = isinstance(pre.get("size"), dict) and "height" in pre["size"]
    if size is None and crop is None:
        return found
    kept = crop or size
    assert kept is not None, "one of the two is there"
    found |= {"size": kept, "fit": "stretch" if stretched and crop is None else "cover"}
    if crop is not None and size is not None and min(size) > min(crop):
        found["crop"] = min(crop) / min(size)
    number = pre.get("resample")
    if isinstance(number, int) and 0 <= number < len(_INTERPOLATIONS):
        found["interpolation"] = _INTERPOLATIONS[number]
    return found


def _of_timm(cfg: Mapping[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {"scale": 1 / 255}
    if cfg.get("mean") and cfg.get("std"):
        found |= {"mean": _numbers(cfg["mean"]), "std": _numbers(cfg["std"])}
    if isinstance(cfg.get("input_size"), list | tuple) and len(cfg["input_size"]) == 3:
        found["size"] = tuple(int(size) for size in cfg["input_size"][1:])
        found["crop"] = float(cfg.get("crop_pct") or 1.0)
    if cfg.get("crop_mode") == "squash":
        found["fit"] = "stretch"
    if cfg.get("interpolation") in _INTERPOLATIONS:
        found["interpolation"] = cfg["interpolation"]
    return found


def _numbers(values: Any) -> tuple[float, ...]:
    several = isinstance(values, list | tuple)
    return tuple(float(value) for value in (values if several else [values]))


def _text(folder: ModelFolder, tokenizer: Path | None) -> tuple[TokenEncoder | None, str | None]:
    if tokenizer is not None:
        return _named(tokenizer, folder), None
    if not folder.has_tokenizer:
        return None, f"{folder.path} has no tokenizer"
    try:
        with offline():
            return _token_encoder(folder.path, folder), None
    except CompressorError as error:  # only texts need it, and say why there is none
        return None, error.message


def _named(tokenizer: Path, folder: ModelFolder | None) -> TokenEncoder:
    if not tokenizer.exists():
        raise DataError(
            f"tokenizer {tokenizer}: there is no such file or folder",
            hint="It is the tokenizer.json that the package tokenizers writes.",
        )
    return _token_encoder(tokenizer, folder)


def _token_encoder(path: Path, folder: ModelFolder | None) -> TokenEncoder:
    """A tokenizer with what its model takes of it."""
    reader = open_tokenizer(path)
    file = path / TOKENIZER if path.is_dir() else path
    if folder is None:
        longest = _longest(file.with_name(TOKENIZER_CONFIG))
        return TokenEncoder(reader, file, longest, segments=True)
    told = folder.tokenizer_config.get("model_input_names")
    kinds = folder.config.get("type_vocab_size")
    segments = isinstance(kinds, int) and kinds > 1 and (told is None or "token_type_ids" in told)
    vocabulary = folder.config.get("vocab_size")
    return TokenEncoder(
        reader,
        file,
        folder.max_length,
        segments=segments,
        vocabulary=vocabulary if isinstance(vocabulary, int) else None,
    )


def _longest(file: Path) -> int | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) and 0 < found < 10**6 else None


def _audio(folder: ModelFolder) -> AudioEncoder | None:
    pre = folder.preprocessor
    kind = pre.get("feature_extractor_type")
    if kind is None:
        return None
    rate = int(pre.get("sampling_rate") or _RATE)
    if kind == "Wav2Vec2FeatureExtractor":
        return WaveEncoder(rate, bool(pre.get("do_normalize", True)))
    try:
        with offline():
            import transformers  # noqa: PLC0415 - an extra

            kinds: Any = transformers.AutoFeatureExtractor
            extractor = kinds.from_pretrained(folder.path, local_files_only=True)
    except Exception:  # whatever its readers raise; only sound needs it
        return None
    return FeatureEncoder(extractor, rate)
