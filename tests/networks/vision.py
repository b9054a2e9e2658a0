"""Image models from configurations of transformers."""

from typing import Any

from networks.build import Network, image

WIDTH, HEADS, LAYERS, HIDDEN = 128, 4, 2, 256
SIDE, PATCH = 32, 8
LABELS = 5

TRANSFORMER = {
    "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "image_size": SIDE, "patch_size": PATCH,
}  # fmt: skip


def vit() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(**TRANSFORMER, intermediate_size=HIDDEN, num_labels=LABELS)
    )


def dinov2() -> Any:
    """A scale per channel on every branch; class token and mean of the patches are joined."""
    from transformers import Dinov2Config, Dinov2ForImageClassification

    return Dinov2ForImageClassification(Dinov2Config(**TRANSFORMER, mlp_ratio=2, num_labels=LABELS))


def clip_vision() -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(**TRANSFORMER, intermediate_size=HIDDEN, projection_dim=64)
    )


def swin() -> Any:
    """Attention in windows, every other one shifted; patches merge by concatenation."""
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=SIDE, patch_size=2, embed_dim=48, depths=[2, 2], num_heads=[2, 4],
        window_size=4, mlp_ratio=2.0, num_labels=LABELS,
    )  # fmt: skip
    return SwinForImageClassification(config)


def convnext() -> Any:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(
        hidden_sizes=[32, 64, 96], depths=[1, 2, 1], num_stages=3, image_size=SIDE,
        num_labels=LABELS,
    )  # fmt: skip
    return ConvNextForImageClassification(config)


def resnet() -> Any:
    """Bottlenecks, with a projection where the width changes."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=32, hidden_sizes=[128, 256], depths=[2, 2], layer_type="bottleneck",
        num_labels=LABELS,
    )  # fmt: skip
    return ResNetForImageClassification(config)


def mobilenet_v2() -> Any:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return MobileNetV2ForImageClassification(
        MobileNetV2Config(image_size=SIDE, depth_multiplier=0.25, num_labels=LABELS)
    )


def regnet() -> Any:
    """Grouped convolutions in stages of growing width, excited (Radosavovic et al. 2020)."""
    from transformers import RegNetConfig, RegNetForImageClassification

    config = RegNetConfig(
        embedding_size=32, hidden_sizes=[48, 96], depths=[1, 2], groups_width=24, layer_type="y",
        num_labels=LABELS,
    )  # fmt: skip
    return RegNetForImageClassification(config)


def deit() -> Any:
    """A second token, distilled; both heads are averaged (Touvron et al. 2020)."""
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

    config = DeiTConfig(**TRANSFORMER, intermediate_size=HIDDEN, num_labels=LABELS)
    return DeiTForImageClassificationWithTeacher(config)


def efficientnet() -> Any:
    """Depthwise convolutions with squeeze and excite."""
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    config = EfficientNetConfig(
        image_size=SIDE, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280,
        kernel_sizes=[3, 3, 5], in_channels=[32, 16, 24], out_channels=[16, 24, 40],
        strides=[1, 2, 2], num_block_repeats=[1, 2, 2], expand_ratios=[1, 6, 6],
        depthwise_padding=[], num_labels=LABELS,
    )  # fmt: skip
    return EfficientNetForImageClassification(config)


def segformer() -> Any:
    """Attention over shortened sequences, a mask from four scales."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_encoder_blocks=3, depths=[1, 1, 1], sr_ratios=[4, 2, 1], hidden_sizes=[32, 64, 96],
        patch_sizes=[7, 3, 3], strides=[4, 2, 2], num_attention_heads=[1, 2, 4],
        mlp_ratios=[2, 2, 2], decoder_hidden_size=64, num_labels=LABELS,
    )  # fmt: skip
    return SegformerForSemanticSegmentation(config)


def mobilevit() -> Any:
    """Convolutions, and attention over unfolded patches."""
    from transformers import MobileViTConfig, MobileViTForImageClassification

    config = MobileViTConfig(
        image_size=64, hidden_sizes=[48, 64, 80], neck_hidden_sizes=[16, 16, 24, 32, 48, 48, 96],
        num_labels=LABELS,
    )  # fmt: skip
    return MobileViTForImageClassification(config)


PIXELS = {"pixel_values": image(3, SIDE)}

VISION = (
    Network("vit", vit, PIXELS),
    Network("deit", deit, PIXELS),
    Network("dinov2", dinov2, PIXELS),
    Network("clip_vision", clip_vision, PIXELS),
    Network("swin", swin, PIXELS),
    Network("convnext", convnext, PIXELS),
    Network("resnet", resnet, PIXELS),
    Network("regnet", regnet, PIXELS),
    Network("mobilenet_v2", mobilenet_v2, PIXELS),
    Network("efficientnet", efficientnet, PIXELS),
    Network("segformer", segformer, {"pixel_values": image(3, 64)}),
    Network("mobilevit", mobilevit, {"pixel_values": image(3, 64)}),
)
