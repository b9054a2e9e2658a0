"""The recipe that flags make. A flag that is not given leaves the recipe's value alone."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.cli.targets import of_targets, target_places
from exporters import DEFAULT_TARGET

PLACES = {
    "target": ("target",),
    "graphs": ("graphs",),
    "pipeline": ("pipeline", "loop"),
    "pipeline_options": ("pipeline", "options"),
    "units": ("pipeline", "units"),
    "seed": ("seed",),
    "output": ("output",),
    "package": ("package",),
    "model_factory": ("model", "factory"),
    "model_args": ("model", "args"),
    "state_key": ("model", "state_key"),
    "task": ("model", "task"),
    "noise": ("model", "noise"),
    "trust_pickle": ("model", "trust_pickle"),
    "inputs": ("model", "inputs"),
    "calib": ("data", "calib"),
    "eval": ("data", "eval"),
    "samples": ("data", "samples"),
    "tokenizer": ("data", "tokenizer"),
    "layout": ("data", "preprocess", "layout"),
    "scale": ("data", "preprocess", "scale"),
    "mean": ("data", "preprocess", "mean"),
    "std": ("data", "preprocess", "std"),
    "image_size": ("data", "preprocess", "size"),
    "crop": ("data", "preprocess", "crop"),
    "fit": ("data", "preprocess", "fit"),
    "interpolation": ("data", "preprocess", "interpolation"),
    "prune": ("prune", "macs"),
    "params": ("prune", "params"),
    "speedup": ("prune", "speedup"),
    "latency": ("prune", "latency"),
    "size": ("prune", "size"),
    "prune_threshold": ("prune", "threshold"),
    "prune_method": ("prune", "method"),
    "prune_loss": ("prune", "loss"),
    "prune_round": ("prune", "round"),
    "prune_least": ("prune", "least"),
    "prune_leave": ("prune", "leave"),
    "prune_blocks": ("prune", "blocks"),
    "sparsity": ("prune", "sparsity"),
    "quantize": ("quantize", "mode"),
    "ranges": ("quantize", "ranges"),
    "cpu": ("quantize", "cpu"),
    "stats": ("data", "stats"),
    "cache": ("data", "cache"),
    "reuse": ("data", "reuse"),
    "activation": ("quantize", "activation"),
    "symmetric": ("quantize", "symmetric"),
    "weight_bits": ("quantize", "weight_bits"),
    "granularity": ("quantize", "granularity"),
    "kv_cache": ("quantize", "kv_cache"),
    "contrib": ("quantize", "contrib"),
    "memory": ("quantize", "memory"),
    "keep_slower": ("quantize", "keep_slower"),
    "keep_ruined": ("quantize", "keep_ruined"),
    "calib_batch": ("quantize", "batch"),
    "batch": ("measure", "batch"),
    "threads": ("measure", "threads"),
    "phase": ("measure", "phase"),
    "context": ("measure", "context"),
    "tokens": ("measure", "tokens"),
    "metric": ("measure", "metric"),
    "radius": ("measure", "radius"),
    "features": ("measure", "features"),
    "output_metric": ("measure", "output"),
    "measure_seconds": ("measure", "seconds"),
    "measure_memory": ("measure", "memory"),
    "train": ("train", "length"),
    "train_data": ("train", "data"),
    "attention": ("train", "attention"),
    "exits": ("train", "exits"),
    "device": ("train", "device"),
    "max_drop": ("budget", "max_drop"),
    "accept": ("budget", "accept"),
    "time_budget": ("budget", "time"),
    "objectives": ("search", "objectives"),
    "sampler": ("search", "sampler"),
    "trials": ("search", "trials"),
    "limits": ("search", "limits"),
    "validation": ("search", "validation"),
    "warm_start": ("search", "warm_start"),
    "storage": ("search", "storage"),
    "study": ("search", "study"),
    "pick": ("search", "pick"),
    **target_places(),
}
"""Parameter of a command → place in the recipe."""


def recipe_values(parameters: dict[str, Any]) -> dict[str, Any]:
    """The given flags as a nested recipe document."""
    document: dict[str, Any] = {}
    for name, place in PLACES.items():
        value = parameters.get(name)
        if value is None or value == () or value is False:
            continue
        section = document
        for key in place[:-1]:
            section = section.setdefault(key, {})
        section[place[-1]] = int(value) if name == "weight_bits" else value
    for name, section in of_targets(parameters, named_targets(parameters)).items():
        document[name] = {**document.get(name, {}), **section}
    for name, data in (parameters.get("graph_calib") or {}).items():
        document.setdefault("graphs", {}).setdefault(name, {})["calib"] = data
    return document


def named_targets(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The targets of a command: as its flag says, else its recipe, else the default one."""
    if parameters.get("target") is not None:
        return tuple(str(parameters["target"]).split(","))
    path = parameters.get("recipe_file")
    try:
        document = {} if path is None else tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # whoever reads it whole says what is wrong
        document = {}
    return (str(document.get("target", DEFAULT_TARGET)),)
