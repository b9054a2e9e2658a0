"""A small language model with its weights in 4 bits, 8 bits and half: perplexity, size and speed.

    python benchmarks/decoder.py FOLDER [--minutes 4]

The network is a decoder of transformers' Llama: width 256, 4 layers, 1,024 tokens, embedding and
last product tied. It is trained on one core on English sentences from the docstrings of Python's
standard library (see `sentences.py`), for as many minutes as told; FOLDER keeps tokenizer, weights
and data, so that a second run trains nothing. The graph has a dynamic length. Each mode goes
through the front door, calibrated on training sequences and judged on sequences of other modules.

Prints perplexity, file size and speed against float, timed in turn on one thread, for a whole
sequence and for a single token. Ends with 1 when INT4 loses more than 2 % of perplexity, or its
file is larger than 0.3 of float's.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from compressor import Recipe, compress
from compressor.graph.tensors import Array
from compressor.recipe.loading import ModelOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.results.graph_report import GraphReport
from exporters.base import find_target
from processes import Figures, Row, show
from sentences import divided_sentences
from versus import latency_ratio

WIDTH, LAYERS, HEADS, HIDDEN = 256, 4, 4, 768
VOCABULARY, LENGTH = 1024, 64
CALIBRATION, JUDGED = 128, 256
BATCH, RATE = 16, 2e-3
MODES = ("int4", "int8-weights", "fp16", "bf16")
WORST_LOSS, LARGEST = 2.0, 0.3
SEQUENCE = "input_ids:int64[batch,sequence]"

Tokens = npt.NDArray[np.int64]


def network() -> Any:
    """The decoder with random weights; what it returns is its logits."""
    import torch  # noqa: PLC0415 - a skipped benchmark needs none
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - likewise

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=WIDTH,
                intermediate_size=HIDDEN,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                num_key_value_heads=HEADS,
                max_position_embeddings=2 * LENGTH,
                tie_word_embeddings=True,
            )
            self.network = LlamaForCausalLM(config)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(input_ids=input_ids, use_cache=False).logits
            return logits

    torch.manual_seed(0)
    return Decoder()


def prepared(folder: Path, minutes: float) -> tuple[Any, Tokens, Tokens]:
    """The trained network, and the sequences of both halves; kept in the folder."""
    import torch  # noqa: PLC0415 - a skipped benchmark needs none

    model, kept = network(), folder / "decoder.pt"
    seen, other = _sequences(folder)
    if not kept.exists():
        torch.set_num_threads(1)
        _train(model, seen, minutes)
        torch.save(model.state_dict(), kept)
    model.load_state_dict(torch.load(kept, weights_only=True))
    return model.eval(), seen, other


def _sequences(folder: Path) -> tuple[Tokens, Tokens]:
    """Token numbers (sequences, LENGTH + 1) of two halves of the modules."""
    path = folder / "tokens.npz"
    if not path.exists():
        from tokenizers import ByteLevelBPETokenizer  # noqa: PLC0415 - comes with transformers

        texts = divided_sentences(10**6, 10**6)
        tokenizer = ByteLevelBPETokenizer()
        tokenizer.train_from_iterator(texts[0], vocab_size=VOCABULARY, show_progress=False)
        seen, other = (_cut(tokenizer, text) for text in texts)
        np.savez(path, seen=seen, other=other)
    with np.load(path) as arrays:
        return arrays["seen"], arrays["other"]


def _cut(tokenizer: Any, text: list[str]) -> Tokens:
    stream = np.concatenate([one.ids for one in tokenizer.encode_batch([f"{t}\n" for t in text])])
    count = len(stream) // (LENGTH + 1)
    return stream[: count * (LENGTH + 1)].reshape(count, -1).astype(np.int64)


def _train(model: Any, seen: Tokens, minutes: float) -> None:
    """AdamW with a linear warm-up and a cosine to zero, by the time that is left."""
    import torch  # noqa: PLC0415 - a skipped benchmark needs none

    console, rng = Console(stderr=True), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.1)
    began, step, share = time.perf_counter(), 0, 0.0
    while share < 1:
        share = min(1.0, (time.perf_counter() - began) / (60 * minutes))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * 0.5 * (1 + np.cos(np.pi * share))
        batch = torch.from_numpy(seen[rng.integers(0, len(seen), BATCH)])
        logits = model(batch[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            console.print(f"step {step}: loss {loss.item():.3f}", style="dim")


def data_of(sequences: Tokens, count: int, seed: int) -> dict[str, Array]:
    """Inputs and the next token at each position, of some sequences."""
    chosen = sequences[np.random.default_rng(seed).permutation(len(sequences))[:count]]
    return {"input_ids": chosen[:, :-1], "label": chosen[:, 1:]}


@dataclass(frozen=True)
class Session:
    """The network and its data, and the folder with the artifacts.

    Attributes:
        model: The trained network.
        calibration: Sequences of the training modules.
        judged: Sequences of other modules, with the next tokens.
        folder: Where each mode's artifact goes.
    """

    model: Any
    calibration: dict[str, Array]
    judged: dict[str, Array]
    folder: Path

    def compressed(self, mode: str) -> GraphReport:
        """One mode through the front door."""
        recipe = Recipe(
            model=ModelOptions(inputs=(SEQUENCE,)),
            quantize=QuantizeOptions.model_validate({"mode": mode}),
            measure=MeasureOptions(metric="perplexity", seconds=1.0),
        )
        report = compress(
            self.model,
            calibration=self.calibration,
            evaluation=self.judged,
            recipe=recipe,
            output=self.folder / mode,
        )
        return report.graphs["model"]

    def measured(self, mode: str) -> Figures:
        """Perplexity and size as reported, and the speed over `none`."""
        graph = self.compressed(mode)
        assert graph.shipped == mode, graph.shipped_reason
        quality = graph.quality[0]
        assert quality.baseline is not None
        assert quality.result is not None
        before, after = graph.baseline_size.file_bytes, graph.result_size.file_bytes
        return {
            "float": quality.baseline,
            "bytes": before / 1e6,
            f"loss {mode}": 100 * (quality.result / quality.baseline - 1),
            f"size {mode}": after / before,
            **{f"speed {mode} {length}": self._speed(mode, length) for length in (1, LENGTH)},
        }

    def _speed(self, mode: str, length: int) -> float:
        target, feeds = find_target("ort"), {"input_ids": self.judged["input_ids"][:1, :length]}
        files = [self.folder / name / "model.onnx" for name in ("none", mode)]
        with target.open(files[0], threads=1) as slow, target.open(files[1], threads=1) as quick:
            return latency_ratio(slow, quick, feeds, 1)


def rows() -> list[Row]:
    """The table."""
    table = [
        Row("float: perplexity", itemgetter("float"), "{:.2f}"),
        Row("float: file", itemgetter("bytes"), "{:.2f} MB"),
    ]
    for mode in MODES:
        table += [_loss_row(mode), _size_row(mode)]
        for length, words in ((1, "one token"), (LENGTH, f"{LENGTH} tokens")):
            speed = itemgetter(f"speed {mode} {length}")
            table.append(Row(f"{mode}: speed, {words}", speed, "{:.2f}x"))
    return table


def _loss_row(mode: str) -> Row:
    row = Row(f"{mode}: perplexity over float's", itemgetter(f"loss {mode}"), "{:+.2f} %")
    if mode != "int4":
        return row
    return Row(row.name, row.value, row.form, f"≤ {WORST_LOSS} %", lambda loss: loss <= WORST_LOSS)


def _size_row(mode: str) -> Row:
    row = Row(f"{mode}: file over float's", itemgetter(f"size {mode}"), "{:.3f}")
    if mode != "int4":
        return row
    return Row(row.name, row.value, row.form, f"≤ {LARGEST}", lambda share: share <= LARGEST)


def main() -> None:
    """Train where nothing is kept, measure and print; the exit code tells whether it holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="keeps the trained network")
    parser.add_argument("--minutes", type=float, default=4.0, help="of training")
    options = parser.parse_args()
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        print(f"skipped: needs {' and '.join(missing)}; --help says what it is")
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.WARNING)
    options.folder.mkdir(parents=True, exist_ok=True)
    model, seen, other = prepared(options.folder, options.minutes)
    calibration, judged = data_of(seen, CALIBRATION, 1), data_of(other, JUDGED, 2)
    del calibration["label"]
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="decoder-") as name:
        session = Session(model, calibration, judged, Path(name))
        session.compressed("none")
        for mode in MODES:
            Console(stderr=True).print(f"--quantize {mode}", style="dim")
            figures |= session.measured(mode)
    title = f"Decoder of width {WIDTH}, {len(judged['label'])} sequences of {LENGTH} tokens"
    sys.exit(not show(title, rows(), figures))


if __name__ == "__main__":
    main()
