"""The sample's loop: a prompt goes in, 64 tokens come out, each the likeliest (greedy decoding)."""

from functools import cache
from pathlib import Path

import numpy as np

PROMPTS = Path(__file__).resolve().parents[2] / "out" / "language" / "prompts.npz"
"""Written by train.py: beginnings of docstrings that training has not seen."""
NEW, LAYERS, HEADS, SIZE = 64, 4, 4, 64
END = 0
"""The token that begins a docstring, and so ends the one before."""


@cache
def load_prompts(path):
    """Token numbers, int64 [n, 16]."""
    with np.load(path) as stored:
        return stored["input_ids"]


def empty_cache(count):
    """What the first call is given for the past: nothing of every layer."""
    nothing = np.zeros((count, HEADS, 0, SIZE), np.float32)
    return {
        f"past_key_values.{n}.{part}": nothing for n in range(LAYERS) for part in ("key", "value")
    }


def generate(models, seed, count):
    """Prompts and their continuations, int64 [count, 16 + 64], and both as text."""
    known = load_prompts(PROMPTS)
    tokens = known[np.random.default_rng(seed).integers(len(known), size=count)]
    new, past = tokens, empty_cache(count)
    for _ in range(NEW):
        made = models["model"](input_ids=new, **past)
        new = made["logits"][:, -1:].argmax(-1)
        past = {name: made[name.replace("past_key_values", "present")] for name in past}
        tokens = np.concatenate([tokens, new], 1)
    return {"tokens": tokens, "text": np.array([written(row) for row in tokens])}


@cache
def reader():
    """Reads token numbers; what is generated does without."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - the loop is read before it is run

    return Tokenizer.from_file(str(PROMPTS.with_name("tokenizer.json")))


def written(row):
    """The prompt, and behind `…` what follows, up to the docstring's end."""
    prompt, new = row[:-NEW], row[-NEW:]
    new = new[: np.append(new, END).tolist().index(END)]
    texts = (reader().decode(part.tolist()) for part in (prompt, new))
    return " … ".join(" ".join(text.split()) for text in texts)
