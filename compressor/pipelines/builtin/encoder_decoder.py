"""Sequence to sequence: an encoder is called once, then a decoder a token at a time."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, Field

from compressor.errors import DataError
from compressor.graph.tensors import Array
from compressor.pipelines.builtin.base import BuiltinLoop, Part, rng_of, stacked
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.drawing import drawn, shape_of, sizes
from compressor.pipelines.encoding import encoded_of
from compressor.pipelines.inputs import by_rows, cast, is_floating, output_of, rows_fixed, wired
from compressor.pipelines.language.decoding import (
    MASK,
    TOKENS,
    Decoding,
    Step,
    Tokens,
    vocabulary_of,
)
from compressor.pipelines.language.prompt_tokens import prompt_of
from compressor.pipelines.language.writing import (
    NO_PROMPTS,
    PROMPT,
    WRITTEN,
    TokenOptions,
    with_text,
    written,
)

HIDDEN = ("last_hidden_state", "encoder_hidden_states", "hidden_states", "memory", "output")


class Options(TokenOptions):
    """Sequence to sequence."""

    start: Annotated[tuple[int, ...], BeforeValidator(sizes)] = Field(
        (0,), description="Tokens that the decoder begins with: 0 for T5, 50258,50259 for Whisper."
    )


class EncoderDecoder(BuiltinLoop[Options]):
    """An encoder of tokens or features, and a decoder with Optimum's names.

    The encoder takes `input_ids` and `attention_mask`, or floating inputs like `input_features`,
    and gives `last_hidden_state`. The decoder takes `input_ids`, `encoder_hidden_states`,
    `encoder_attention_mask`, `past_key_values.N.decoder.key` and `.encoder.key` (and values), as
    far as it likes. It comes merged, with `use_cache_branch`, without a cache, or in two graphs.

    A unit has `tokens` (tokens,) and `logits` (tokens, vocabulary), without those it begins with,
    and `text` with a tokenizer.
    """

    name = "encoder-decoder"
    Options = Options
    parts = (
        Part("decoder", ("decoder", "decoder_model", "decoder_model_merged")),
        Part("encoder", ("encoder", "encoder_model")),
        Part(
            "decoder_with_past",
            ("decoder_with_past", "with_past", "decoder_with_past_model"),
            needed=False,
        ),
    )
    noun = "token"
    reads = "inputs"

    @property
    def judged(self) -> str | None:
        """Tokens: the logits of two texts that have parted are of other contexts."""
        return "tokens"

    @property
    def continued(self) -> tuple[str, ...]:
        """All that is written."""
        return WRITTEN

    def units(self, graphs: Mapping[str, GraphCall], seeds: Sequence[int]) -> dict[str, Array]:
        """A text a seed, one after the other."""
        encoder = graphs["encoder"]
        steps = Step.both(
            graphs["decoder"], graphs.get("decoder_with_past"), self.name, crosses=True
        )
        units = stacked([self._unit(encoder, steps, seed) for seed in seeds])
        return with_text(units, self.options)

    def _unit(self, encoder: GraphCall, steps: tuple[Step, Step], seed: int) -> dict[str, Array]:
        rng = rng_of(seed)
        first, later = steps
        encoded = self._encoded(encoder, vocabulary_of(first), seed, rng)
        text = Decoding(first, later, encoded)
        begun = text.advance(np.array(self.options.start, np.int64))
        return written(text, begun, self.options, rng)

    def _encoded(
        self, encoder: GraphCall, scored: int | None, seed: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        """What the decoder is given of the encoder, one row."""
        masks: dict[str, Array] = {}
        if self._takes_tokens(encoder):
            feeds, mask = self._tokens(encoder, scored, seed, rng)
            masks = {"hidden mask": mask}
        else:
            feeds = self._features(encoder, seed, rng)
        rows = rows_fixed(encoder.known.input(next(iter(feeds))))
        hidden = output_of(encoder, by_rows(encoder, rows, feeds), HIDDEN)
        if not masks and hidden.ndim == 3:
            masks = {"hidden mask": np.ones(hidden.shape[:2], np.int64)}
        return {"hidden": hidden, **masks}

    def _tokens(
        self, encoder: GraphCall, scored: int | None, seed: int, rng: np.random.Generator
    ) -> tuple[dict[str, Array], Array]:
        """Tokens and their mask, filled up where the graph's length is fixed."""
        roles = wired(encoder, (TOKENS, MASK), what=self.name)
        spec = encoder.known.input(roles["tokens"])
        tokens = self._prompt(encoder, scored, seed, rng)[: self.options.prompt]
        mask = np.ones(len(tokens), np.int64)
        length = spec.shape[1] if spec is not None and len(spec.shape) == 2 else None
        if isinstance(length, int):
            tokens, mask = tokens[:length], mask[:length]
            tokens, mask = (np.pad(one, (0, length - len(one))) for one in (tokens, mask))
        feeds = {}
        for role, array in (("tokens", tokens), ("mask", mask)):
            if role in roles:
                wanted = encoder.known.input(roles[role])
                feeds[roles[role]] = cast(array[np.newaxis], wanted)
        return feeds, mask[np.newaxis]

    def _prompt(
        self, encoder: GraphCall, scored: int | None, seed: int, rng: np.random.Generator
    ) -> Tokens:
        """Tokens of the data, or drawn from those that the decoder scores."""
        if self.samples.given:
            return prompt_of(self.samples.of(seed), self.name)
        vocabulary = self.options.vocabulary or scored
        if vocabulary is None:
            raise DataError(
                f"pipeline {self.name} needs inputs, or to know what tokens graph "
                f"{encoder.name!r} takes",
                hint="Give them by --calib and --eval, or --pipeline-option vocabulary=N: tokens "
                "are then drawn.",
            )
        self.notice(NO_PROMPTS)
        count = self.options.prompt or PROMPT
        return rng.integers(0, vocabulary, count).astype(np.int64)

    def _features(
        self, encoder: GraphCall, seed: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        """What an encoder of anything but tokens is fed: the data by name, or what is drawn."""
        if self.samples.given:
            return encoded_of(self.samples, encoder, [seed])
        self.notice(
            "there are no inputs: they are drawn at random, and are none that users give; --calib "
            "and --eval give real ones"
        )
        found = {}
        for one in encoder.known.inputs:
            shape = shape_of(encoder, one.name, None, option=None)
            array = drawn([rng], shape) if is_floating(one) else np.ones((1, *shape))
            found[one.name] = cast(array, one)
        return found

    def _takes_tokens(self, encoder: GraphCall) -> bool:
        """Whether it is one of tokens: by the name of an input, by types, or by the data."""
        known = encoder.known
        if any(name.lower() in TOKENS.names for name in known.names):
            return True
        if known.inputs:
            return not any(is_floating(one) for one in known.inputs)
        sample = self.samples.of(0) if self.samples.given else {}
        return all(array.dtype.kind in "iu" for array in sample.values())


LOOP = EncoderDecoder
