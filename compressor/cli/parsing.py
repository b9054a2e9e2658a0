"""What the texts of options mean: the callbacks that read them."""

import json
from pathlib import Path
from typing import Any

import click


def numbers(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """Comma-separated numbers, as in 0.485,0.456,0.406."""
    del context
    if text is None:
        return None
    try:
        return tuple(_number(part) for part in text.split(","))
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(f"expected numbers like 0.5,0.5,0.5, found {text!r}") from error


def number(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """One number, as in 1/255 or 0.0039."""
    values = numbers(context, parameter, text)
    if values is not None and len(values) != 1:
        raise click.BadParameter(f"expected one number like 1/255, found {text!r}")
    return None if values is None else values[0]


def shard(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """Part i of n, as in 2/4."""
    del context
    if text is None:
        return None
    index, slash, of = text.partition("/")
    if not slash or not index.isdecimal() or not of.isdecimal() or not 1 <= int(index) <= int(of):
        raise click.BadParameter(f"expected I/N with I from 1 to N, as in 2/4, found {text!r}")
    return int(index), int(of)


def graphs(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> Any:
    """Graphs of a pipeline, as in unet=unet.pt@net.py:build."""
    del context
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        if not (name and equals and rest):
            raise click.BadParameter(f"expected NAME=MODEL or NAME=MODEL@FACTORY, found {text!r}")
        if name in found:
            raise click.BadParameter(f"two graphs are called {name!r}")
        path, at, factory = (rest, "", "") if Path(rest).exists() else rest.partition("@")
        found[name] = {"model": path, **({"factory": factory} if at else {})}
    return found or None


def calib(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> Any:
    """Calibration data, of which NAME=DATA is for one graph of a pipeline."""
    plain: str | None = None
    own: dict[str, str] = {}
    for text in texts:
        name, equals, data = text.partition("=")
        if equals and name.replace("-", "_").isidentifier() and not Path(text).exists():
            if name in own:
                raise click.BadParameter(f"graph {name!r} is given calibration data twice")
            own[name] = data
        elif plain is not None:
            raise click.BadParameter(
                f"{plain!r} and {text!r} are both calibration data: NAME=DATA is of a graph"
            )
        else:
            plain = text
    if own:
        context.params["graph_calib"] = own
    return plain


def pipeline_options(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> Any:
    """Options of a built-in loop, as in steps=20; the loop reads the values."""
    del context
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"expected NAME=VALUE, found {text!r}")
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice")
        found[name] = value
    return found or None


def words(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """Words with commas between them, as in latency,quality."""
    del context
    return None if text is None else tuple(part.strip() for part in text.split(","))


def image_size(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """Height and width, as in 224 or 224x192."""
    del context
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"expected 224 or HEIGHTxWIDTH, found {text!r}")
    return int(parts[0]), int(parts[-1])


def layout(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """An order of axes; what a shell makes of an unquoted `>` is told."""
    del context
    if text is None:
        return None
    from calibration.preprocess import layout_name  # noqa: PLC0415 - keeps --help quick

    named = layout_name(text)
    if named in ("keep", "nhwc-to-nchw", "nchw-to-nhwc"):
        return named
    more = ""
    if text.lower() in ("nhwc-", "nchw-"):
        more = "; the shell took > for the name of a file, which it has made"
    raise click.BadParameter(f"expected nhwc-to-nchw, nchw-to-nhwc or keep, found {text!r}{more}")


def factory_arguments(
    context: click.Context, parameter: click.Parameter, items: tuple[str, ...]
) -> Any:
    """`width=32` or a JSON object, repeated → keyword arguments; values are JSON, else text."""
    del context
    arguments: dict[str, Any] = {}
    for item in items:
        if item.lstrip().startswith("{"):
            try:
                arguments.update(json.loads(item))
            except (ValueError, TypeError, RecursionError) as error:
                raise click.BadParameter(f"{item!r} is not JSON: {error}") from error
            continue
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier():
            raise click.BadParameter(f"expected key=value or a JSON object, found {item!r}")
        try:
            arguments[key] = json.loads(value)
        except (ValueError, RecursionError):
            arguments[key] = value
    return arguments or None


def _number(text: str) -> float:
    top, slash, bottom = text.partition("/")
    return float(top) / float(bottom) if slash else float(text)
