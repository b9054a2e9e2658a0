"""Train the sample's classifier on docstrings; write its checkpoint and data.

    python samples/encoder/train.py out/encoder

writes model.pt, calib.npz (256 of the training texts), eval.npz (texts that training never saw,
with labels) and texts.json, which has them as text. `text.py` says where they are from. Seeded: the
same machine and versions write the same weights.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from tokenizers import ByteLevelBPETokenizer
from torch import nn

from model import LENGTH, PAD, VOCABULARY, build
from text import labelled

SEED = 0
EPOCHS = 12
BATCH = 64
PEAK_RATE = 1e-3
HELD_OUT = 0.25
CALIBRATION = 256
FILLING = "<|pad|>"


def encoded(tokenizer: ByteLevelBPETokenizer, texts: list[str]) -> np.ndarray:
    """The first 48 tokens of each text, int64 [n, 48]; shorter ones end in filling."""
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=PAD, pad_token=FILLING)
    return np.array([one.ids for one in tokenizer.encode_batch(texts)], np.int64)


def train(network: nn.Module, tokens: np.ndarray, labels: np.ndarray, epochs: int) -> nn.Module:
    """AdamW with a one-cycle learning rate; one token in ten is hidden."""
    x, y = torch.from_numpy(tokens), torch.from_numpy(labels)
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    started = time.perf_counter()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for chosen in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            seen = x[chosen]
            hidden = torch.rand(seen.shape) < 0.1
            hidden[:, 0] = False  # a text of filling alone has no mean
            logits = network(seen.masked_fill(hidden, PAD))
            loss = nn.functional.cross_entropy(logits, y[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * BATCH / len(x)
        seconds = time.perf_counter() - started
        print(f"epoch {epoch}/{epochs}  loss {total:.3f}  {seconds:.0f} s")
    return network.eval()


def accuracy(network: nn.Module, tokens: np.ndarray, labels: np.ndarray) -> float:
    """Share of texts whose largest logit is their family."""
    with torch.inference_mode():
        predicted = network(torch.from_numpy(tokens)).argmax(1).numpy()
    return float((predicted == labels).mean())


def main() -> None:
    """Train and write everything into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where all of it goes")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    texts, families, names = labelled()
    seen, other, y_seen, y_other = train_test_split(
        texts,
        np.array(families, np.int64),
        test_size=HELD_OUT,
        stratify=families,
        random_state=SEED,
    )
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        seen, vocab_size=VOCABULARY, special_tokens=[FILLING], show_progress=False
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    x_seen, x_other = encoded(tokenizer, seen), encoded(tokenizer, other)
    torch.manual_seed(SEED)
    network = train(build(), x_seen, y_seen, arguments.epochs)
    most, found = np.bincount(y_other).max() / len(y_other), accuracy(network, x_other, y_other)
    print(
        f"accuracy on {len(x_other)} held-out docstrings: {found:.1%} (largest family {most:.1%})"
    )
    np.savez(folder / "calib.npz", input_ids=x_seen[:CALIBRATION])
    np.savez(folder / "eval.npz", input_ids=x_other, label=y_other)
    told = {"families": names, "texts": other}
    (folder / "texts.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    torch.save(network.state_dict(), folder / "model.pt")


if __name__ == "__main__":
    main()
