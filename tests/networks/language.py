"""Encoders and decoders of tokens and of sound, from configurations of transformers."""

from typing import Any

from networks.build import Input, Network, tokens

VOCABULARY = 96
LENGTH = 16
WIDTH, HEADS, LAYERS, HIDDEN = 128, 4, 2, 256

IDS = {"input_ids": tokens(LENGTH, VOCABULARY)}
MASKED = {**IDS, "attention_mask": Input((LENGTH,), 2)}


def bert() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, intermediate_size=HIDDEN, max_position_embeddings=LENGTH,
        num_labels=5,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def gpt2() -> Any:
    """One projection makes queries, keys and values, which a Split parts; tied embeddings."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
        n_inner=HIDDEN, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def llama() -> Any:
    """RMSNorm, rotary positions, gated feed-forward; four query heads share two of keys."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS // 2,
        max_position_embeddings=LENGTH,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def t5_encoder() -> Any:
    """Relative position bias computed once and shared by the layers."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=VOCABULARY, d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=HIDDEN, num_layers=LAYERS,
        num_heads=HEADS,
    )  # fmt: skip
    return T5EncoderModel(config)


def whisper_encoder() -> Any:
    """Two 1-D convolutions, then a transformer."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        vocab_size=VOCABULARY, num_mel_bins=40, d_model=WIDTH, encoder_layers=LAYERS,
        encoder_attention_heads=HEADS, encoder_ffn_dim=HIDDEN, max_source_positions=LENGTH,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    return WhisperEncoder(config)


def mamba() -> Any:
    """A selective state space: 1-D depthwise convolution and an unrolled scan."""
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, state_size=8, num_hidden_layers=LAYERS,
        pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return MambaForCausalLM(config)


LANGUAGE = (
    Network("bert", bert, MASKED),
    Network("gpt2", gpt2, IDS),
    Network("llama", llama, IDS),
    Network("t5_encoder", t5_encoder, MASKED),
    Network("whisper_encoder", whisper_encoder, {"input_features": Input((40, 2 * LENGTH))}),
    # Its scan is unrolled over the tokens that it is traced at.
    Network(
        "mamba",
        mamba,
        {"input_ids": tokens(8, VOCABULARY)},
        fixed=("input_ids:int64[batch,8]",),
    ),
)
