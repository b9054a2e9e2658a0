"""Text, token by token, until there is enough of it or it ends."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from compressor.graph.tensors import Array
from compressor.pipelines.builtin.base import LoopOptions
from compressor.pipelines.language.decoding import Decoding, Logits, Tokens
from compressor.pipelines.language.sampling import next_token
from compressor.pipelines.prompts import open_tokenizer

PROMPT = 16
"""Tokens of a prompt that is drawn."""


class TokenOptions(LoopOptions):
    """How tokens are chosen, of all loops that generate text."""

    tokens: Annotated[int, Field(gt=0)] = Field(64, description="Tokens that a unit generates.")
    temperature: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Temperature of what is drawn; 0 takes the likeliest token."
    )
    top_k: Annotated[int, Field(ge=0)] = Field(
        0, description="Draw among so many of the likeliest tokens; 0: all."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Draw among the fewest tokens that have this probability together."
    )
    end: int | None = Field(None, description="Token that ends a text; default: none does.")
    tokenizer: Path | None = Field(
        None, description="File of the package tokenizers, for --calib and --eval that are text."
    )
    prompt: Annotated[int, Field(gt=0)] | None = Field(
        None,
        description=f"Tokens of a prompt: longer ones are cut; default: as they are, {PROMPT} "
        "where they are drawn.",
    )
    vocabulary: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Tokens that prompts are drawn from; default: as many as are scored."
    )
    logits: bool = Field(True, description="Return the logits of each step, too.")


WRITTEN = ("tokens", "logits", "text")
"""What a unit has."""
NO_PROMPTS = (
    "there are no prompts: they are drawn at random, and text after them is none that users "
    "write; --calib and --eval give real ones"
)


def with_text(units: dict[str, Array], options: TokenOptions) -> dict[str, Array]:
    """The units, and their tokens as text where a tokenizer is known.

    Args:
        units: `tokens` among them, a row a unit.
        options: Which tokenizer, and which token ends a text.
    """
    if options.tokenizer is None:
        return units
    reader = open_tokenizer(options.tokenizer)
    rows = [_until(row, options.end) for row in units["tokens"]]
    return {**units, "text": np.array([reader.decode(row) for row in rows], np.str_)}


def _until(tokens: Array, end: int | None) -> list[int]:
    numbers: list[int] = tokens.tolist()
    return numbers[: numbers.index(end)] if end in numbers else numbers


def written(
    text: Decoding,
    logits: Logits,
    options: TokenOptions,
    rng: np.random.Generator,
    forced: Tokens | None = None,
) -> dict[str, Array]:
    """Tokens and their logits, until there are enough or the text ends.

    Args:
        text: The prompt was fed.
        logits: Those behind the prompt.
        options: How tokens are chosen.
        rng: From which they are drawn.
        forced: What is fed in place of them.
    """
    count = options.tokens
    tokens = np.full(count, 0 if options.end is None else options.end, np.int64)
    scores = np.zeros((count, len(logits)), np.float32)
    for place in range(count):
        scores[place] = logits
        tokens[place] = next_token(
            logits,
            rng,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
        )
        ends = forced is None and tokens[place] == options.end
        if ends or place == count - 1:
            break
        fed = tokens if forced is None else forced
        logits = text.advance(fed[place : place + 1])
    return {"tokens": tokens, "logits": scores} if options.logits else {"tokens": tokens}
