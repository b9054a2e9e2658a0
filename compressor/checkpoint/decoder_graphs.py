"""Decoders of `transformers` with their cache as inputs and outputs, by Optimum's names.

text-generation        model: input_ids, attention_mask, position_ids, past_key_values.N.key|value
→ logits, present.N.key|value
text2text-generation   encoder_model: what the encoder takes → last_hidden_state
decoder_model: input_ids, encoder_hidden_states, encoder_attention_mask
→ logits, present.N.decoder|encoder.key|value
decoder_with_past_model: input_ids, encoder_attention_mask,
past_key_values.N.decoder|encoder.key|value
→ logits, present.N.decoder.key|value
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from compressor.checkpoint.named_call import Call, called_by
from compressor.errors import CheckpointError
from compressor.graph.tensors import Dimension, TensorSpec

KINDS = ("key", "value")
ENCODER, DECODER, WITH_PAST = "encoder_model", "decoder_model", "decoder_with_past_model"

Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def decoder_graph(module: Any) -> tuple[Any, tuple[TensorSpec, ...]]:
    """A decoder that takes tokens behind a cache, and its inputs.

    Args:
        module: A class of `transformers` for causal language modelling; its `forward` is replaced.
    """
    shapes = _cache_shapes(module)
    taken = inspect.signature(module.forward).parameters
    specs = [_tokens("input_ids", "sequence"), _tokens("attention_mask", "past+sequence")]
    if "position_ids" in taken:
        specs.append(_tokens("position_ids", "sequence"))
    specs += [
        _floats(f"past_key_values.{layer}.{kind}", _open(shape, "past"))
        for layer, shapes_of in enumerate(shapes)
        for kind, shape in zip(KINDS, shapes_of, strict=True)
    ]

    def call(original: Call, **named: torch.Tensor) -> Mapping[str, Any]:
        cache = _cache(_pairs(named, "past_key_values.{}.{}", len(shapes)))
        plain = {name: value for name, value in named.items() if "." not in name}
        made = original(**plain, past_key_values=cache, use_cache=True, return_dict=True)
        return {"logits": made.logits, **_given(made.past_key_values, "present.{}.{}")}

    module.config.use_cache = True
    return called_by(module, [spec.name for spec in specs], call), tuple(specs)


def encoder_decoder_graphs(module: Any) -> dict[str, tuple[Any, tuple[TensorSpec, ...]]]:
    """The three graphs of a sequence-to-sequence model, each with its inputs."""
    module.config.use_cache = True
    shapes = _cross_shapes(module)
    reads = _encoder_inputs(module)
    masked = any(spec.name == "attention_mask" for spec in reads)
    return {
        ENCODER: (_Encoder(module, [spec.name for spec in reads]), reads),
        DECODER: _first(module, masked),
        WITH_PAST: _later(module, shapes, masked),
    }


class _Encoder(nn.Module):
    """The encoder by itself."""

    def __init__(self, module: Any, names: list[str]) -> None:
        super().__init__()
        self.encoder = module.get_encoder()
        self._names = names
        self.forward = _signed(self._run, names)

    def _run(self, **named: torch.Tensor) -> Mapping[str, Any]:
        made = self.encoder(**named, return_dict=True)
        return {"last_hidden_state": made.last_hidden_state}


class _Decoder(nn.Module):
    """The decoder with its head, behind what an encoder made."""

    def __init__(self, module: Any, names: list[str], layers: int) -> None:
        super().__init__()
        self.model, self._layers = module, layers
        self.forward = _signed(self._run, names)

    def _run(self, **named: torch.Tensor) -> Mapping[str, Any]:
        from transformers.modeling_outputs import BaseModelOutput  # noqa: PLC0415 - an extra

        again = self._layers > 0
        cache, hidden = _seq2seq_cache(named, self._layers), named.get("encoder_hidden_states")
        if hidden is None:  # only its length is looked at: cross attention reads the cache
            key = named["past_key_values.0.encoder.key"]
            hidden = key.new_zeros((key.shape[0], key.shape[2], self.model.config.hidden_size))
        masks = {}
        if "encoder_attention_mask" in named:
            masks["attention_mask"] = named["encoder_attention_mask"]
        made = self.model(
            decoder_input_ids=named["input_ids"],
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
            **masks,
        )
        own = _given(made.past_key_values.self_attention_cache, "present.{}.decoder.{}")
        cross = _given(made.past_key_values.cross_attention_cache, "present.{}.encoder.{}")
        return {"logits": made.logits, **(own if again else _by_layer(own, cross))}


def _first(module: Any, masked: bool) -> tuple[Any, tuple[TensorSpec, ...]]:
    specs = [_tokens("input_ids", "sequence")]
    specs.append(
        _floats("encoder_hidden_states", ("batch", "encoder_sequence", module.config.hidden_size))
    )
    specs += [_tokens("encoder_attention_mask", "encoder_sequence")] if masked else []
    return _Decoder(module, [spec.name for spec in specs], 0), tuple(specs)


def _later(
    module: Any, shapes: list[list[tuple[int, ...]]], masked: bool
) -> tuple[Any, tuple[TensorSpec, ...]]:
    specs = [_tokens("input_ids", "sequence")]
    specs += [_tokens("encoder_attention_mask", "encoder_sequence")] if masked else []
    specs += [  # layer by layer: Optimum goes by their order
        _floats(f"past_key_values.{layer}.{side}.{kind}", _open(shape, length))
        for layer, of_layer in enumerate(shapes)
        for side, length in (("decoder", "past"), ("encoder", "encoder_sequence"))
        for kind, shape in zip(KINDS, of_layer, strict=True)
    ]
    return _Decoder(module, [spec.name for spec in specs], len(shapes)), tuple(specs)


def _signed(run: Call, names: list[str]) -> Call:
    """A `forward` that says its parameters, where their names can be parameters."""

    def forward(**named: Any) -> Any:
        return run(**named)

    if all(name.isidentifier() for name in names):
        kind = inspect.Parameter.KEYWORD_ONLY
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        forward.__signature__ = signature  # type: ignore[attr-defined]
    return forward


def _cache(pairs: Pairs) -> Any:
    from transformers import DynamicCache  # noqa: PLC0415 - an extra

    cache: Any = DynamicCache()
    for layer, (key, value) in enumerate(pairs):
        cache.update(key, value, layer)
        # `update` puts what comes behind an empty tensor, which a graph need not do.
        cache.layers[layer].keys, cache.layers[layer].values = key, value
    return cache


def _seq2seq_cache(named: Mapping[str, torch.Tensor], layers: int) -> Any:
    from transformers import EncoderDecoderCache  # noqa: PLC0415 - an extra

    own = _cache(_pairs(named, "past_key_values.{}.decoder.{}", layers))
    cross = _cache(_pairs(named, "past_key_values.{}.encoder.{}", layers))
    cache = EncoderDecoderCache(own, cross)
    for layer in range(layers):
        cache.is_updated[layer] = True
    return cache


def _pairs(named: Mapping[str, torch.Tensor], form: str, layers: int) -> Pairs:
    return [
        (named[form.format(layer, "key")], named[form.format(layer, "value")])
        for layer in range(layers)
    ]


def _given(cache: Any, form: str) -> dict[str, torch.Tensor]:
    """Keys and values of a cache by name."""
    found = {}
    for layer, one in enumerate(cache.layers):
        found[form.format(layer, "key")] = one.keys
        found[form.format(layer, "value")] = one.values
    return found


def _by_layer(
    own: Mapping[str, torch.Tensor], cross: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Layer by layer the decoder's own keys and values, then those of the encoder."""
    found: dict[str, torch.Tensor] = {}
    for start in range(0, len(own), len(KINDS)):
        for part in (own, cross):
            found |= dict(list(part.items())[start : start + len(KINDS)])
    return found


def _cache_shapes(module: Any) -> list[list[tuple[int, ...]]]:
    """Shapes of key and value of each layer after three tokens, found by a call.

    Raises:
        CheckpointError: A layer keeps something else, as those of state spaces do.
    """
    made = module(input_ids=torch.ones((1, 3), dtype=torch.int64), use_cache=True)
    cache = getattr(made, "past_key_values", None)
    found = [
        [tuple(one.keys.shape), tuple(one.values.shape)]
        for one in getattr(cache, "layers", ())
        if getattr(one, "keys", None) is not None
    ]
    layers = len(getattr(cache, "layers", ()))
    if not found or len(found) < layers or any(len(s) != 4 for shapes in found for s in shapes):
        name = type(module).__name__
        raise CheckpointError(
            f"{name} keeps something else in its cache than keys and values of every layer",
            hint="Give by --model a module that takes and returns what it keeps, or leave the "
            "cache out with --task feature-extraction.",
        )
    return found


def _cross_shapes(module: Any) -> list[list[tuple[int, ...]]]:
    """Likewise of the decoder's own cache, behind three tokens of an encoder."""
    from transformers.modeling_outputs import BaseModelOutput  # noqa: PLC0415 - an extra

    hidden = torch.zeros((1, 3, module.config.hidden_size))
    made = module(
        decoder_input_ids=torch.ones((1, 3), dtype=torch.int64),
        encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
        use_cache=True,
    )
    layers = made.past_key_values.self_attention_cache.layers
    return [[tuple(one.keys.shape), tuple(one.values.shape)] for one in layers]


def _encoder_inputs(module: Any) -> tuple[TensorSpec, ...]:
    """What the encoder takes: tokens and their mask, or features of a fixed length."""
    name = module.main_input_name
    if name == "input_ids":
        return _tokens("input_ids", "sequence"), _tokens("attention_mask", "sequence")
    config = module.config
    mels = getattr(config, "num_mel_bins", 80)
    frames = 2 * getattr(config, "max_source_positions", 1500)
    return (_floats(name, ("batch", mels, frames)),)


def _tokens(name: str, length: str) -> TensorSpec:
    return TensorSpec(name, np.dtype(np.int64), ("batch", length))


def _floats(name: str, shape: tuple[Dimension, ...]) -> TensorSpec:
    return TensorSpec(name, np.dtype(np.float32), shape)


def _open(shape: tuple[int, ...], length: str) -> tuple[Dimension, ...]:
    """A cache of [batch, heads, tokens, size] with names for what grows."""
    return ("batch", shape[1], length, shape[3])
