"""A trained sample, the files that `make sample-NAME` wrote of it, and other forms of the same."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from compressor import compress
from compressor.pipelines.calls import GraphCall, Graphs
from compressor.recipe.reading import load_recipe
from compressor.report.files import load_report
from compressor.results.report import Report
from compressor.system.userfile import load_object
from exporters.base import find_target
from processes import Figures

ROOT = Path(__file__).resolve().parents[1]
UNITS = 16
"""Units that judge a form that is measured here anyway."""
FLOAT: dict[str, Any] = {"quantize": {"mode": "none"}}
GOAL = "33.4%"
"""Of the multiply-accumulates: what is left is 1.5 times as few."""

Models = Mapping[str, Callable[..., dict[str, Any]]]
Generate = Callable[[Models, int, int], dict[str, Any]]


class Unfinished(Exception):  # noqa: N818 - nothing is wrong
    """The time is over; what was measured by then is kept."""


@dataclass
class Sample:
    """One of the samples.

    Attributes:
        name: Its folder below samples/ and out/.
        scratch: Where other forms go, and figures: a later run goes on from there.
        until: Nothing is begun after that, in seconds of `time.monotonic`.
    """

    name: str
    scratch: Path
    until: float = float("inf")

    def begin(self, what: str) -> None:
        """Say what comes next.

        Raises:
            Unfinished: There is no time for it.
        """
        if time.monotonic() > self.until:
            raise Unfinished(f"{self.name}: {what} is still to be measured")
        Console(stderr=True).print(f"{self.name}: {what}", style="dim")

    def figures(self, what: str, measure: Callable[[], Figures]) -> Figures:
        """What is measured once, and read by later runs."""
        path = self.scratch / f"{what}.json"
        if not path.exists():
            self.begin(what)
            path.write_text(json.dumps(measure()))
        found: Figures = json.loads(path.read_text())
        return found

    @property
    def folder(self) -> Path:
        """What make and train.py wrote."""
        return ROOT / "out" / self.name

    @cached_property
    def generate(self) -> Generate:
        """The user's own loop."""
        found: Any = load_object(f"{ROOT / 'samples' / self.name / 'sample.py'}:generate", "loop")
        return found  # type: ignore[no-any-return]

    def report(self) -> Report:
        """The account of what ships for ONNX Runtime."""
        return load_report(self.folder / "ort")

    def made(
        self, label: str, *, model: str | None = None, units: int = UNITS, **sections: Any
    ) -> Path:
        """The folder of another form, through the front door; made once.

        Args:
            label: Name of the folder.
            model: The checkpoint, where the recipe names no graphs.
            units: How many judge.
            sections: Of the recipe, in place of what the sample's has.
        """
        folder = self.scratch / label
        if folder.exists():
            return folder
        self.begin(label)
        given = {"measure": {"seconds": 0.5}, **sections}
        recipe = load_recipe(ROOT / "samples" / self.name / "recipe.toml", given)
        graphs = {name: f"{one.model}@{one.factory}" for name, one in recipe.graphs.items()}
        loop: dict[str, Any] = {}
        if graphs:
            loop = {"pipeline": recipe.pipeline.loop, "units": units}
        logging.disable(logging.WARNING)
        compress(model or graphs, recipe=recipe, output=folder, **loop)
        return folder

    def pruned(self, *, repair: bool, model: str | None = None) -> Path:
        """In float, with 1.5 times fewer multiply-accumulates."""
        label = "pruned" if repair else "pruned, not repaired"
        prune = {"macs": GOAL, "repair": repair}
        keep = {"mode": "none", "keep_slower": True}
        return self.made(label, model=model, quantize=keep, prune=prune)


@contextmanager
def opened(files: Mapping[str, Path], threads: int = 0) -> Iterator[Graphs]:
    """Graphs of any ONNX files, as a loop calls them."""
    with ExitStack() as stack:
        found = {}
        for name, path in files.items():
            runner = stack.enter_context(find_target("ort").open(path, threads=threads))
            found[name] = GraphCall(name, runner.inputs, runner.run)
        yield Graphs(found)


def macs_ratio(folder: Path) -> float:
    """Multiply-accumulates of the original over those of what ships, of all graphs together."""
    report = load_report(folder)
    measured = report.pipeline or report.graphs["model"]
    before, after = measured.baseline_size.macs, measured.result_size.macs
    assert before is not None
    assert after is not None
    return before / after
