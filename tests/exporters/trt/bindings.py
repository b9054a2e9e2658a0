"""Loads real TensorRT bindings without their libraries, and tells what they offer.

    python -P bindings.py ROOT|- ANSWER

ROOT holds the unpacked wheel `tensorrt-cuNN-bindings`; `-` means the installed `tensorrt_rtx`. The
bindings link against three libraries of which importing needs no more than a few names.
"""

import ctypes
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRuntime_INTERNAL", "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry", "getPluginRegistry", "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
)  # fmt: skip


def load(root: str):
    if root == "-":
        return importlib.import_module("tensorrt_rtx")
    module = next(Path(root).glob("*/tensorrt.so"))
    major = re.search(rb"libnvinfer\.so\.(\d+)", module.read_bytes())
    assert major is not None
    source = Path(root) / "stub.c"
    source.write_text("".join(f"void* {name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        library = f"lib{name}.so.{major[1].decode()}"
        flags = ["-shared", "-fPIC", f"-Wl,-soname,{library}"]
        made = Path(root) / library
        subprocess.run(["cc", *flags, "-o", str(made), str(source)], check=True)
        ctypes.CDLL(str(made), ctypes.RTLD_GLOBAL)
    sys.path.insert(0, root)
    return importlib.import_module(module.parent.name)


def offered(trt) -> dict[str, object]:
    """Class → its attributes; those that are called with the most arguments that they take."""
    found: dict[str, object] = {"": sorted(dir(trt)), "version": trt.__version__}
    for name in dir(trt):
        kind = getattr(trt, name)
        if isinstance(kind, type):
            found[name] = {one: arity(getattr(kind, one, None)) for one in dir(kind)}
    return found


def arity(member: object) -> list[int] | None:
    """Least and greatest number of arguments of a bound method, over its overloads."""
    counts = []
    text = getattr(member, "__doc__", None) or ""
    for given in re.findall(r"^\s*(?:\d+\. )?\w+\((.*)\) -> ", text, re.MULTILINE):
        parts = [part for part in split(given) if part.strip() and not part.startswith("self")]
        needed = [part for part in parts if "=" not in part]
        counts += [len(needed), len(parts)]
    return [min(counts), max(counts)] if counts else None


def split(text: str) -> list[str]:
    """At the commas outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(offered(load(sys.argv[1]))))
