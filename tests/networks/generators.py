"""Networks that make images, and the one that judges them."""

import torch
from torch import Tensor, nn

from networks.build import Input, Network, image
from networks.classifiers import ConvNorm

LATENT = 64


class Up(nn.Sequential):
    """Transposed convolution that doubles the side, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


def dcgan_generator() -> nn.Module:
    """Radford et al. 2015: the noise is an image of one pixel."""
    return nn.Sequential(
        nn.ConvTranspose2d(LATENT, 96, 4, bias=False), nn.BatchNorm2d(96), nn.ReLU(),
        Up(96, 64), Up(64, 32), nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def dcgan_discriminator() -> nn.Module:
    """Strided convolutions with leaky ReLU, the last one over the whole image."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 96, 4, 2, 1, bias=False), nn.BatchNorm2d(96), nn.LeakyReLU(0.2),
        nn.Conv2d(96, 1, 4), nn.Flatten(), nn.Sigmoid(),
    )  # fmt: skip


class VAE(nn.Module):
    """A variational autoencoder (Kingma and Welling 2013); the noise is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(ConvNorm(3, 32, 3, 2), ConvNorm(32, 48, 3, 2), nn.Flatten())
        self.mean = nn.Linear(48 * 8 * 8, 32)
        self.log_variance = nn.Linear(48 * 8 * 8, 32)
        self.start = nn.Linear(32, 48 * 8 * 8)
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (48, 8, 8)), nn.ReLU(), Up(48, 32), nn.ConvTranspose2d(32, 3, 4, 2, 1)
        )

    def forward(self, pixels: Tensor, noise: Tensor) -> dict[str, Tensor]:
        code = self.encoder(pixels)
        mean, log_variance = self.mean(code), self.log_variance(code)
        sample = mean + noise * torch.exp(0.5 * log_variance)
        image = torch.sigmoid(self.decoder(self.start(sample)))
        return {"image": image, "mean": mean, "log_variance": log_variance}


class Enhance(nn.Module):
    """A residual block without normalization (EDSR, Lim et al. 2017)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def super_resolution() -> nn.Module:
    """Pixel shuffles make space of channels (Shi et al. 2016), one before the last layer."""
    return nn.Sequential(
        nn.Conv2d(3, 48, 3, 1, 1), Enhance(48), Enhance(48),
        nn.Conv2d(48, 4 * 32, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU(32),
        nn.Conv2d(32, 4 * 3, 3, 1, 1), nn.PixelShuffle(2),
    )  # fmt: skip


GENERATORS = (
    Network("dcgan_generator", dcgan_generator, {"input": Input((LATENT, 1, 1))}),
    Network("dcgan_discriminator", dcgan_discriminator, {"input": image(3, 32)}),
    Network("vae", VAE, {"pixels": image(3, 32), "noise": Input((32,))}),
    Network("super_resolution", super_resolution, {"input": image(3, 16)}),
)
