"""What the user asks for. Every field is a recipe key, a CLI flag and a Python argument."""

import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_serializer,
    field_validator,
    model_validator,
)

from calibration.preprocess import Preprocess, fraction
from compressor.errors import RecipeError
from compressor.recipe.budget import Budget, parse_budget, parse_duration
from compressor.recipe.effort import stands_for
from compressor.recipe.goal import FLAGS, Goal, Kind, parse_goal, share_of
from compressor.recipe.methods import METHODS, NORMS, Method
from compressor.recipe.training import TrainOptions
from compressor.recipe.usage import Usage, parse_usage
from compressor.system.nearby import did_you_mean
from exporters import DEFAULT_TARGET
from exporters.base import TargetOptions, options_of, target_names

Positive = Annotated[int, Field(gt=0)]

OFF = "none"
"""The value of `prune.macs` and --prune that prunes nothing."""


class Section(BaseModel):
    """Base of the recipe's sections."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelOptions(Section):
    """How the checkpoint becomes a module."""

    factory: str | None = Field(
        None, description="package.module:factory or file.py:factory, for a state dict."
    )
    args: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments for it.")
    task: str | None = Field(
        None,
        description="What a Hugging Face folder is for, such as text-classification; default: what "
        "its architecture is for.",
    )
    state_key: str | None = Field(
        None,
        description="Which of several state dicts in the file: a dotted key like ema, or what its "
        "names begin with; default: the one that fits.",
    )
    trust_pickle: bool = Field(
        False, description="Unpickle a whole module; this runs code from the file."
    )
    inputs: tuple[str, ...] = Field(
        (), description="name:dtype[dim,...] per input; names of dimensions are dynamic."
    )
    noise: Literal["inside", "input"] = Field(
        "inside",
        description="Where a model that draws random numbers gets them: inside, as it did, or as "
        "inputs of the artifact. Either way all that is compared sees the same numbers.",
    )


class DataOptions(Section):
    """Calibration and evaluation data."""

    calib: str | None = Field(None, description="Calibration data: a path or file.py:function.")
    eval: str | None = Field(None, description="Evaluation data, with labels: likewise.")
    samples: Positive | None = Field(None, description="Draw so many calibration samples.")
    stats: Path | None = Field(
        None, description="Calibration statistics that `compress calibrate` wrote."
    )
    tokenizer: Path | None = Field(
        None,
        description="File of the package tokenizers, or a folder with one, by which texts become "
        "tokens; default: the one in the model's folder.",
    )
    cache: Path | None = Field(
        None,
        description="Folder that keeps captures, statistics, kernel times and decisions for later "
        "runs, by all that they depend on; default: in the user's cache folder.",
    )
    reuse: bool = Field(
        True, description="Whether anything is kept for later runs, and taken from earlier ones."
    )
    preprocess: Preprocess = Preprocess()


class QuantizeOptions(Section):
    """Quantization."""

    mode: Literal[
        "int8", "int8-static", "int8-dynamic", "int8-weights", "int4", "fp16", "bf16", "none"
    ] = Field(
        "int8",
        description="Precision. For speed: int8; int8-static, without ranges found at run time; "
        "int8-dynamic, with no others and without calibration data. For size, weights only: "
        "int8-weights or int4, in blocks of integers; fp16 or bf16, in half. none folds only.",
    )
    ranges: str = Field(
        "auto",
        description="auto (per tensor, by the error at its consumers), minmax, percentile or "
        "percentile:99.9, samples or samples:99, entropy, mse.",
    )
    cpu: Literal["host", "vnni", "avx2", "arm64"] = Field(
        "host",
        description="CPU of the deployment; avx2 has no VNNI: pairs of weights fit its sums.",
    )
    activation: Literal["uint8", "int8"] | None = Field(
        None, description="Type of activations; default: the target's."
    )
    symmetric: bool | None = Field(
        None,
        description="Real zero in the middle of the integers of activations; default: the "
        "target's. Kernels that absorb Relu where it is false leave it in float then. For int4 and "
        "int8-weights of weights, without zero points; default: of 8 bits.",
    )
    weight_bits: Literal[2, 3, 4, 5, 6, 7, 8] | None = Field(
        None,
        description="Bits of weights; default: what the deployment CPU can sum, see cpu. 6 and "
        "fewer are stored and computed as 8, no faster.",
    )
    granularity: Literal["channel", "tensor"] | None = Field(
        None, description="One weight scale per output channel, or per tensor; default: channel."
    )
    block: Literal[16, 32, 64, 128, 256] = Field(
        32, description="Inputs of a matrix that share a scale, for int4 and int8-weights."
    )
    table_bits: Literal[4, 8] = Field(
        8, description="Bits that int4 gives to embeddings, and to what shares their weights."
    )
    compute: Literal["int8", "float"] = Field(
        "int8",
        description="What products of int4 and int8-weights compute in: int8 rounds activations, "
        "block by block, and is many times as fast.",
    )
    kv_cache: Literal["float", "int8", "auto"] = Field(
        "float",
        description="Cache of keys and values of a decoder: float, int8 or auto. With int8 its "
        "inputs and outputs are uint8. auto takes int8 where that is faster and a quality budget "
        "allows it.",
    )
    contrib: bool = Field(
        False,
        description="Let GroupQueryAttention of com.microsoft append to a decoder's cache in "
        "place, where that is faster. The file then takes buffers and two lengths; "
        "compressor.load calls it as before.",
    )
    leave: tuple[str, ...] = Field(
        (),
        description="Patterns of names of nodes or initializers that stay in float, whatever the "
        "precision: head.weight, or *head*.",
    )
    memory: Annotated[ByteSize, Field(ge=1_000_000)] | None = Field(
        None,
        description="Memory that calibration may take beside the model, like 4GB; as much again on "
        "disk for the calls of a pipeline. An ONNX file with more weights in files of their own is "
        "worked on block by block. Default: 1GB.",
    )
    keep_slower: bool = Field(
        False, description="Ship INT8, or what was pruned to a goal, even where it is not faster."
    )
    keep_ruined: bool = Field(
        False,
        description="Ship what was quantized even where its outputs no longer follow the "
        "original's, or where the calibration data does not vary.",
    )
    batch: Positive = Field(32, description="Samples per calibration step.")


class PruneOptions(Section):
    """Structured pruning: macs, params, speedup, latency, size or a budget says how far."""

    macs: str | None = Field(
        None,
        description="Share of multiply-accumulates to remove: 30%; none: nothing, whatever the "
        "quality budget would allow.",
    )
    params: str | None = Field(None, description="Share of parameters to remove: 50%.")
    speedup: str | None = Field(
        None, description="Speed over the float baseline, measured on the target: 1.5x."
    )
    latency: str | None = Field(
        None, description="Time of one inference, measured on the target: 4ms."
    )
    size: str | None = Field(None, description="Size of the artifact's file: 5MB.")
    threshold: str | None = Field(
        None,
        description="Remove all units whose norm (method l2 or l1) is below this share of the "
        "largest of their group: 0.05.",
    )
    method: Method = Field(
        METHODS[0],
        description=f"What tells which units matter: {', '.join(METHODS)}; taylor is of a "
        "loss's gradients.",
    )
    loss: str | None = Field(
        None,
        description="The loss of taylor, file.py:function of (outputs, batch); default: "
        "cross-entropy where calibration data has class labels.",
    )
    round: Positive | None = Field(
        None,
        description="What stays is a multiple of this, unless more than 1.2 times the share "
        "asked for would go; default: the target's.",
    )
    least: Annotated[float, Field(gt=0, le=1)] = Field(
        0.125, description='Share of every group that stays at least: 0.25 or "25%".'
    )
    leave: tuple[str, ...] = Field(
        (),
        description="Patterns of node or initializer names whose groups and blocks stay whole.",
    )
    blocks: bool = Field(True, description="Whether whole residual blocks may go.")
    repair: bool = Field(True, description="Refit what stays to the original by least squares.")
    sparsity: Literal["2:4"] | None = Field(
        None,
        description="2:4: of every four neighbouring input channels of a weight two become zero, "
        "which sparse tensor cores skip; for targets with such kernels.",
    )

    @field_validator("least", mode="before")
    @classmethod
    def _is_a_share(cls, given: object) -> object:
        share = share_of(given) if isinstance(given, str) else None
        return given if share is None else share

    @property
    def goal(self) -> Goal | None:
        """What is to be reached; None where no more is asked than a quality budget allows."""
        given = ((kind, getattr(self, kind)) for kind in FLAGS)
        return next(
            (parse_goal(kind, text) for kind, text in given if text not in (None, OFF)), None
        )

    @property
    def off(self) -> bool:
        """Whether nothing is to be pruned, even if a quality budget would allow it."""
        return self.macs == OFF

    @field_validator(*FLAGS)
    @classmethod
    def _is_a_goal(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None and (info.field_name, text) != ("macs", OFF):
            parse_goal(cast(Kind, info.field_name), text)
        return text

    @model_validator(mode="after")
    def _is_one_goal(self) -> Self:
        given = [FLAGS[kind] for kind in FLAGS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} cannot both say how far to prune")
        if self.threshold is not None and self.method not in NORMS:
            raise ValueError("--prune-threshold is of norms: it needs --prune-method l2 or l1")
        return self


class MeasureOptions(Section):
    """The deciding configuration and the metric."""

    batch: Positive = Field(1, description="Deciding batch size.")
    threads: Annotated[int, Field(ge=0)] = Field(1, description="Deciding threads; 0 is all.")
    phase: Literal["decode", "prefill"] = Field(
        "decode",
        description="The phase of a decoder with a cache in which regions are timed: decode, one "
        "token behind the cache, or prefill, a whole prompt. What ships is decided by both.",
    )
    context: Positive | None = Field(
        None,
        description="Tokens of that prompt, and in the cache behind which one token is timed. "
        "Default: what tokens come to, where they are given; as many as cache and input have "
        "together in the data; else 128.",
    )
    tokens: str | None = Field(
        None,
        description="PROMPT:NEW, what a decoder with a cache is used for: tokens that it reads at "
        "once, and tokens that it writes then. What ships is decided by the time of both. Default: "
        "64:64.",
    )
    metric: str | None = Field(
        None,
        description="A name, as docs/metrics.md lists them, or file.py:function; default: what "
        "fits outputs and labels.",
    )
    radius: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Most that attacks of robust_accuracy change any number that the model is fed: "
        "0.03, or 8/255. Behind mean and std that is so much times std of a stored value.",
    )
    attack_steps: Positive = Field(10, description="Steps of the attack PGD of robust_accuracy.")
    features: object = Field(
        None,
        description="Feature model of metrics such as fid and kid: an ONNX file, a checkpoint, "
        "checkpoint@file.py:factory, or file.py:function.",
    )
    output: str | None = Field(
        None,
        description="Output that the metric looks at; default: logits or output, else the first "
        "that is no state, such as a cache.",
    )
    seconds: Annotated[float, Field(gt=0)] = Field(
        4.0, description="Most time for the deciding latency measurement; others take a fourth."
    )
    memory: bool = Field(
        True, description="Peak memory of original and result, of a process each, is measured."
    )

    @field_serializer("features")
    def _by_name(self, features: object) -> str | None:
        """A live model is told by its name; what a file holds is a text."""
        if features is None or isinstance(features, str | Path):
            return None if features is None else str(features)
        return str(getattr(features, "__name__", type(features).__name__))

    @property
    def usage(self) -> Usage:
        """What a decoder is used for."""
        return Usage() if self.tokens is None else parse_usage(self.tokens)

    @field_validator("radius", mode="before")
    @classmethod
    def _is_a_number(cls, given: object) -> object:
        return fraction(given)

    @field_validator("tokens")
    @classmethod
    def _is_a_usage(cls, text: str | None) -> str | None:
        if text is not None:
            parse_usage(text)
        return text

    @field_validator("features")
    @classmethod
    def _is_a_model(cls, features: object) -> object:
        if isinstance(features, bool | int | float | list | dict):
            raise ValueError("expected the name of a file, or file.py:function")
        return features


class BudgetOptions(Section):
    """How much quality may be lost, in the metric of [measure]."""

    max_drop: str | None = Field(
        None, description="1% of the original's value, or 0.5pt: in the metric's unit or points."
    )
    accept: Literal["bound", "point"] = Field(
        "bound", description="bound: a 95 % bound must hold it; point: the measured value."
    )
    time: str | None = Field(
        None, description="Search for at most so long, 90s, 10m or 1.5h; then the best so far."
    )

    @property
    def allowed(self) -> Budget | None:
        """The budget, if there is one."""
        return None if self.max_drop is None else parse_budget(self.max_drop)

    @property
    def seconds(self) -> float | None:
        """The time for the search, if it is limited."""
        return None if self.time is None else parse_duration(self.time)

    @field_validator("max_drop")
    @classmethod
    def _is_a_budget(cls, text: str | None) -> str | None:
        if text is not None:
            parse_budget(text)
        return text

    @field_validator("time")
    @classmethod
    def _is_a_duration(cls, text: str | None) -> str | None:
        if text is not None:
            parse_duration(text)
        return text


Objective = Literal["latency", "quality", "size", "memory"]
Sampler = Literal["tpe", "nsga2", "gp", "cmaes", "random", "grid"]


class SearchOptions(Section):
    """What `compress search` looks for: many plans on one front; a plain run leaves it unread."""

    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = Field(
        ("latency", "quality"),
        description="What is minimized; of quality its loss, of memory the peak of a process.",
    )
    sampler: Sampler = Field(
        "tpe",
        description="What proposes recipes: tpe, nsga2, gp (needs torch), cmaes (one objective), "
        "random, or grid.",
    )
    trials: Positive | None = Field(
        None, description="Recipes to try; default: 60, with a time budget as many as it allows."
    )
    limits: tuple[str, ...] = Field(
        (), description='The most that an objective may be: "latency<=2ms", "size<=5MB".'
    )
    validation: str = Field(
        "holdout",
        description="How evaluation samples are used: holdout, at once, kfold:5 or "
        "stratified-kfold:5. The half that confirms stays apart.",
    )
    warm_start: bool = Field(
        True, description="Begin with the front of the sensitivity table; false begins anywhere."
    )
    storage: str | None = Field(
        None,
        description="URL of a database that several machines share; default: a journal in the "
        "output folder.",
    )
    study: str = Field("compress", description="Name of the study in that database.")
    pick: str | None = Field(
        None, description='Ship a point of the front: knee, or limits such as "latency<=2ms".'
    )
    space: dict[str, Any] = Field(
        default_factory=dict,
        description="What is varied, as [search.space]: a value, a list, or { low, high, step }; "
        "docs/search.md has the names, and what is varied by default.",
    )

    @field_validator("objectives")
    @classmethod
    def _are_different(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        if len(set(objectives)) < len(objectives):
            raise ValueError("an objective is given twice")
        return objectives


class GraphOptions(Section):
    """One graph of a pipeline."""

    model: str | None = Field(None, description="Its checkpoint, or ONNX file.")
    factory: str | None = Field(None, description="Its module, package.module:factory.")
    calib: str | None = Field(
        None, description="Its calibration data; default: what the loop feeds it."
    )
    inputs: tuple[str, ...] = Field(
        (), description="Type and shape of inputs that nothing else tells: name:dtype[dims]."
    )


class PipelineOptions(Section):
    """The loop over graphs; a table [graphs.NAME] is one of them: model, factory, calib, inputs."""

    loop: str | None = Field(
        None,
        description="The function generate(models, seed, count), as file.py:function, or the name "
        "of a built-in loop.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of a built-in loop; `compress recipe --pipeline NAME` prints them.",
    )
    units: Positive | None = Field(
        None,
        description="Generated units that judge; default: what a minute makes, at least 64.",
    )


def _of_targets() -> type[Section]:
    """A section for every target that lets something be chosen, under the target's name."""
    found = {name: options for name in target_names() if (options := options_of(name)) is not None}
    fields: dict[str, Any] = {name: (options, options()) for name, options in found.items()}
    return create_model("Targets", __base__=Section, __module__=__name__, **fields)


if TYPE_CHECKING:

    class Targets(Section):
        """The sections of targets, which are known when this module is imported."""

else:
    Targets = _of_targets()


class Recipe(Targets):
    """What is asked for, whole. `compress recipe` prints it as documented TOML.

    Every target that declares options has a section under its name beside those below.
    """

    target: str = Field(DEFAULT_TARGET, description="The runtime: see `compress targets`.")
    seed: int = Field(0, description="Seed of every random choice.")
    model: ModelOptions = ModelOptions()
    data: DataOptions = DataOptions()
    prune: PruneOptions = PruneOptions()
    quantize: QuantizeOptions = QuantizeOptions()
    train: TrainOptions = TrainOptions()
    measure: MeasureOptions = MeasureOptions()
    budget: BudgetOptions = BudgetOptions()
    search: SearchOptions = SearchOptions()
    pipeline: PipelineOptions = PipelineOptions()
    graphs: dict[str, GraphOptions] = Field(
        default_factory=dict, description="Graphs of the pipeline, by the loop's names for them."
    )
    package: Literal["triton"] | None = Field(
        None, description="Layout for a server beside the artifact: triton, a model repository."
    )
    output: Path | None = Field(
        None, description="Output folder; default: the checkpoint's name with -TARGET."
    )

    @property
    def target_options(self) -> TargetOptions | None:
        """What is chosen about the target; None where nothing can be."""
        return self.of_targets.get(self.target)

    @property
    def of_targets(self) -> dict[str, TargetOptions]:
        """Target → what is chosen about it, for all that let something be chosen."""
        return {name: value for name, value in self if isinstance(value, TargetOptions)}


def load_recipe(
    path: Path | None, overrides: dict[str, Any], *, effort: str | None = None
) -> Recipe:
    """Read a TOML recipe and lay `overrides` over it.

    Paths in the file are relative to the working directory, as they are on the command line.

    Args:
        path: The file; None without one.
        overrides: What is said beside it.
        effort: What is laid below both, by its name in `EFFORTS`.

    Raises:
        RecipeError: The file cannot be read, is not TOML, or holds an unknown or invalid field.
    """
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(
                f"recipe {path} cannot be read: {error.strerror}",
                hint=did_you_mean(path)
                or "`compress recipe > recipe.toml` writes one with every option explained.",
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RecipeError(f"recipe {path} is not TOML: {error}") from error
        if (field := _holding_nul(document)) is not None:
            raise RecipeError(f"{path}: field {field!r} holds a NUL character, as no name does")
    document = _merged(document, overrides)
    try:
        return Recipe.model_validate(_merged(stands_for(effort, document), document))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        where = "the command line" if path is None else str(path)
        raise RecipeError(
            f"{where}: field {field!r}: {_said(problem['type'], problem['msg'])}",
            hint="`compress recipe` prints every field with its meaning.",
        ) from error


def _holding_nul(document: object, field: str = "") -> str | None:
    """The field whose text no system takes for a name of anything; None where there is none."""
    if isinstance(document, str):
        return field if "\0" in document else None
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(document, dict):
        pairs = document.items()
    elif isinstance(document, list):
        pairs = enumerate(document)
    found = (_holding_nul(inner, f"{field}.{key}".lstrip(".")) for key, inner in pairs)
    return next((name for name in found if name is not None), None)


def _said(kind: str, message: str) -> str:
    """Pydantic's message in the words of a user."""
    if kind == "extra_forbidden":
        return "there is no such field"
    return message.removeprefix("Value error, ")


def to_toml(recipe: Recipe, loop: BaseModel | None = None) -> str:
    """The recipe as TOML, each field under its description; unset fields are commented out.

    Args:
        recipe: What is asked for.
        loop: The options of its built-in loop, which become a section of their own.
    """
    lines = ["# Recipe of `compress`. Command-line flags override it.", ""]
    lines += _fields(recipe, without=tuple(name for name, value in recipe if _of_sections(value)))
    sections = [(name, value) for name, value in recipe if isinstance(value, BaseModel)]
    for name, value in sorted(sections, key=lambda one: isinstance(one[1], TargetOptions)):
        apart = loop is not None and value is recipe.pipeline
        lines += _section(name, value, without=("options",) if apart else ())
        lines += _section("pipeline.options", loop) if apart and loop is not None else []
    for name, value in recipe:
        for key, section in value.items() if _of_sections(value) else ():
            lines += _section(f"{name}.{_key(key)}", section)
    return "\n".join(lines) + "\n"


def _of_sections(value: object) -> bool:
    """Whether it is a table of tables, as the graphs of a pipeline are."""
    return isinstance(value, dict) and any(isinstance(one, BaseModel) for one in value.values())


def _key(name: str) -> str:
    """A key of TOML, in quotes where it has to be."""
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name)


def _section(name: str, section: BaseModel, without: tuple[str, ...] = ()) -> list[str]:
    lines = ["", f"[{name}]"]
    doc = (type(section).__doc__ or "").strip().splitlines()
    lines += [f"# {doc[0]}"] if doc else []
    lines += _fields(section, without)
    for key, value in section:
        if isinstance(value, BaseModel):
            lines += _section(f"{name}.{key}", value)
    return lines


def _fields(section: BaseModel, without: tuple[str, ...] = ()) -> list[str]:
    lines = []
    for name, value in section:
        if isinstance(value, BaseModel) or name in without:
            continue
        lines.append(f"# {type(section).model_fields[name].description}")
        lines.append(f"# {name} =" if value is None or value == {} else f"{name} = {_toml(value)}")
    return lines


def _toml(value: object) -> str:
    """A TOML literal; JSON's are TOML's for text, numbers and booleans."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            value = _merged(known, value)  # noqa: PLW2901 - the section, laid over the one below
        merged[key] = value
    return merged
