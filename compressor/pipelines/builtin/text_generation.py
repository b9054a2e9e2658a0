"""Text generation by a decoder: a prompt, then a token at a time."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from compressor.errors import DataError
from compressor.graph.tensors import Array
from compressor.pipelines.builtin.base import BuiltinLoop, Part, rng_of, stacked
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.language.decoding import Decoding, Step, Tokens, vocabulary_of
from compressor.pipelines.language.prompt_tokens import prompt_of
from compressor.pipelines.language.writing import (
    NO_PROMPTS,
    PROMPT,
    WRITTEN,
    TokenOptions,
    with_text,
    written,
)


class Options(TokenOptions):
    """Text generation."""

    teacher_forcing: bool = Field(
        False,
        description="Feed the tokens that follow the prompt in the data, not those generated: "
        "logits of original and result are then of the same contexts.",
    )


class TextGeneration(BuiltinLoop[Options]):
    """A decoder, with Optimum's names.

    It takes `input_ids`, and `attention_mask`, `position_ids`, `past_key_values.N.key|value` and
    `use_cache_branch` if it likes, and gives `logits` and `present.N.key|value`. Without a cache it
    is fed all tokens at every step.

    A unit has `tokens` (tokens,) and `logits` (tokens, vocabulary). After `end` there is nothing
    but that token, with logits of zero. With `teacher_forcing` it has `target` (tokens,), what the
    data has, and `tokens` are those that the model would have taken. With a tokenizer there is
    `text`.
    """

    name = "text-generation"
    Options = Options
    parts = (
        Part("model", ("model", "decoder", "decoder_model", "decoder_model_merged")),
        Part(
            "with_past", ("with_past", "decoder_with_past", "decoder_with_past_model"), needed=False
        ),
    )
    noun = "token"
    reads = "prompts"
    _scored: int | None = None

    @property
    def judged(self) -> str | None:
        """Tokens: the logits of two texts that have parted are of other contexts."""
        return None if self.options.teacher_forcing else "tokens"

    @property
    def continued(self) -> tuple[str, ...]:
        """All that is written, unless what is fed is given."""
        return () if self.options.teacher_forcing else WRITTEN

    @property
    def labelled(self) -> str | None:
        """What follows in the data is what would be right where that is fed."""
        return "teacher_forcing"

    def units(self, graphs: Mapping[str, GraphCall], seeds: Sequence[int]) -> dict[str, Array]:
        """A text a seed, one after the other."""
        first, later = Step.both(graphs["model"], graphs.get("with_past"), self.name, crosses=False)
        units = stacked([self._unit(first, later, seed) for seed in seeds])
        return with_text(units, self.options)

    def _unit(self, first: Step, later: Step, seed: int) -> dict[str, Array]:
        rng = rng_of(seed)
        prompt, forced = self._prompt(first, seed, rng)
        text = Decoding(first, later)
        found = written(text, text.advance(prompt), self.options, rng, forced)
        return found if forced is None else {**found, "target": forced}

    def _prompt(
        self, step: Step, seed: int, rng: np.random.Generator
    ) -> tuple[Tokens, Tokens | None]:
        """The prompt of a unit, and with teacher forcing what follows it."""
        options = self.options
        follow = options.tokens if options.teacher_forcing else 0
        if not self.samples.given:
            self.notice(NO_PROMPTS)
            drawn = rng.integers(0, self._vocabulary(step), (options.prompt or PROMPT) + follow)
            return _parted(drawn.astype(np.int64), follow)
        tokens = prompt_of(self.samples.of(seed), self.name)
        if follow == 0:
            return tokens[: options.prompt], None
        start = options.prompt or len(tokens) - follow
        if start < 1 or len(tokens) < start + follow:
            raise DataError(
                f"a prompt has {len(tokens)} tokens: teacher forcing needs {follow} of them after "
                f"a prompt of {options.prompt or 'at least 1'}",
                hint="Give longer ones, or fewer by --pipeline-option tokens=N.",
            )
        return _parted(tokens[: start + follow], follow)

    def _vocabulary(self, step: Step) -> int:
        """What prompts are drawn from; a graph that does not tell is tried once."""
        if self._scored is None:
            known = self.options.vocabulary or vocabulary_of(step)
            self._scored = known or len(Decoding(step, step).advance(np.zeros(1, np.int64)))
        return self._scored


def _parted(tokens: Tokens, follow: int) -> tuple[Tokens, Tokens | None]:
    return (tokens[:-follow], tokens[-follow:]) if follow else (tokens, None)


LOOP = TextGeneration
