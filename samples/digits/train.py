"""Train the sample's network; write the checkpoint and the data that `compress` is given.

    python samples/digits/train.py out/digits

writes model.pt, calib.npz (256 of the training images) and eval.npz (450 images that training
never saw). Seeded: the same machine and versions write the same weights.
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

from model import build

SEED = 0
EPOCHS = 5
BATCH = 64
CALIBRATION = 256
EVALUATION = 450
PEAK_RATE = 3e-3


def load_images() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's 1,797 digits, 8x8 upsampled to float32 [n, 1, 32, 32] in 0..1; labels."""
    digits = load_digits()
    images = zoom(digits.images / 16.0, (1, 4, 4), order=1)
    return images[:, None].astype(np.float32), digits.target.astype(np.int64)


def split() -> list[np.ndarray]:
    """Images to train on and to evaluate on, then the labels of both."""
    images, labels = load_images()
    return train_test_split(
        images, labels, test_size=EVALUATION, stratify=labels, random_state=SEED
    )


def train(
    network: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int = EPOCHS,
    rate: float = PEAK_RATE,
) -> nn.Module:
    """Adam with a one-cycle learning rate; each image is shifted by up to two pixels."""
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    steps = epochs * (len(x) // BATCH)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for epoch in range(epochs):
        started, total = time.perf_counter(), 0.0
        for chosen in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            shift = torch.randint(-2, 3, (2,)).tolist()
            logits = network(x[chosen].roll(shift, (2, 3)))
            loss = nn.functional.cross_entropy(logits, y[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}/{epochs}  loss {total * BATCH / len(x):.3f}  {seconds:.1f} s")
    return network.eval()


def accuracy(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose largest logit is their label."""
    with torch.inference_mode():
        predicted = network(torch.from_numpy(images)).argmax(1).numpy()
    return float((predicted == labels).mean())


def main() -> None:
    """Train and write everything into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where model.pt, calib.npz and eval.npz go")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)

    x_train, x_eval, y_train, y_eval = split()
    torch.manual_seed(SEED)
    network = train(build(), x_train, y_train)
    print(f"accuracy on {len(x_eval)} held-out images: {accuracy(network, x_eval, y_eval):.1%}")
    # The checkpoint comes last: `make` takes it for the sign that all three are there.
    np.savez(folder / "calib.npz", image=x_train[:CALIBRATION], label=y_train[:CALIBRATION])
    np.savez(folder / "eval.npz", image=x_eval, label=y_eval)
    torch.save({"state_dict": network.state_dict()}, folder / "model.pt")


if __name__ == "__main__":
    main()
