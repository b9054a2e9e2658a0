"""Commands that take what a case has broken."""

from fuzz.bases import QUICK
from fuzz.case import EARLIER, Case

_SHARES = (
    (0.35, ("inspect", "--quiet")),
    (0.20, ("lint", "--time-limit", "5")),
    (0.10, ("calibrate", "-o", "made.npz", "--no-cache")),
    (0.07, ("inspect", "--json")),
    (0.02, ("profile", "--measure-seconds", "0.01")),
    (0.03, ("compare", "--measure-seconds", "0.01", "--no-memory")),
    (0.14, ("run", "--quantize", "none")),
    (0.03, ("run",)),
    (0.02, ("run", "--keep-slower")),
    (0.015, ("run", "--prune", "40%", "--quantize", "none")),
    (0.01, ("run", "--quantize", "int8-dynamic")),
    (0.01, ("run", "--quantize", "int8-weights")),
    (0.005, ("run", "--quantize", "fp16")),
)
"""Commands that take a model, with their shares; the first four are quick."""
_QUICK = 4


def compress(case: Case, *argv: str) -> list[str]:
    """A run, whose output folder may hold an earlier result."""
    case.earlier()
    return [*argv, *QUICK, "-o", EARLIER]


def of_model(case: Case, path: str, data: str | None) -> list[str]:
    """One of the commands that take a model."""
    shares = _SHARES[:_QUICK] if case.cheap else _SHARES
    weights = [share for share, _ in shares]
    command, *options = case.rng("command").choices([argv for _, argv in shares], weights)[0]
    calib = [] if data is None or command == "lint" or "--json" in options else ["--calib", data]
    if command != "run":
        models = [path, path] if command == "compare" else [path]
        return [command, *models, *calib, *options]
    case.model, case.feeds = case.folder / path, None if data is None else case.folder / data
    return compress(case, path, *calib, *options)


def with_data(case: Case, model: str, data: str, *more: str) -> list[str]:
    """One of the commands that take data."""
    rng = case.rng("command")
    flag = rng.choice(("--calib", "--calib", "--eval"))
    if rng.random() < 0.75 or case.cheap:
        return ["calibrate", model, "--calib", data, *more, "-o", "made.npz", "--no-cache"]
    if flag == "--eval":
        case.copy("mlp.npz") if model == "mlp.onnx" else None
        return compress(case, model, "--eval", data, *more, "--quantize", "none")
    case.model, case.feeds = case.folder / model, None
    return compress(case, model, "--calib", data, *more)
