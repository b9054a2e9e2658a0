"""What a module of `transformers` is fed, by its configuration: names, types, open sizes."""

import inspect
from typing import Any

import numpy as np

from calibration.encoders.model_folder import ModelFolder, sides
from compressor.graph.tensors import TensorSpec

_SIDE = 224


def inputs_of(module: Any, folder: ModelFolder) -> tuple[TensorSpec, ...]:
    """The inputs of a call, those first that the library calls main.

    Tokens come with their mask, and with the types of segments where the model tells any apart.
    """
    main = str(getattr(module, "main_input_name", "input_ids"))
    parameters = inspect.signature(module.forward).parameters
    if main == "input_ids":
        names = ["input_ids", *(["attention_mask"] if "attention_mask" in parameters else [])]
        names += ["token_type_ids"] if _has_segments(module, folder, parameters) else []
        int64 = np.dtype(np.int64)
        return tuple(TensorSpec(name, int64, ("batch", "sequence")) for name in names)
    if main == "pixel_values":
        height, width = picture_size(folder)
        channels = int(getattr(module.config, "num_channels", 3) or 3)
        return (_floats(main, channels, height, width),)
    if main == "input_features":
        return (_floats(main, int(getattr(module.config, "num_mel_bins", 80)), "frames"),)
    return (_floats(main, "samples"),) if main == "input_values" else ()


def picture_size(folder: ModelFolder) -> tuple[int, int]:
    """Height and width of pictures: of the preprocessor's crop or size, else of the model's."""
    pre = folder.preprocessor
    own = folder.config.get("image_size")
    cfg = pre.get("pretrained_cfg")
    if isinstance(cfg, dict) and isinstance(cfg.get("input_size"), list):
        return int(cfg["input_size"][1]), int(cfg["input_size"][2])
    crop = pre.get("crop_size") if pre.get("do_center_crop", True) else None
    for size in (crop, pre.get("size"), own):
        found = sides(size)
        if found is not None:
            return found
    return _SIDE, _SIDE


def _has_segments(module: Any, folder: ModelFolder, parameters: Any) -> bool:
    told = folder.tokenizer_config.get("model_input_names")
    named = told is None or "token_type_ids" in told
    kinds = int(getattr(module.config, "type_vocab_size", 0) or 0)
    return "token_type_ids" in parameters and kinds > 1 and named


def _floats(name: str, *sizes: int | str) -> TensorSpec:
    return TensorSpec(name, np.dtype(np.float32), ("batch", *sizes))
