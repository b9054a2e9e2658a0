"""Trains a graph from the original's own answers, and keeps the result if it helps.

The number of steps is fixed before the first; the whole schedule runs, as the held-out loss may
rise a while in a run that ends better; the best moment on samples that neither a repair nor the
training saw is taken, which may be the start.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Literal

import torch

from compressor.errors import GraphError, RecipeError, UsageError
from compressor.graph.fingerprint import fingerprint
from compressor.graph.patterns import unmatched
from compressor.layerwise.factor import cores
from compressor.recipe.training import TrainOptions
from compressor.results import format as fmt
from compressor.results.training import ParityFigure, TrainingResult
from compressor.system.progress import SILENT, Progress
from compressor.training.attacks import attack_of
from compressor.training.executor import GraphModule
from compressor.training.loop import Loop
from compressor.training.losses import Distillation
from compressor.training.measuring import saved_bytes, steps_of
from compressor.training.parity import has_gradients, why_not_equal
from compressor.training.preparing import SHAPED, first_call, run_of, subject_of
from compressor.training.processes import joined
from compressor.training.run import Run
from compressor.training.state import load_state, require_ours
from compressor.training.task import Task, Training

LEAST = 32
"""Samples to train on, at least: with fewer the weights stay as they are."""
TRIED, LEAST_TRIED = 0.06, 8
"""Share of the steps in which a rate is tried, and the fewest steps that tell anything."""
SLOWER, RISES = (1.0, 0.3, 0.1), 1.2
"""Times the usual rate, of which the largest is taken whose trial ends below so many times the loss
before it: trainings that end better rise as far at first. The last is not tried."""


def train_graph(
    task: Task,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.perf_counter,
) -> Training:
    """Train, and say what became of it.

    Args:
        task: What, from what, and how.
        progress: Where loss, held-out loss, rate and time left are shown.
        clock: What a length in time is of.

    Raises:
        UsageError: The options or the labels do not fit the graph.
    """
    if task.options.checkpoint is not None:
        require_ours(task.options.checkpoint)
    with _settled(task.options, task.seed) as threads:
        began = clock()
        attempt = _Attempt(task, threads, clock)
        refused = attempt.why_not()
        if refused is not None:
            return attempt.refused(refused)
        return attempt.made(progress, began)


class _Attempt:
    """One training from preparing to the verdict."""

    def __init__(self, task: Task, threads: int, clock: Callable[[], float]) -> None:
        self._task, self._threads, self._clock = task, threads, clock
        self._subject = subject_of(task)
        self._parity: tuple[ParityFigure, ...] = ()
        self._features: tuple[str, ...] = ()
        self._notices: tuple[str, ...] = ()
        self._run: Run | None = None
        self._samples = self._held = 0
        self._world = joined(task.options.device)

    def why_not(self) -> str | None:
        """Why nothing can be trained here, found out before the first step."""
        task = self._task
        if not self._subject.names:
            return "the graph has no float weights that a layer reads"
        self._samples, self._held = len(task.data), len(task.held_out)
        if self._samples < LEAST:
            return (
                f"{fmt.plural(self._samples, 'sample')} to train on are too few, of which the "
                f"weights would learn the noise: give {LEAST} or more"
            )
        try:
            module = GraphModule(task.student, self._subject.names)
            sizes = (1, SHAPED) if self._subject.fixed is None else (self._subject.fixed,)
            calls = [first_call(task.data, size) for size in sizes]
            departs, self._parity = why_not_equal(task.student, calls, module)
        except GraphError as error:
            return error.message
        if departs is not None:
            return f"torch does not compute what ONNX Runtime does: {departs}"
        if task.options.loss is None and not has_gradients(task.student, module, calls[-1]):
            told = ", ".join(f"{v.name} ({v.dtype})" for v in task.student.graph.outputs)
            return f"the graph has no floating-point output that tells more than its winner: {told}"
        return None

    def made(self, progress: Progress, began: float) -> Training:
        """Train, look, and keep the best moment."""
        task, options = self._task, self._task.options
        with progress.stage("prepare training"):
            run, self._features = run_of(self._subject, self._threads, self._world)
        self._notices = tuple(self._unheeded())
        self._run = run
        before = run.look()  # the first asks the original, too
        if not math.isfinite(before):
            found = f"is {before} on the held-out samples before the first step"
            if options.loss is None:
                return self.refused(f"the loss {found}")
            raise RecipeError(f"the training loss {options.loss} {found}: expected a finite number")
        run.pieces = self._pieces(run)
        start, _ = self._clock(), run.look() if task.length.seconds is not None else before
        each = self._clock() - start
        steps = steps_of(
            task.length,
            run.samples.steps_of_epoch(run.batch),
            run.step,
            spent=self._clock() - began,
            each_look=each,
            looks=options.looks,
            clock=self._clock,
        )
        steps = self._world.agreed(steps)
        with progress.stage("choose the rate"):
            steps = self._paced(run, before, steps)
        run.begin(steps)
        return self._finished(run, before, steps, progress)

    def _unheeded(self) -> Iterator[str]:
        """What is asked for and does nothing with this graph."""
        options, fixed = self._task.options, self._subject.fixed
        yield from unmatched(
            self._task.student, options.leave, "`leave` in [train]:", "nothing as it is"
        )
        for pattern in options.match if options.loss is None and options.features else ():
            if not any(fnmatchcase(name, pattern) for name in self._features):
                yield (
                    f"`match` in [train]: {pattern!r} matches no value that both graphs compute in "
                    "the same shape"
                )
        if fixed is not None and options.batch not in (None, fixed):
            yield (
                f"`batch` in [train] is {options.batch}, and the graph takes {fixed} at once, as "
                "each step does"
            )

    def refused(self, reason: str) -> Training:
        """The weights stay, and why."""
        return Training({}, self.result(reason))

    def _paced(self, run: Run, before: float, steps: int) -> int:
        """Take the largest rate that does not throw the graph far off; how many steps are left.

        What lost little is thrown far off by a rate that what lost much needs, and in few steps
        does not come back. A trial is a schedule of its own over a part of the steps. The rate that
        is best in it is no guide: for a long training it is too small.
        """
        options, usual, trial = self._task.options, run.rate, round(TRIED * steps)
        known = None
        if options.checkpoint is not None:
            known = load_state(options.checkpoint, self._digest(steps))
        if known is not None:
            run.rate = known["rate"]
            return int(known["steps"])
        if options.rate is not None or trial < LEAST_TRIED:
            return steps
        spent = 0
        for factor in SLOWER[:-1]:
            spent += trial
            if run.tried(factor * usual, trial) < RISES * before:
                break
        else:
            run.rate = SLOWER[-1] * usual
        return steps if self._task.length.seconds is None else steps - spent

    def _finished(self, run: Run, before: float, steps: int, progress: Progress) -> Training:
        stops = self._task.stops
        timed = self._task.length.seconds is not None
        digest = self._digest(steps)
        loop = Loop(run, before, steps, self._clock, digest, stops=stops, timed=timed)
        said = loop.go(progress)
        gained = math.isfinite(loop.least) and loop.least < before
        told = (
            f"the held-out loss fell from {before:.4g} to {loop.least:.4g}"
            if gained
            else f"the held-out loss did not fall below the {before:.4g} that it was"
        )
        reason = f"{told}{said}"
        weights = run.restore() if gained else {}
        result = self.result(reason).model_copy(
            update={
                "steps": steps,
                "done": loop.done,
                "seconds": loop.seconds,
                "cpu_seconds": loop.cpu,
                "before": before,
                "after": loop.least if gained else before,
                "best": run.best if gained else 0,
                "kept": gained,
                "curve": tuple(loop.curve),
                "interrupted": loop.interrupted,
            }
        )
        return Training(weights, result)

    def result(self, reason: str) -> TrainingResult:
        """For the report, as if nothing had been done yet."""
        task, run = self._task, self._run
        labelled = run is not None and isinstance(run.loss, Distillation) and run.loss.labelled
        mode: Literal["distill", "labels", "loss"] = "labels" if labelled else "distill"
        sizes = (
            value.const_value
            for g in task.student.graphs()
            for value in g.initializers.values()
            if value.name in self._subject.names
        )
        return TrainingResult(
            mode="loss" if task.options.loss else mode,
            quantized=self._subject.quantized,
            asked=task.length.asked,
            steps=0,
            done=0,
            seconds=0.0,
            cpu_seconds=0.0,
            batch=0 if run is None else run.batch,
            threads=self._threads,
            optimizer=task.options.optimizer,
            attack=None if (attack := attack_of(task.options)) is None else attack.words,
            rate=0.0 if run is None else run.rate,
            samples=self._samples,
            held_out=self._held,
            parameters=sum(0 if tensor is None else tensor.size for tensor in sizes),
            features=self._features,
            parity=self._parity,
            kept=False,
            reason=reason,
            notices=self._notices,
        )

    def _pieces(self, run: Run) -> int:
        """Parts of a batch, so that what one keeps for its backward pass fits the memory."""
        return max(1, math.ceil(saved_bytes(run.example) * run.batch / self._task.memory))

    def _digest(self, steps: int) -> str:
        """What a saved state belongs to."""
        task = self._task
        told = {
            "student": fingerprint(task.student),
            "teacher": None if task.teacher is None else fingerprint(task.teacher),
            "data": task.data.fingerprint(),
            "options": task.options.model_dump_json(exclude={"checkpoint", "length", "data"}),
            "steps": steps if task.length.seconds is None else task.length.asked,
            "seed": task.seed,
            "weights": self._subject.names,
            "threads": self._threads,
            "torch": torch.__version__,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@contextmanager
def _settled(options: TrainOptions, seed: int) -> Iterator[int]:
    """Threads, seed and determinism of torch, as they were afterwards.

    Raises:
        UsageError: There is no such device.
    """
    if options.device != "cpu" and not torch.cuda.is_available():
        raise UsageError(
            f"there is no device {options.device!r} here", hint="Train with --device cpu."
        )
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    threads = options.threads or cores()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            yield threads
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict)
