"""What a model's folder says beside its weights: task, labels, tokenizer, preprocessing.

    config.json                 architectures, id2label; of timm: architecture, pretrained_cfg
    tokenizer.json              and tokenizer_config.json, special_tokens_map.json, vocab.txt, ...
    preprocessor_config.json    of images or audio
    generation_config.json      how a decoder writes

Only JSON is read here: neither torch nor transformers.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from compressor.system.inside import stays_inside

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
PREPROCESSOR = ("preprocessor_config.json", "processor_config.json")
GENERATION = "generation_config.json"

_CARRIED = (
    CONFIG, GENERATION, *PREPROCESSOR, TOKENIZER, TOKENIZER_CONFIG, "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
    "sentencepiece.bpe.model", "tokenizer.model", "source.spm", "target.spm", "chat_template.jinja",
    "video_preprocessor_config.json", "modules.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "1_Pooling/config.json",
)  # fmt: skip
"""What is of use beside an artifact: read by transformers, Optimum and sentence-transformers."""

_UNBOUNDED = 10**6
"""A `model_max_length` from which it stands for none: transformers writes 1e30."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a `config.json` that describes a model.

    Attributes:
        path: The folder.
        config: `config.json`.
    """

    path: Path
    config: Mapping[str, Any]

    @property
    def architecture(self) -> str | None:
        """The class of the model, as the configuration names it."""
        names = self.config.get("architectures")
        if isinstance(names, list) and names and isinstance(names[0], str):
            return names[0]
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs; none where they have only numbers."""
        if isinstance(self.config.get("label_names"), list):  # of timm
            return tuple(map(str, self.config["label_names"]))
        found = self.config.get("id2label")
        if not isinstance(found, Mapping):
            return ()
        try:
            ordered = sorted((int(key), str(name)) for key, name in found.items())
        except (TypeError, ValueError):
            return ()
        if [key for key, _ in ordered] != list(range(len(ordered))):
            return ()
        names = tuple(name for _, name in ordered)
        plain = all(re.fullmatch(r"LABEL_\d+", name) for name in names)
        return () if plain else names

    @property
    def tokenizer(self) -> Path | None:
        """The file that the package tokenizers reads."""
        path = self.path / TOKENIZER
        return path if path.is_file() else None

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is one in any form."""
        names = (TOKENIZER, "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
        return any((self.path / name).is_file() for name in names)

    @cached_property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """`tokenizer_config.json`, empty where there is none."""
        return _read(self.path / TOKENIZER_CONFIG)

    @cached_property
    def preprocessor(self) -> Mapping[str, Any]:
        """How images or audio become inputs; empty where nothing says so."""
        for name in PREPROCESSOR:
            found = _read(self.path / name)
            if found:
                nested = found.get("image_processor") or found.get("feature_extractor")
                return nested if isinstance(nested, Mapping) else found
        cfg = self.config.get("pretrained_cfg")
        return {"pretrained_cfg": cfg} if isinstance(cfg, Mapping) else {}

    @cached_property
    def generation(self) -> Mapping[str, Any]:
        """`generation_config.json` over what the configuration says."""
        return {**self.config, **_read(self.path / GENERATION)}

    @property
    def max_length(self) -> int | None:
        """Tokens that the model takes at most; None where nothing limits them."""
        sentence = _read(self.path / "sentence_bert_config.json").get("max_seq_length")
        positions = self.config.get("max_position_embeddings") or self.config.get("n_positions")
        if isinstance(positions, int) and self.config.get("model_type") in _OFFSET:
            positions -= int(self.config.get("pad_token_id") or 0) + 1
        told = (sentence, self.tokenizer_config.get("model_max_length"), positions)
        known = [n for n in told if isinstance(n, int) and 0 < n < _UNBOUNDED]
        return min(known) if known else None

    @property
    def carried(self) -> tuple[Path, ...]:
        """Files that belong beside an artifact; none that is a link out of the folder."""
        found = (self.path / name for name in _CARRIED)
        return tuple(path for path in found if path.is_file() and stays_inside(self.path, path))


_OFFSET = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "ibert"})
"""Models whose positions count from behind the padding token."""


def model_folder(model: object) -> ModelFolder | None:
    """The folder of a model that a path means; None where nothing describes it.

    Args:
        model: A folder, a file in one (weights, their index, an ONNX file), or anything else.
    """
    if not isinstance(model, str | Path):
        return None
    path = Path(model)
    places = [snapshot_of(path)] if path.is_dir() else []
    places += [path.parent, path.parent.parent] if path.is_file() else []
    for place in places:
        config = _read(place / CONFIG)
        if any(key in config for key in ("architectures", "model_type", "architecture")):
            return ModelFolder(place, config)
        if path.parent.name != "onnx":
            break
    return None


def task_by_name(folder: ModelFolder) -> str | None:
    """The task that the name of a class tells, without the library that has it."""
    name = folder.architecture or ("timm" if "architecture" in folder.config else "")
    hears = "feature_extractor_type" in folder.preprocessor
    for ending, task in _TASKS.items():
        if name.endswith(ending):
            if task == "text-classification" and hears:
                return "audio-classification"
            return "automatic-speech-recognition" if hears and task.startswith("text2") else task
    return None


_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
    "ForMaskedLM": "fill-mask",
    "ForCTC": "automatic-speech-recognition",
    "ForImageClassification": "image-classification",
    "ForImageClassificationWithTeacher": "image-classification",
    "timm": "image-classification",
    "ForObjectDetection": "object-detection",
    "ForSemanticSegmentation": "image-segmentation",
    "ForDepthEstimation": "depth-estimation",
    "ForAudioFrameClassification": "audio-frame-classification",
    "ForConditionalGeneration": "text2text-generation",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "Model": "feature-extraction",
}
"""End of a class's name → task, by the custom of the library."""


def snapshot_of(folder: Path) -> Path:
    """What `main` means of a model's folder in the hub's cache, `models--ORG--NAME`.

    Any other folder is itself.
    """
    main = folder / "refs" / "main"
    if main.is_file() and (folder / "snapshots").is_dir():
        snapshot = folder / "snapshots" / main.read_text(encoding="utf-8").strip()
        return snapshot if snapshot.is_dir() else folder
    return folder


def sides(size: object) -> tuple[int, int] | None:
    """Height and width of `{"height": 224, "width": 224}`, of 224, or of [224, 192]."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    if isinstance(size, dict):
        if "height" in size and "width" in size:
            return int(size["height"]), int(size["width"])
        if "shortest_edge" in size:
            return int(size["shortest_edge"]), int(size["shortest_edge"])
    return None


def _read(path: Path) -> Mapping[str, Any]:
    """A JSON object; empty where there is none. What is damaged is told by who needs it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
