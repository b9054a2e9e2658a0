"""The sample's networks: a DCGAN on 32x32 digits (Radford et al. 2015, section 3).

The generator doubles the size by Resize and convolution in place of a strided transposed one
(Odena et al. 2016), which leaves no checkerboard and has integer kernels in every runtime.
"""

from itertools import pairwise

import torch
from torch import nn

LATENT = 64


def doubled(inputs: int, outputs: int) -> list[nn.Module]:
    """Twice the height and width, then a 3x3 convolution with BatchNorm and ReLU."""
    return [
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


class Generator(nn.Module):
    """Images [batch, 1, 32, 32] in 0..1 from normal noise [batch, 64]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Linear(LATENT, 4 * width * 4 * 4, bias=False),
            nn.BatchNorm1d(4 * width * 4 * 4),
            nn.ReLU(),
            nn.Unflatten(1, (4 * width, 4, 4)),
        )
        self.body = nn.Sequential(
            *doubled(4 * width, 2 * width), *doubled(2 * width, width), *doubled(width, width)
        )
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """The image of each row of noise."""
        return {"image": torch.sigmoid(self.head(self.body(self.stem(z))))}


class Discriminator(nn.Sequential):
    """A logit an image: whether it is real. Spectral norms bound it (Miyato et al. 2018)."""

    def __init__(self, width: int = 32) -> None:
        layers: list[nn.Module] = []
        sizes = (1, width, 2 * width, 4 * width)
        for inputs, outputs in pairwise(sizes):
            convolution = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
            layers += [nn.utils.parametrizations.spectral_norm(convolution), nn.LeakyReLU(0.2)]
        logit = nn.utils.parametrizations.spectral_norm(nn.Linear(4 * width * 4 * 4, 1))
        super().__init__(*layers, nn.Flatten(), logit)


def build(width: int = 32) -> nn.Module:
    """The generator with fresh weights; `compress` calls this."""
    return Generator(width)
