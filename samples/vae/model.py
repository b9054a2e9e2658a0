"""The sample's networks: a convolutional variational autoencoder (Kingma & Welling 2014)."""

import torch
from torch import nn

LATENT = 16


def halved(inputs: int, outputs: int) -> list[nn.Module]:
    """Half the height and width by a strided convolution with BatchNorm and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def doubled(inputs: int, outputs: int) -> list[nn.Module]:
    """Twice the height and width, then a 3x3 convolution with BatchNorm and ReLU."""
    return [
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


class Encoder(nn.Module):
    """What is known of the code of an image: a normal distribution a dimension."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *halved(1, width), *halved(width, 2 * width), *halved(2 * width, 4 * width)
        )
        self.head = nn.Linear(4 * width * 4 * 4, 2 * LATENT)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mean and log of the variance, [batch, 16] each, of images [batch, 1, 32, 32] in 0..1."""
        mean, log_variance = self.head(self.body(image).flatten(1)).chunk(2, 1)
        return {"mean": mean, "log_variance": log_variance}


class Decoder(nn.Module):
    """Images [batch, 1, 32, 32] in 0..1 from codes [batch, 16]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Linear(LATENT, 4 * width * 4 * 4), nn.ReLU(), nn.Unflatten(1, (4 * width, 4, 4))
        )
        self.body = nn.Sequential(
            *doubled(4 * width, 2 * width), *doubled(2 * width, width), *doubled(width, width)
        )
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """The image of each code."""
        return {"image": torch.sigmoid(self.head(self.body(self.stem(z))))}


def encoder(width: int = 32) -> nn.Module:
    """The encoder with fresh weights; `compress` calls this."""
    return Encoder(width)


def decoder(width: int = 32) -> nn.Module:
    """The decoder with fresh weights; `compress` calls this."""
    return Decoder(width)
