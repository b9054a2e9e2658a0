"""The sample's loop: docstrings are drawn, and the graph tells which package each is from."""

import json
from functools import cache
from pathlib import Path

import numpy as np

TEXTS = Path(__file__).resolve().parents[2] / "out" / "encoder" / "eval.npz"
"""Written by train.py: token numbers of docstrings that training has not seen."""


@cache
def load_texts(path):
    """Token numbers, int64 [n, 48], and the number of each one's family."""
    with np.load(path) as stored:
        return stored["input_ids"], stored["label"]


def generate(models, seed, count):
    """Logits [count, 8], which docstrings they are of, and the right answers."""
    tokens, labels = load_texts(TEXTS)
    chosen = np.random.default_rng(seed).integers(len(tokens), size=count)
    logits = models["model"](input_ids=tokens[chosen])["output"]
    return {"logits": logits, "index": chosen, "label": labels[chosen]}


def told(made):
    """How many are right, and the first of them with what the graph takes them for."""
    stored = json.loads(TEXTS.with_name("texts.json").read_text(encoding="utf-8"))
    found, right = made["logits"].argmax(1), made["label"]
    yield f"{(found == right).mean():.1%} of {len(found)} docstrings are told right"
    for index, family in zip(made["index"][:5], found[:5], strict=True):
        yield f"{stored['families'][family]}: {stored['texts'][index][:80]}"
