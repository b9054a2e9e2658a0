"""What a search over recipes found: its trials, their front, and what was picked of it."""

from typing import Any, Literal

from pydantic import Field

from compressor.results.measurements import LatencyResult, QualityResult
from compressor.results.records import Interval, Record
from compressor.results.report import Environment

Objective = Literal["latency", "quality", "size", "memory"]
State = Literal["front", "dominated", "infeasible", "stopped", "failed"]


class Found(Record):
    """What one trial found; it is kept in the study, so that nothing is measured twice.

    Attributes:
        loss: Of quality, in the metric's unit; negative for a gain. None where it was not measured.
        loss_interval: Its 95 % interval: paired over samples, or over the folds of --validation.
        loss_bound: Its one-sided 95 % upper bound; None where the samples give none.
        quality: The metric of original and result on the samples that were searched on.
        predicted_ms: One inference, by the additive model of kernel times.
        file_bytes: The artifact's file.
        memory_bytes: Peak resident memory of a process that runs it.
        stopped: Why the trial ended before all was measured; None where it did not.
        samples: Evaluation samples that it was judged on.
        seconds: What it took.
        machine: Where it ran: host and processor.
        key: Digest of what is made: trials with the same make the same graph.
        same_as: The earlier trial that made the same recipe, whose figures these are.
    """

    loss: float | None = None
    loss_interval: Interval | None = None
    loss_bound: float | None = None
    quality: QualityResult | None = None
    predicted_ms: float | None = None
    file_bytes: int | None = None
    memory_bytes: int | None = None
    stopped: str | None = None
    samples: int = 0
    seconds: float = 0.0
    machine: str = ""
    key: str = ""
    same_as: int | None = None


class SearchTrial(Record):
    """A trial in the report of a search.

    Attributes:
        number: Its number in the study.
        recipe: Variable → value.
        state: front, dominated, infeasible (a budget or limit is not kept), stopped or failed.
        values: Objective → value, all minimized: seconds, loss, bytes.
        found: What was measured.
        latency: Of what is on the front, raced against the float baseline after the search.
        outdone: Whether another point of the front is better in everything by that race.
        plan: The plan, from the output folder on; None for what is not on the front.
    """

    number: int
    recipe: dict[str, str | float | int]
    state: State
    values: dict[str, float] = Field(default_factory=dict)
    found: Found = Found()
    latency: LatencyResult | None = None
    outdone: bool = False
    plan: str | None = None


class Picked(Record):
    """What --pick shipped.

    Attributes:
        asked: As it was written.
        trial: The trial that was taken.
        folder: Where the artifact lies, from the output folder on.
        met: Whether the samples that no trial has seen confirm the budget; None without one.
        reason: What they say.
    """

    asked: str
    trial: int
    folder: str
    met: bool | None
    reason: str


class SearchReport(Record):
    """`front.json`: a search over recipes.

    Attributes:
        source: The model, in words.
        target: The runtime.
        created: When.
        seconds: What this run took; earlier runs of a resumed search are not in it.
        command: The command line.
        objectives: What is minimized, in order; of quality its loss.
        metric: What quality is measured in, and its unit.
        allowed: The loss that --max-drop allows, in that unit; None without.
        sampler: What proposed recipes.
        seed: Of every random choice.
        validation: How the samples that are searched on were used, in words.
        space: Variable → its values, in words.
        trials: In order.
        front: Numbers of the trials that nothing dominates, by rising latency or the first
            objective.
        hypervolume: After each trial, the share of the box up to `reference` that is dominated.
        reference: Objective → the worst that counts there.
        importances: Objective → variable → its share in the variance of what trials found.
        importance_by: What estimated them.
        study: Where the trials are kept, and how to look at them.
        picked: What was shipped; None where nothing was asked for.
        notices: What the user should know.
    """

    format: Literal["compressor-front/1"] = "compressor-front/1"
    source: str
    target: str
    created: str
    seconds: float
    command: str | None = None
    objectives: tuple[Objective, ...]
    metric: str
    unit: str
    allowed: float | None = None
    sampler: str
    seed: int
    validation: str
    space: dict[str, str]
    trials: tuple[SearchTrial, ...]
    front: tuple[int, ...]
    hypervolume: tuple[float, ...] = ()
    reference: dict[str, float] = Field(default_factory=dict)
    importances: dict[str, dict[str, float]] = Field(default_factory=dict)
    importance_by: str = ""
    study: dict[str, Any] = Field(default_factory=dict)
    picked: Picked | None = None
    notices: tuple[str, ...] = ()
    environment: Environment
