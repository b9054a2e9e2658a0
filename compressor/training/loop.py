"""The steps of one training, between looks at the held-out samples, and the best moment of them."""

import math
import time
from collections.abc import Callable

import numpy as np

from compressor.results import format as fmt
from compressor.results.training import CurvePoint
from compressor.system.progress import Advance, Progress, say
from compressor.training.measuring import looks_of
from compressor.training.run import Run
from compressor.training.state import load_state, save_state


class Loop:
    """The steps, between looks at the held-out samples."""

    def __init__(
        self,
        run: Run,
        before: float,
        steps: int,
        clock: Callable[[], float],
        digest: str,
        *,
        stops: bool,
        timed: bool,
    ) -> None:
        self.least, self.done, self.seconds, self.cpu = before, 0, 0.0, 0.0
        self.curve = [CurvePoint(step=0, seconds=0.0, held_out=before, rate=run.learning_rate)]
        self._run, self._steps, self._clock, self._digest = run, steps, clock, digest
        self._waited, self._path = 0, run.options.checkpoint
        self._stops, self._timed, self.interrupted = stops, timed, False

    def go(self, progress: Progress) -> str:
        """All of them; how it ended, as the end of a sentence."""
        self._resumed(progress)
        worked, began = time.process_time(), self._clock() - self.seconds
        worked -= self.cpu
        looks = looks_of(self._run.options.looks, self._steps, timed=self._timed)
        ends = sorted({round((i + 1) * self._steps / looks) for i in range(looks)})
        said = ""
        with progress.stage("train", total=self._steps) as advance:
            advance(self.done)
            for end in (one for one in ends if one > self.done):
                try:
                    with progress.stage(self._told()):
                        ended = self._until(end, advance, began, worked)
                except KeyboardInterrupt:
                    if not self._stops:
                        raise
                    self.interrupted = True
                    return f"; interrupted after step {self.done:,} of {self._steps:,}"
                if ended is not None:
                    return ended
                patience = self._run.options.patience
                if patience is not None and self._waited >= patience and end < self._steps:
                    said = f"; stopped after {fmt.plural(self._waited, 'look')} without a gain"
                    break
        if self._path is not None and self._run.world.is_first:
            self._path.unlink(missing_ok=True)
        return said

    def _until(self, end: int, advance: Advance, began: float, worked: float) -> str | None:
        """The steps up to the next look, and that; how it ended, where a loss was no number."""
        losses = []
        for number in range(self.done, end):
            losses.append(self._run.step(number))
            advance(1)
            if not math.isfinite(losses[-1]):
                return f"; the loss was no number at step {number + 1}, where it ended"
        self.done = end
        self.seconds = self._clock() - began
        self.cpu = time.process_time() - worked
        self._look(float(np.mean(losses)))
        return None

    def _look(self, loss: float) -> None:
        held = self._run.look()
        point = CurvePoint(
            step=self.done,
            seconds=self.seconds,
            loss=loss,
            held_out=held if math.isfinite(held) else None,
            rate=self._run.learning_rate,
        )
        self.curve.append(point)
        self._waited += 1
        if held < self.least:
            self.least, self._waited = held, 0
            self._run.keep(self.done)
        if self._path is not None and self._run.world.is_first:
            state = self._run.state() | {
                "digest": self._digest,
                "steps": self._steps,
                "rate": self._run.rate,
                "done": self.done,
                "least": self.least,
                "waited": self._waited,
                "seconds": self.seconds,
                "cpu": self.cpu,
                "curve": [one.model_dump() for one in self.curve],
            }
            save_state(self._path, state)

    def _resumed(self, progress: Progress) -> None:
        """Go on where a killed run was."""
        state = None if self._path is None else load_state(self._path, self._digest)
        if state is None:
            return
        if state["steps"] != self._steps:
            self._steps = state["steps"]
            self._run.begin(self._steps)
        self._run.resume(state)
        self.done, self.least, self._waited = state["done"], state["least"], state["waited"]
        self.seconds, self.cpu = state["seconds"], state["cpu"]
        self.curve = [CurvePoint(**one) for one in state["curve"]]
        say(progress, f"training goes on at step {self.done:,} of {self._steps:,}")

    def _told(self) -> str:
        """Where it is: step, losses, rate and time left."""
        last = self.curve[-1]
        told = [f"step {self.done:,} of {self._steps:,}"]
        if last.loss is not None:
            told.append(f"loss {last.loss:.4g}")
        if last.held_out is not None:
            told.append(f"held out {last.held_out:.4g}")
        told.append(f"rate {self._run.learning_rate:.2g}")
        if self.done:
            left = self.seconds / self.done * (self._steps - self.done)
            told.append(f"{fmt.seconds(left)} left")
        return ", ".join(told)
