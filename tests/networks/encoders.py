"""Encoders of text and of waves: configurations of transformers beside those of `language`."""

from typing import Any

from torch import Tensor, nn

from networks.build import Input, Network, tokens
from networks.language import HEADS, HIDDEN, IDS, LAYERS, LENGTH, MASKED, VOCABULARY, WIDTH

LABELS = 5
WAVE = 1280


def distilbert() -> Any:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=VOCABULARY, max_position_embeddings=LENGTH, n_layers=LAYERS, n_heads=HEADS,
        dim=WIDTH, hidden_dim=HIDDEN, num_labels=LABELS,
    )  # fmt: skip
    return DistilBertForSequenceClassification(config)


def deberta() -> Any:
    """Attention of content to position and back, gathered by relative position (He et al. 2020)."""
    from transformers import DebertaV2Config, DebertaV2ForTokenClassification

    config = DebertaV2Config(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, intermediate_size=HIDDEN, max_position_embeddings=LENGTH,
        relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8,
        norm_rel_ebd="layer_norm", share_att_key=True, num_labels=LABELS,
    )  # fmt: skip
    return DebertaV2ForTokenClassification(config)


def mpnet() -> Any:
    """Relative positions in buckets, for sentences (Song et al. 2020)."""
    from transformers import MPNetConfig, MPNetModel

    config = MPNetConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, intermediate_size=HIDDEN, max_position_embeddings=LENGTH + 2,
    )  # fmt: skip
    return Sentence(MPNetModel(config))


class Sentence(nn.Module):
    """The mean of the tokens that are none of padding, of length one."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.encoder(input_ids, attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


SPEECH = {
    "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "intermediate_size": HIDDEN, "conv_dim": (32, 32, 48), "conv_stride": (5, 4, 2),
    "conv_kernel": (10, 8, 3), "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
    "vocab_size": 30,
}  # fmt: skip


def wav2vec2() -> Any:
    """Waves by convolution, positions by a grouped one (Baevski et al. 2020)."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    return Wav2Vec2ForCTC(Wav2Vec2Config(**SPEECH))


def hubert() -> Any:
    """Hsu et al. 2021: norms of layers in the encoder of waves, and before the attention."""
    from transformers import HubertConfig, HubertForSequenceClassification

    config = HubertConfig(
        **SPEECH, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
        classifier_proj_size=64, num_labels=LABELS,
    )  # fmt: skip
    return HubertForSequenceClassification(config)


class Seq2Seq(nn.Module):
    """Encoder and decoder at once, as they are trained: what follows each token."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor) -> Tensor:
        return self.model(
            input_ids=input_ids, decoder_input_ids=decoder_input_ids, use_cache=False
        ).logits


ENDS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}


def t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCABULARY, d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=HIDDEN, num_layers=LAYERS,
        num_heads=HEADS, feed_forward_proj="gated-gelu", **ENDS,
    )  # fmt: skip
    return Seq2Seq(T5ForConditionalGeneration(config))


def bart() -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=VOCABULARY, max_position_embeddings=LENGTH, encoder_layers=1, decoder_layers=1,
        encoder_ffn_dim=HIDDEN, decoder_ffn_dim=HIDDEN, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, d_model=WIDTH, bos_token_id=0, **ENDS,
    )  # fmt: skip
    return Seq2Seq(BartForConditionalGeneration(config))


class Listener(nn.Module):
    """Whisper's decoder over states that its encoder wrote before."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.out = model.model.decoder, model.proj_out

    def forward(self, tokens: Tensor, states: Tensor) -> Tensor:
        found = self.model(input_ids=tokens, encoder_hidden_states=states, use_cache=False)
        return self.out(found.last_hidden_state)


def whisper_decoder() -> Any:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=VOCABULARY, num_mel_bins=8, d_model=WIDTH, encoder_layers=1,
        decoder_layers=LAYERS, encoder_attention_heads=HEADS, decoder_attention_heads=HEADS,
        encoder_ffn_dim=HIDDEN, decoder_ffn_dim=HIDDEN, max_source_positions=LENGTH,
        max_target_positions=LENGTH, bos_token_id=0, **ENDS,
    )  # fmt: skip
    return Listener(WhisperForConditionalGeneration(config))


PAIR = {**IDS, "decoder_input_ids": tokens(8, VOCABULARY)}
RECORDING = {"input_values": Input((WAVE,))}

ENCODERS = (
    Network("distilbert", distilbert, MASKED),
    Network("deberta", deberta, MASKED),
    Network("mpnet", mpnet, MASKED),
    Network("t5", t5, PAIR),
    Network("bart", bart, PAIR),
    Network(
        "whisper_decoder",
        whisper_decoder,
        {"tokens": tokens(8, VOCABULARY), "states": Input((LENGTH, WIDTH))},
    ),
    Network("wav2vec2", wav2vec2, RECORDING),
    Network("hubert", hubert, RECORDING),
)
