"""Train the sample's U-Net on scikit-learn's digits as a DDPM; write its checkpoint.

    python samples/diffusion/train.py out/diffusion

The loss is that of Ho et al. 2020 (equation 14); what is kept is an average of the weights over the
steps. Seeded: the same machine and versions write the same weights. Processors that multiply
bfloat16 do so, which takes two thirds of the time.
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

from model import build
from sample import ALPHAS, TRAINED

SEED = 0
STEPS = 1300
BATCH = 32
PEAK_RATE = 2e-3
AVERAGE = 0.995


def load_images() -> torch.Tensor:
    """Scikit-learn's 1,797 digits, 8x8 upsampled to float32 [n, 1, 32, 32] in -1..1."""
    images = zoom(load_digits().images / 16.0, (1, 4, 4), order=1)
    return torch.from_numpy(2 * images[:, None].astype(np.float32) - 1)


def multiplies_bfloat16() -> bool:
    """Whether the processor does so itself; others would be slower for it."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def train(network: nn.Module, images: torch.Tensor, steps: int = STEPS) -> nn.Module:
    """Adam with a one-cycle learning rate; returns the average of the network."""
    average, alphas = copy.deepcopy(network), torch.from_numpy(ALPHAS).float()
    optimizer = torch.optim.Adam(network.parameters(), PEAK_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1
    )
    started, total = time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        clean = images[torch.randint(len(images), (BATCH,))]
        t, eps = torch.randint(TRAINED, (BATCH,)), torch.randn_like(clean)
        left = alphas[t][:, None, None, None]
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
            found = network(left.sqrt() * clean + (1 - left).sqrt() * eps, t)["eps"]
        loss = nn.functional.mse_loss(found.float(), eps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), network.parameters(), strict=True):
                kept.lerp_(new, 1 - AVERAGE)
        total += loss.item()
        if step % 100 == 0:
            seconds = time.perf_counter() - started
            print(f"step {step}/{steps}  loss {total / 100:.4f}  {seconds:.0f} s")
            total = 0.0
    return average.eval()


def main() -> None:
    """Train and write model.pt into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where model.pt goes")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    network = train(build(), load_images(), arguments.steps)
    torch.save(network.state_dict(), arguments.folder / "model.pt")


if __name__ == "__main__":
    main()
