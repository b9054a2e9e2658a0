"""The options of the commands, under their headings."""

from pathlib import Path

import click

from compressor.cli.parsing import (
    calib,
    factory_arguments,
    graphs,
    image_size,
    layout,
    number,
    numbers,
    pipeline_options,
    words,
)
from compressor.cli.sections import TERMINAL, Decorator, section, together
from compressor.cli.targets import complete_targets, target_options
from compressor.errors import UsageError
from compressor.pipelines.builtin import loop_names
from compressor.recipe.methods import METHODS
from exporters import DEFAULT_TARGET

_INPUT = (
    "Type and shape of an input, like image:float32[batch,3,224,224] (repeatable). Needed where "
    "neither data nor model tells. Names are dynamic sizes; past+seq is their sum."
)


def _input_option(words: str) -> Decorator:
    """`--input NAME:DTYPE[DIMS]`, and what it is for there."""
    return click.option("--input", "inputs", multiple=True, metavar="NAME:DTYPE[DIMS]", help=words)


_LOADING = section(
    "Loading the model",
    click.option(
        "--model", "model_factory", metavar="SPEC",
        help="Factory of the module that a state dict is for: package.module:factory or "
        "file.py:factory.",
    ),
    click.option(
        "--model-args", multiple=True, callback=factory_arguments, metavar="KEY=VALUE",
        help="Keyword argument of the factory (repeatable), or a JSON object.",
    ),
    click.option(
        "--state-key", metavar="KEY",
        help="Key of the state dict to load from a file with several, like ema. [default: the one "
        "that fits]",
    ),
    click.option(
        "--task", metavar="NAME",
        help="Task of a Hugging Face folder, like text-classification. [default: what its "
        "architecture is for]",
    ),
    click.option(
        "--trust-pickle", is_flag=True,
        help="Unpickle a whole module. This runs code from the file: only for files you trust. "
        "With --model the weights are read without it.",
    ),
    click.option(
        "--noise", type=click.Choice(["inside", "input"]),
        help="Source of the random numbers that the model draws: inside the artifact, or an input "
        "of it. [default: inside]",
    ),
)  # fmt: skip

LOADING = together(_LOADING, section("Loading the model", _input_option(_INPUT)))

LOADING_GRAPHS = together(
    _LOADING,
    section(
        "Loading the model",
        _input_option(f"{_INPUT} GRAPH/NAME:... is of one graph of a pipeline."),
    ),
)

_LOOPS = "Pipelines of several graphs"

UNITS = click.option(
    "--units", type=click.IntRange(2), metavar="N",
    help="Number of generated units that judge. [default: what a minute makes, at least 64]",
)  # fmt: skip

LOOP_OPTION = click.option(
    "--pipeline-option", "pipeline_options", multiple=True, callback=pipeline_options,
    metavar="NAME=VALUE",
    help="Option of a built-in loop (repeatable): steps=20. `compress recipe --pipeline NAME` "
    "lists them.",
)  # fmt: skip

COMPARED_LOOP = section(
    _LOOPS,
    click.option(
        "--pipeline", metavar="SPEC",
        help="Loop over the graphs of two result folders: generate(models, seed, count) as "
        "file.py:function, or a built-in one by name. What it returns is compared.",
    ),
    LOOP_OPTION,
    UNITS,
)  # fmt: skip

PIPELINE = section(
    _LOOPS,
    click.option(
        "--pipeline", metavar="SPEC",
        help="Loop over the graphs: generate(models, seed, count) as file.py:function, or "
        f"{', '.join(loop_names())}. What it feeds them calibrates them; what it returns is "
        "judged.",
    ),
    LOOP_OPTION,
    click.option(
        "--graph", "graphs", multiple=True, callback=graphs, metavar="NAME=MODEL[@FACTORY]",
        help="Graph of the loop by the name it is called (repeatable), in place of MODEL.",
    ),
    UNITS,
)  # fmt: skip

_FORMS = (
    "Calibration data: arrays (.npz, .npy, or a folder of .npz), a folder of images or recordings, "
    "a table (.csv, .jsonl, .parquet, .txt), or file.py:function."
)

_CALIB = click.option("--calib", metavar="DATA", help=_FORMS)

CALIB_OF_GRAPHS = section(
    "Data",
    click.option(
        "--calib", multiple=True, callback=calib, metavar="DATA",
        help=f"{_FORMS} For one graph of a pipeline NAME=DATA (repeatable), in place of what the "
        "loop feeds it.",
    ),
)  # fmt: skip

_DATA = section(
    "Data",
    click.option(
        "--eval", metavar="DATA", help="Evaluation data in the same forms, with or without labels."
    ),
    click.option(
        "--samples", type=click.IntRange(1), metavar="N",
        help="Number of calibration samples to draw. [default: all]",
    ),
    click.option(
        "--tokenizer", type=click.Path(path_type=Path), metavar="FILE",
        help="Tokenizer of texts: tokenizer.json, or its folder. [default: the model folder's]",
    ),
    click.option(
        "--layout", callback=layout, metavar="ORDER",
        help="Transposition of stored data to the input's order of axes: nhwc-to-nchw or "
        "nchw-to-nhwc.",
    ),
    click.option(
        "--scale", callback=number, metavar="X",
        help="Factor of stored values, before --mean and --std: 1/255.",
    ),
    click.option(
        "--mean", callback=numbers, metavar="X,Y,Z",
        help="Mean of each channel, subtracted from values.",
    ),
    click.option(
        "--std", callback=numbers, metavar="X,Y,Z",
        help="Standard deviation of each channel, by which values are divided.",
    ),
    click.option(
        "--image-size", callback=image_size, metavar="HxW",
        help="Size that images of a folder are resized to: 224 or 224x192.",
    ),
    click.option(
        "--crop", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
        help="Share of an image's side that the centre crop keeps: 0.875.",
    ),
    click.option(
        "--fit", type=click.Choice(["cover", "stretch"]),
        help="Way to the image size: cover keeps the aspect, stretch does not. [default: cover]",
    ),
    click.option(
        "--interpolation",
        type=click.Choice(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]),
        help="Filter of resized images. [default: bilinear]",
    ),
)  # fmt: skip

DATA = together(section("Data", _CALIB), _DATA)

LOOP_DATA = together(CALIB_OF_GRAPHS, _DATA)

SEED = click.option(
    "--seed", type=int, metavar="N", help="Seed of every random choice. [default: 0]"
)


def recipe_option(words: str) -> Decorator:
    """`--recipe FILE`, and what it is for there."""
    file = click.Path(path_type=Path)
    return click.option("--recipe", "recipe_file", type=file, metavar="FILE", help=words)


TIMING = section(
    "Measuring",
    click.option(
        "--batch", type=click.IntRange(1), metavar="N",
        help="Batch size at which latency decides. [default: 1]",
    ),
    click.option(
        "--threads", type=click.IntRange(0), metavar="N",
        help="Threads at which latency decides, 0 for all. [default: 1]",
    ),
    click.option(
        "--phase", type=click.Choice(["decode", "prefill"]),
        help="Decoder phase that comes first, in which regions are timed: one token behind the "
        "cache, or a whole prompt. [default: decode]",
    ),
    click.option(
        "--context", type=click.IntRange(1), metavar="TOKENS",
        help="Context length of a decoder: tokens of a prompt, or in the cache. [default: the "
        "data's, else 128]",
    ),
    click.option(
        "--tokens", metavar="PROMPT:NEW",
        help="Use of a decoder with a cache: tokens that it reads at once, and tokens that it "
        "writes then. The time of both decides. [default: 64:64]",
    ),
    click.option(
        "--measure-seconds", type=click.FloatRange(0, min_open=True), metavar="S",
        help="Longest time of the deciding latency measurement. [default: 4]",
    ),
    SEED,
)  # fmt: skip

JUDGING = section(
    "Measuring",
    click.option(
        "--metric", metavar="NAME",
        help="Quality metric, such as accuracy, psnr or fid: docs/metrics.md lists all. Or "
        "file.py:function. [default: the first that fits]",
    ),
    click.option(
        "--radius", callback=number, metavar="R",
        help="Radius of the attacks of --metric robust_accuracy: most that any number the model is "
        "fed changes, such as 0.03 or 8/255.",
    ),
    click.option(
        "--features", metavar="MODEL",
        help="Feature model of metrics such as fid and kid: an ONNX file, CHECKPOINT, "
        "CHECKPOINT@FACTORY, or file.py:function.",
    ),
    click.option(
        "--output-metric", metavar="OUTPUT",
        help="Output that the metric reads. [default: logits, output, or the first that is no "
        "state]",
    ),
    click.option(
        "--no-memory", "measure_memory", flag_value="no",
        help="Peak memory is not measured, which takes a process for each model.",
    ),
)  # fmt: skip

MEASURING = together(TIMING, JUDGING)

_EVIDENCE = click.option(
    "--budget", "accept", type=click.Choice(["bound", "point"]),
    help="Evidence that accepts a result: a 95 % confidence bound of the loss, or its point "
    "estimate. [default: bound]",
)  # fmt: skip

_LOSS = "a loss of 1% of the original's value, or of 0.5pt in the metric's unit."

BUDGET = section(
    "Quality budget",
    click.option(
        "--max-drop", metavar="LOSS",
        help=f"Quality budget: {_LOSS} It also prunes as far as that allows. Exit code 3 if not "
        "met.",
    ),
    _EVIDENCE,
    click.option(
        "--time-budget", metavar="TIME",
        help="Time limit of the search: 90s, 10m or 1.5h. The best candidate by then ships.",
    ),
)  # fmt: skip

SEARCHED_BUDGET = section(
    "Quality budget",
    click.option(
        "--max-drop", metavar="LOSS",
        help=f"Quality budget: {_LOSS} Trials that lose more are given up. Exit code 3 if what "
        "--pick ships does not meet it.",
    ),
    _EVIDENCE,
    click.option(
        "--time-budget", metavar="TIME",
        help="Time limit of the trials: 90s, 10m or 1.5h. The front is of those that ended.",
    ),
)  # fmt: skip

TARGETS = target_options()

PRUNING = section(
    "Pruning",
    click.option(
        "--prune", metavar="SHARE",
        help="Share of the multiply-accumulates to remove: 30%. none prunes nothing. [default: as "
        "much as --max-drop allows, else none]",
    ),
    click.option(
        "--params", metavar="SHARE", help="Share of the parameters to remove: 50%."
    ),
    click.option(
        "--speedup", metavar="RATIO",
        help="Speed-up over the float baseline to prune to, as measured: 1.5x.",
    ),
    click.option(
        "--latency", metavar="TIME",
        help="Latency of one inference to prune to, as measured: 4ms.",
    ),
    click.option("--size", metavar="SIZE", help="Size of the model file to prune to: 5MB."),
    click.option(
        "--prune-threshold", metavar="FRACTION",
        help="Norm below which channels are removed, relative to the largest of their group: 0.05. "
        "Needs --prune-method l2 or l1.",
    ),
    click.option(
        "--prune-method",
        type=click.Choice(METHODS),
        help="Importance criterion of channels, heads and hidden units. "
        f"[default: {METHODS[0]}]",
    ),
    click.option(
        "--prune-loss", metavar="FILE:FUNCTION",
        help="Loss function of --prune-method taylor. [default: cross-entropy of class labels]",
    ),
    click.option(
        "--prune-round", type=click.IntRange(1), metavar="N",
        help="Multiple that channel counts are kept at. [default: the target's]",
    ),
    click.option(
        "--prune-least", metavar="SHARE",
        help="Least share of every group that stays: 25% or 0.25. [default: 0.125]",
    ),
    click.option(
        "--prune-leave", multiple=True, metavar="PATTERN",
        help="Names of nodes or weights whose groups and blocks stay whole, like '*head*' "
        "(repeatable).",
    ),
    click.option(
        "--no-prune-blocks", "prune_blocks", flag_value="no",
        help="Residual blocks stay. apply_plan cannot take them out of a module.",
    ),
    click.option(
        "--sparsity", type=click.Choice(["2:4"]),
        help="2:4 sparsity: two of every four neighbouring weights become zero, the others are "
        "refitted. Needs --calib, and a target whose kernels skip zeros.",
    ),
)  # fmt: skip

TRAINING = section(
    "Training",
    click.option(
        "--train", metavar="LENGTH",
        help="Training with gradients from the original's own outputs, for so long: 5m, 2000steps "
        "or 10epochs. The recipe's [train] has the rest. Needs the extra torch.",
    ),
    click.option(
        "--train-data", metavar="DATA",
        help="Training data in the forms of --calib, with or without labels. [default: --calib]",
    ),
    click.option(
        "--attention", metavar="FORM",
        help="Efficient attention, window:128 (tokens that each sees) or linear, in the layers "
        "where it is faster. Distilled from the original, so that it needs --train.",
    ),
    click.option(
        "--exits", type=click.IntRange(min=1), metavar="N",
        help="Early exits of a classifier, at most: samples that a head is sure of leave at the "
        "end of a block. Kept where the mean latency falls within --max-drop, which it needs.",
    ),
    click.option(
        "--device", type=click.Choice(["cpu", "cuda"]),
        help="Device that training runs on. [default: cpu]",
    ),
)  # fmt: skip

SHOWING = section(
    TERMINAL,
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
    click.option(
        "-v", "--verbose", is_flag=True,
        help="Show messages of other libraries, and the traceback of an error.",
    ),
)  # fmt: skip

WORKERS = click.option(
    "--workers", metavar="N|HOST:PORT|auto", default="1",
    help="Number of processes here that share the work, or the address of a Ray cluster. "
    "[default: 1]",
)  # fmt: skip

SEARCHED = section(
    "Target and output",
    click.option(
        "--target", metavar="NAME", shell_complete=complete_targets,
        help="Runtime of the artifacts; `compress targets` lists them. "
        f"[default: {DEFAULT_TARGET}]",
    ),
    click.option(
        "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
        help="Folder of study and front. A search that was broken off goes on there. [default: "
        "MODEL's name with -TARGET-search]",
    ),
    recipe_option("Recipe in TOML; its section [search.space] says what is varied."),
    click.option("--force", is_flag=True, help="Begin anew, whatever the folder holds."),
)  # fmt: skip

SEARCH = section(
    "Search",
    click.option(
        "--objectives", callback=words, metavar="NAMES",
        help="Objectives, of latency, quality, size and memory. [default: latency,quality]",
    ),
    click.option(
        "--trials", type=click.IntRange(1), metavar="N",
        help="Number of recipes to try. [default: 60; with --time-budget as many as it allows]",
    ),
    click.option(
        "--sampler", metavar="NAME",
        help="Sampler: tpe, nsga2, gp, cmaes, random or grid. [default: tpe]",
    ),
    click.option(
        "--limit", "limits", multiple=True, metavar="LIMIT",
        help='Limit of an objective (repeatable): "latency<=2ms" or "size<=5MB".',
    ),
    click.option(
        "--pick", metavar="POINT",
        help='Point of the front to ship into DIR/picked: knee, or limits as "latency<=2ms". It is '
        "confirmed on samples that no trial has seen.",
    ),
    click.option(
        "--validation", metavar="HOW",
        help="Use of the evaluation samples that are searched on: holdout, kfold:5 or "
        "stratified-kfold:5. [default: holdout]",
    ),
    click.option(
        "--no-warm-start", "warm_start", flag_value="no",
        help="Trials begin at random, and not with the front of the sensitivity table.",
    ),
    WORKERS,
    click.option(
        "--storage", metavar="URL",
        help="Database that several machines share: postgresql+psycopg://USER@HOST/NAME. "
        "[default: a journal in DIR]",
    ),
    click.option(
        "--study", metavar="NAME", help="Name of the study in that database. [default: compress]"
    ),
)  # fmt: skip

OUTPUT = section(
    "Target and output",
    click.option(
        "--target", metavar="NAME", shell_complete=complete_targets,
        help="Runtime of the artifact; `compress targets` lists them. Several: ort,trt. "
        f"[default: {DEFAULT_TARGET}]",
    ),
    click.option(
        "-k", "--keep-going", is_flag=True,
        help="Run the other models and targets even if one fails.",
    ),
    click.option(
        "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
        help="Output folder. [default: MODEL's name with -TARGET]",
    ),
    recipe_option("Recipe in TOML; flags override it. `compress recipe` prints one."),
    click.option(
        "--plan", type=click.Path(path_type=Path), metavar="FILE",
        help="Plan to replay: plan.json of an earlier run. The same model gives the same bytes.",
    ),
    click.option(
        "--force", is_flag=True, help="Replace an output folder that compress did not write."
    ),
    click.option(
        "--package", type=click.Choice(["triton"]),
        help="Layout for a server, beside the artifact: triton, a model repository.",
    ),
    click.option(
        "--effort", type=click.Choice(["fast", "default", "best"]),
        help="Time to spend. fast: --samples 128 --measure-seconds 1, and with --max-drop "
        "--time-budget 60s. best: --measure-seconds 12.",
    ),
    click.option(
        "--track", multiple=True, metavar="NAME",
        help="Tracker that the run is logged to: mlflow, tensorboard or wandb (repeatable).",
    ),
)  # fmt: skip

SHARING = section("Target and output", WORKERS)

QUANTIZATION = section(
    "Quantization",
    click.option(
        "--quantize",
        type=click.Choice(
            ["int8", "int8-static", "int8-dynamic", "int8-weights", "int4", "fp16", "bf16", "none"]
        ),
        help="Precision. For speed: int8; int8-static, without ranges found at run time; "
        "int8-dynamic, with no others and without --calib. For size, weights only: int8-weights, "
        "int4, fp16, bf16. none keeps float. [default: int8]"
    ),
    click.option(
        "--ranges", metavar="METHOD",
        help="Range method: auto, minmax, percentile[:99.9], samples[:99], entropy or mse. "
        "[default: auto]",
    ),
    click.option(
        "--stats", type=click.Path(path_type=Path), metavar="FILE",
        help="Calibration statistics of `compress calibrate`, instead of a pass over --calib.",
    ),
    click.option(
        "--keep-slower", is_flag=True,
        help="Ship INT8, or a graph pruned to a goal, even if it is not faster.",
    ),
    click.option(
        "--keep-ruined", is_flag=True,
        help="Ship a quantized graph even if its outputs no longer follow the original's, or the "
        "calibration data does not vary.",
    ),
    click.option(
        "--kv-cache", type=click.Choice(["float", "int8", "auto"]),
        help="Cache of keys and values of a decoder: int8 makes its inputs and outputs uint8, auto "
        "does where that is faster and --max-drop allows it. [default: float]",
    ),
    click.option(
        "--contrib", is_flag=True,
        help="Let GroupQueryAttention of com.microsoft append to a decoder's cache in place, where "
        "faster: the file's inputs change, compressor.load hides that.",
    ),
)  # fmt: skip

CALIBRATION = section(
    "Quantization",
    click.option(
        "--cpu", type=click.Choice(["host", "vnni", "avx2", "arm64"]),
        help="CPU of the deployment; for avx2 (no VNNI) pairs of weights fit into its sums of 16 "
        "bits. [default: host]",
    ),
    click.option(
        "--activation", type=click.Choice(["uint8", "int8"]),
        help="Integer type of activations. [default: the target's]",
    ),
    click.option(
        "--symmetric", is_flag=True,
        help="Symmetric ranges of activations; ONNX Runtime then keeps Relu in float.",
    ),
    click.option(
        "--weight-bits", type=click.Choice(["2", "3", "4", "5", "6", "7", "8"]),
        help="Bits of INT8 weights; 6 and fewer are no faster. [default: by --cpu]",
    ),
    click.option(
        "--granularity", type=click.Choice(["channel", "tensor"]),
        help="Weight scales: one per output channel, or one per tensor. [default: channel]",
    ),
    click.option(
        "--calib-batch", type=click.IntRange(1), metavar="N",
        help="Batch size of calibration. [default: 32]",
    ),
    click.option(
        "--cache", "--calib-cache", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
        help="Folder that keeps captures, statistics, kernel times and decisions for later runs. "
        "[default: the user's]",
    ),
    click.option(
        "--no-cache", "reuse", flag_value="no",
        help="Nothing is taken from earlier runs, or kept for later ones.",
    ),
    click.option(
        "--memory", metavar="SIZE",
        help="Memory limit of calibration, beside the model: 4GB. `compress MODEL` works on an "
        "ONNX file with more weights in files of their own block by block. [default: 1GB]",
    ),
)  # fmt: skip


def reject_both(as_json: bool, quiet: bool) -> None:
    """`--json` prints and `--quiet` does not: asking for both is a mistake.

    Raises:
        UsageError: Both are set.
    """
    if as_json and quiet:
        raise UsageError("--json and --quiet contradict each other", hint="Choose one.")
