"""Detectors and segmenters that ask an image questions: configurations of transformers."""

from typing import Any

from networks.build import Network, image

LABELS = 5
SIDE = 64


def detr() -> Any:
    """Queries read an image's features and are boxes then (Carion et al. 2020)."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    config = DetrConfig(
        backbone_config=ResNetConfig(
            embedding_size=32, hidden_sizes=[48, 64], depths=[1, 1], layer_type="basic",
            out_features=["stage2"],
        ),
        d_model=64, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, num_queries=12,
        num_labels=LABELS,
    )  # fmt: skip
    return DetrForObjectDetection(config)


def mask2former() -> Any:
    """Deformable attention samples the image where it likes; queries are masks."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig

    config = Mask2FormerConfig(
        backbone_config=ResNetConfig(
            embedding_size=24, hidden_sizes=[24, 32, 48, 64], depths=[1, 1, 1, 1],
            layer_type="basic", out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=64,
        dim_feedforward=64, encoder_layers=1, decoder_layers=2, num_attention_heads=4,
        num_queries=8, num_labels=LABELS,
    )  # fmt: skip
    return Mask2FormerForUniversalSegmentation(config)


QUERIES = (
    Network("detr", detr, {"pixel_values": image(3, SIDE)}),
    Network("mask2former", mask2former, {"pixel_values": image(3, SIDE)}),
)
