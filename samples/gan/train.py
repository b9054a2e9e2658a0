"""Train the sample's GAN on scikit-learn's digits; write the generator's checkpoint.

    python samples/gan/train.py out/gan

Hinge loss (Lim & Ye 2017), Adam with the rates of DCGAN, and an average of the generator's weights
over the steps, which is what is kept. Seeded: the same machine and versions write the same weights.
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from torch import nn

from model import LATENT, Discriminator, build

SEED = 0
STEPS = 1200
BATCH = 32
RATES = 4e-4, 4e-4
BETAS = 0.5, 0.99
AVERAGE = 0.995


def load_images() -> torch.Tensor:
    """Scikit-learn's 1,797 digits, 8x8 upsampled to float32 [n, 1, 32, 32] in 0..1."""
    images = zoom(load_digits().images / 16.0, (1, 4, 4), order=1)
    return torch.from_numpy(images[:, None].astype(np.float32))


def train(generator: nn.Module, images: torch.Tensor, steps: int = STEPS) -> nn.Module:
    """Both networks in turn; returns the average of the generator."""
    critic, average = Discriminator(), copy.deepcopy(generator)
    learns = torch.optim.Adam(generator.parameters(), RATES[0], BETAS)
    judges = torch.optim.Adam(critic.parameters(), RATES[1], BETAS)
    started = time.perf_counter()
    for step in range(1, steps + 1):
        real = images[torch.randint(len(images), (BATCH,))]
        made = generator(torch.randn(BATCH, LATENT))["image"]
        apart = torch.relu(1 - critic(real)).mean() + torch.relu(1 + critic(made.detach())).mean()
        judges.zero_grad()
        apart.backward()
        judges.step()
        missed = -critic(made).mean()
        learns.zero_grad()
        missed.backward()
        learns.step()
        follow(average, generator)
        if step % 100 == 0:
            seconds = time.perf_counter() - started
            print(f"step {step}/{steps}  critic {apart.item():.3f}  {seconds:.0f} s")
    return average.eval()


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module) -> None:
    """Average ← 0.995 average + 0.005 network, of weights and BatchNorm's statistics alike."""
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - AVERAGE)


def main() -> None:
    """Train and write model.pt into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where model.pt goes")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    generator = train(build(), load_images(), arguments.steps)
    torch.save(generator.state_dict(), arguments.folder / "model.pt")


if __name__ == "__main__":
    main()
