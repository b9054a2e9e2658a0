"""Train the sample's language model on docstrings; write its checkpoint and its tokenizer.

    python samples/language/train.py out/language

writes model.pt, tokenizer.json (byte-level BPE of 1,024 tokens), and token numbers of docstrings
that training never saw: prompts.npz has their beginnings, held_out.npz sequences with what follows.
`text.py` says where the text is from. Seeded: the same machine and versions write the same weights.

Matrices between layers are trained by Muon (Jordan et al. 2024), which gets further than AdamW in
the same time. Processors that multiply bfloat16 do so, which is twice as fast.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from torch import nn

from model import HEADS, LAYERS, VOCABULARY, WIDTH, build
from text import divided

SEED = 0
STEPS = 500
BATCH, LENGTH = 16, 96
PEAK_RATE = 5e-3
WARM, STEADY = 0.05, 0.3
"""Parts of the steps in which the rate has risen to its peak, and after which it falls to 0."""
WEIGHT_DECAY = 0.1
PROMPT = 16
SEQUENCE = 80
"""Tokens of a held-out one, as long as a prompt and what the loop makes of it."""
END = "<|end|>"
"""Between two docstrings."""


def encoded(tokenizer: ByteLevelBPETokenizer, texts: list[str]) -> list[np.ndarray]:
    """Token numbers of each text; every one begins with `END`."""
    return [
        np.array([tokenizer.token_to_id(END), *one.ids], np.int64)
        for one in tokenizer.encode_batch(texts)
    ]


def cut(texts: list[np.ndarray], length: int) -> np.ndarray:
    """All of them in rows of equal length, without the rest."""
    stream = np.concatenate(texts)
    return stream[: len(stream) // length * length].reshape(-1, length)


def empty_cache(batch: int) -> dict[str, torch.Tensor]:
    """The past of a sequence that begins."""
    nothing = torch.zeros(batch, HEADS, 0, WIDTH // HEADS)
    return {
        f"past_key_values.{n}.{part}": nothing for n in range(LAYERS) for part in ("key", "value")
    }


def loss_of(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each next token, in nats."""
    logits = network(rows[:, :-1], **empty_cache(len(rows)))["logits"]
    return nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def optimizers(network: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for matrices between layers, AdamW for the table, the head and what has one axis."""
    ends = {network.get_parameter("embedding.weight"), network.get_parameter("head.weight")}
    inner = [one for one in network.parameters() if one.ndim == 2 and one not in ends]
    rest = [one for one in network.parameters() if one.ndim != 2 or one in ends]
    return [
        torch.optim.Muon(
            inner, PEAK_RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, PEAK_RATE, weight_decay=WEIGHT_DECAY, fused=True),
    ]


def share_of_rate(done: float) -> float:
    """Of the peak: a rise, a plateau and a straight fall, by the share of steps that are done."""
    return min(done / WARM, 1.0, (1 - done) / (1 - STEADY))


def multiplies_bfloat16() -> bool:
    """Whether the processor does so itself; others would be slower for it."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def train(network: nn.Module, stream: torch.Tensor, steps: int = STEPS) -> nn.Module:
    """Next tokens of windows drawn from the text."""
    both = optimizers(network)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(one, lambda step: share_of_rate((step + 1) / (steps + 1)))
        for one in both
    ]
    started = time.perf_counter()
    for step in range(1, steps + 1):
        begins = torch.randint(len(stream) - LENGTH, (BATCH, 1))
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
            loss = loss_of(network, stream[begins + torch.arange(LENGTH + 1)])
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for one in (*both, *schedules):
            one.step()
        if step % 50 == 0:
            seconds = time.perf_counter() - started
            print(f"step {step}/{steps}  loss {loss.item():.3f}  {seconds:.0f} s")
    return network.eval()


def main() -> None:
    """Train and write everything into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where all of it goes")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    seen, other = divided()
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        seen, vocab_size=VOCABULARY, special_tokens=[END], show_progress=False
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    texts, held_out = encoded(tokenizer, seen), encoded(tokenizer, other)
    rows = cut(held_out, SEQUENCE + 1)
    np.savez(folder / "held_out.npz", input_ids=rows[:, :-1], label=rows[:, 1:])
    prompts = [text[:PROMPT] for text in held_out if len(text) >= 2 * PROMPT]
    np.savez(folder / "prompts.npz", input_ids=np.stack(prompts))
    torch.manual_seed(SEED)
    network = train(build(), torch.from_numpy(np.concatenate(texts)), arguments.steps)
    with torch.inference_mode():
        loss = loss_of(network, torch.from_numpy(rows[:128])).item()
    print(f"perplexity of {min(len(rows), 128)} held-out sequences: {np.exp(loss):.1f}")
    torch.save(network.state_dict(), folder / "model.pt")


if __name__ == "__main__":
    main()
