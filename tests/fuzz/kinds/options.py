"""Options with arguments that they do not take."""

from random import Random

import click

from fuzz import hostile
from fuzz.case import EARLIER, Case

_RIGHT = {
    "run": (
        "mlp.onnx", "--quantize", "none", "--no-memory", "--no-cache", "-o", EARLIER,
        "--measure-seconds", "0.01",
    ),
    "inspect": ("inspect", "mlp.onnx"), "lint": ("lint", "mlp.onnx"),
    "calibrate": ("calibrate", "mlp.onnx", "--calib", "mlp.npz", "-o", "made.npz"),
    "check": ("check", "done8"), "report": ("report", "done8"), "recipe": ("recipe",),
    "compare": (
        "compare", "mlp.onnx", "mlp.onnx", "--no-memory", "--measure-seconds", "0.01",
    ),
}  # fmt: skip
"""Commands, with arguments that they take."""
_LONG = {"measure_seconds", "train", "trials", "time_budget", "time_limit", "units", "workers",
         "latency", "speedup", "effort", "force", "verbose", "storage", "track", "help",
         "version"}  # fmt: skip
"""Options that may ask for long work, or for work elsewhere."""


_PLACES = (
    "made", "made/deeper", "mlp.onnx", "done8", ".", "-", "a" * 300, "é", hostile.MARKUP,
    hostile.ESCAPES,
)  # fmt: skip
"""Where something is written."""
_FILES = (
    "mlp.npz", "mlp.onnx", "net.py:data", "net.py:build", "net.py:nothing", "done8",
    "done8/plan.json", "recipe.toml", "state.pt", "/dev/null",
)  # fmt: skip
_FORMS = (
    "30%", "1%", "0.5pt", "2x", "1MB", "1/2", "0.5,0.5", "x:float32[n,16]", "x:float32[1]", "knee",
    "k=1", "1:1", "x:1x16,2x16,4x16", "int8", "*", "minmax", "percentile:50", "nhwc-to-nchw",
)  # fmt: skip


def options(case: Case) -> list[str]:
    """A command that is right, and options that it has."""
    from compressor.cli.main import cli

    rng = case.rng("base")
    weights = "state.pt" if (case.bases.folder / "state.pt").exists() else "mlp.npy"
    case.copy("mlp.onnx", "mlp.npz", "net.py", "done8", "recipe.toml", weights)
    quick = ("inspect", "lint", "calibrate", "check", "recipe")
    command = rng.choice(quick if case.cheap else (*quick, "run", "run", "report", "compare"))
    argv = list(_RIGHT[command])
    known = [
        p
        for p in cli.commands[command].params
        if isinstance(p, click.Option) and p.name not in _LONG
    ]
    for step in case.each():
        option = step.choice(known)
        argv.append(step.choice(option.opts))
        if not option.is_flag and not option.flag_value:
            argv.append(_argument(step, option))
    return [word.replace("\x00", "") for word in argv]


def _argument(rng: Random, option: click.Option) -> str:
    if option.name in ("output", "file", "cache", "directory"):
        return rng.choice(_PLACES)
    if isinstance(option.type, click.Choice) and rng.random() < 0.8:
        return str(rng.choice(list(option.type.choices)))
    return rng.choice(
        (
            rng.choice(_FILES),
            rng.choice(_FORMS),
            hostile.text(rng),
            str(hostile.integer(rng)),
            str(hostile.number(rng)),
        )
    )
