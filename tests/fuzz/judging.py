"""Whether a case passed; and of an artifact, whether it runs and is what its report says."""

import json
import re
import unicodedata
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fuzz import hostile
from fuzz.case import EARLIER, Case
from fuzz.running import Ended

_DONE = (0, 3, 5)
_REFUSED = (2, 3, 4, 5)


def fault(ended: Ended) -> str | None:
    """What is wrong with how a command ended, as a line that faults of a kind share; else None."""
    if ended.code is None:
        return f"hangs: {_place(ended.trace)}"
    if ended.code < 0:
        return f"signal {-ended.code}: {_place(ended.trace)}"
    if ended.code == 0:
        return ended.wrong or _said(ended)
    if ended.code not in _REFUSED:
        return f"exit {ended.code}: {_first_error(ended.err)} at {_place(ended.trace)}"
    if "Traceback" in ended.err or "Traceback" in ended.out:
        return f"a traceback is shown: {_place(ended.trace)}"
    if len(re.findall(r"(?mi)^error: ", ended.err)) != 1:
        return f"exit {ended.code} without one message: {_place(ended.trace)}"
    return ended.wrong or _said(ended)


def _said(ended: Ended) -> str | None:
    for letter in ended.out + ended.err:
        kind = unicodedata.category(letter)
        if (kind in ("Cc", "Cf", "Zl", "Zp") and letter not in "\n\t") or letter == "\r":
            return f"the terminal gets U+{ord(letter):04X}: {_first_error(ended.err)[:60]}"
    longest = max(map(len, ended.err.splitlines()), default=0)
    return "a message of more than 2,500 letters" if longest > 2500 else None


def _first_error(err: str) -> str:
    found = re.search(r"(?mi)^error: (.*)", err)
    return re.sub(r"\d+|'[^']*'", "_", found[1] if found else err[-100:])[:90]


def _place(trace: str) -> str:
    """Innermost lines of a traceback, of ours and of all."""
    if "most recent call first" in trace:
        found = re.findall(
            r'File "([^"]+)", line (\d+)(?: in (\S+))?',
            trace.partition("most recent call first")[2],
        )
    else:
        found = list(reversed(re.findall(r'File "([^"]+)", line (\d+), in (\S+)', trace)))
    places = [f"{'/'.join(Path(file).parts[-2:])}:{line} {name}" for file, line, name in found]
    ours = [
        p
        for p, (file, *_) in zip(places, found, strict=True)
        if "/compressor/" in file or "/calibration/" in file or "/exporters/" in file
    ]
    last = trace.strip().splitlines()[-1:] if "most recent call first" not in trace else []
    what = re.sub(r"\d+|'[^']*'", "_", "".join(last))[:100]
    return " < ".join(dict.fromkeys([*places[:1], *ours[:2]])) + (f" [{what}]" if what else "")


def sealed(folder: Path) -> str:
    """A digest of all files within."""
    found = sha256()
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        found.update(str(path.relative_to(folder)).encode() + b"\0")
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


def judged(case: Case) -> Any:
    """A function that says what is wrong with the result of a case, called where it ran."""
    before = sealed(case.folder / EARLIER)

    def after(code: int) -> str | None:
        result = case.folder / EARLIER
        if (case.folder / "hacked").exists():
            return "code of the file has run"
        if code not in (0, 3) and sealed(result) != before:
            return "the earlier result is lost"
        if code in (0, 3) and (result / "report.json").exists():
            return _wrong_result(case, result) or _unescaped(result)
        return _unescaped(case.folder / "old") if (case.folder / "old").exists() else None

    return after


def _unescaped(folder: Path) -> str | None:
    for name in ("report.html", "report.md", "USAGE.md", "build_engine.py"):
        path = folder / name
        text = path.read_text(errors="replace") if path.exists() else ""
        text = re.sub(r"(?ms)^```.*?^```", "", text)  # code, which is shown as it is
        if hostile.MARKUP in text:
            return f"markup of a file stands in {name}"
        if "\x1b" in text:
            return f"control characters of a file stand in {name}"
    return None


def _wrong_result(case: Case, result: Path) -> str | None:
    manifest = json.loads((result / "manifest.json").read_text())
    for name, seal in manifest["files"].items():
        path = result / name
        if not path.is_file() or sha256(path.read_bytes()).hexdigest() != seal["sha256"]:
            return "the manifest does not hold"
    report = json.loads((result / "report.json").read_text())
    graph = report["graphs"].get("model")
    if graph is None or case.model is None or not (result / "model.onnx").exists():
        return None
    size = sum(path.stat().st_size for path in result.glob("model.onnx*"))
    if graph["result_size"]["file_bytes"] != size:
        return "the report tells another size"
    return _differs(case, result / "model.onnx", graph)


def _differs(case: Case, artifact: Path, graph: Any) -> str | None:
    """Whether the artifact computes something else than the model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    one = onnxruntime.InferenceSession(str(artifact), options)
    try:
        other = onnxruntime.InferenceSession(str(case.model), options)
    except Exception:  # what was given needed help
        return None
    feeds = _feeds(case, one)
    if feeds is None or {i.name for i in one.get_inputs()} != {i.name for i in other.get_inputs()}:
        return None
    try:
        expected = other.run(None, feeds)
    except Exception:  # not at these sizes
        return None
    found = one.run(None, feeds)
    whole = graph["shipped"] in ("float32", "float", "fp32")
    for ours, theirs in zip(found, expected, strict=True):
        a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        if a.shape != b.shape:
            return f"the artifact gives another shape ({graph['shipped']})"
        if not np.isfinite(b).all() or _draws(case):
            continue
        scale = np.abs(b).max(initial=0.0) + 1e-9
        if whole and not graph.get("pruning") and np.abs(a - b).max(initial=0.0) > 1e-2 * scale:
            return "the float artifact computes something else"
    return None


def _draws(case: Case) -> bool:
    return b"Random" in case.model.read_bytes() or b"Dropout" in case.model.read_bytes()  # type: ignore[union-attr]


def _feeds(case: Case, session: Any) -> dict[str, Any] | None:
    if case.feeds is None or case.feeds.suffix != ".npz":
        return None
    with np.load(case.feeds) as stored:
        feeds = {name: stored[name] for name in stored.files}
    wanted = {value.name for value in session.get_inputs()}
    return {k: v for k, v in feeds.items() if k in wanted} if wanted <= set(feeds) else None
