"""Train the sample's autoencoder on scikit-learn's digits; write its checkpoint.

    python samples/vae/train.py out/vae

writes model.pt with the weights of both networks, and images.npz: digits that training never saw,
for the loop to reconstruct. Seeded: the same machine and versions write the same weights.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from model import decoder, encoder

SEED = 0
EPOCHS = 30
BATCH = 64
PEAK_RATE = 3e-3
HELD_OUT = 450


def load_images() -> np.ndarray:
    """Scikit-learn's 1,797 digits, 8x8 upsampled to float32 [n, 1, 32, 32] in 0..1."""
    images = zoom(load_digits().images / 16.0, (1, 4, 4), order=1)
    return images[:, None].astype(np.float32)


def loss_of(encode: nn.Module, decode: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """-ELBO a image: cross-entropy of the pixels + KL(q ‖ N(0, 1)) (Kingma & Welling, eq. 10)."""
    code = encode(images)
    mean, log_variance = code["mean"], code["log_variance"]
    z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    made = decode(z)["image"]
    error = nn.functional.binary_cross_entropy(made, images, reduction="sum")
    divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
    return (error + divergence) / len(images)


def train(encode: nn.Module, decode: nn.Module, images: torch.Tensor, epochs: int) -> None:
    """Adam with a one-cycle learning rate."""
    parameters = [*encode.parameters(), *decode.parameters()]
    steps = epochs * (len(images) // BATCH)
    optimizer = torch.optim.Adam(parameters, PEAK_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    started = time.perf_counter()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for chosen in torch.randperm(len(images))[: len(images) // BATCH * BATCH].split(BATCH):
            loss = loss_of(encode, decode, images[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * BATCH / len(images)
        if epoch % 5 == 0:
            seconds = time.perf_counter() - started
            print(f"epoch {epoch}/{epochs}  -ELBO {total:.1f}  {seconds:.0f} s")


def main() -> None:
    """Train and write everything into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where model.pt and images.npz go")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    seen, held_out = train_test_split(load_images(), test_size=HELD_OUT, random_state=SEED)
    torch.manual_seed(SEED)
    encode, decode = encoder(), decoder()
    train(encode, decode, torch.from_numpy(seen), arguments.epochs)
    np.savez(folder / "images.npz", image=held_out)
    weights = {"encoder": encode.state_dict(), "decoder": decode.state_dict()}
    torch.save(weights, folder / "model.pt")


if __name__ == "__main__":
    main()
