"""What the commands do, once their flags are read."""

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.text import Text

from compressor.cli.failures import told
from compressor.cli.several import Ended, each, parted_targets, places, require_there, table
from compressor.errors import UsageError
from compressor.recipe.reading import load_recipe
from compressor.recipe.recipe import Recipe
from compressor.recipe.toml import to_toml
from compressor.report.spoken import harmless
from compressor.report.terminal import RichProgress, comparison, profile_table, summary
from compressor.report.terminal_lint import findings
from compressor.results.records import Record
from compressor.results.report import Report
from compressor.system.progress import SILENT, Progress
from compressor.system.quoting import command_line
from exporters import DEFAULT_TARGET
from exporters.base import target_names


def compress_models(models: Sequence[str], flags: dict[str, Any], values: dict[str, Any]) -> None:
    """`compress MODEL`, and `compress A B --target ort,trt`."""
    targets = parted_targets(values.get("target"))
    if len(models) * max(len(targets), 1) <= 1:
        report = _compressed(models[0] if models else None, flags, values)
        _show(report, summary(report), flags)
        _require_kept(report)
        return
    if not models or flags["plan"] is not None or "graphs" in values:
        raise UsageError(
            "several targets are of models by themselves, without --plan and --graph",
            hint="Run them one by one.",
        )

    def run(model: str, target: str, folder: Path | None) -> Report:
        others = {name for name in targets if name != target}
        own = {name: value for name, value in values.items() if name not in others}
        own |= {"target": target, **({} if folder is None else {"output": folder})}
        report = _compressed(model, flags, own)
        if not (flags["as_json"] or flags["quiet"]):
            Console().print(summary(report))
        _require_kept(report)
        return report

    targets = targets or (load_recipe(flags["recipe_file"], {}).target,)
    runs = list(places(models, targets, values.get("output")))
    if not flags["keep_going"]:
        require_there(models)
    ended = each(runs, run, keep_going=flags["keep_going"], failed=told)
    ended, words = _deployed(ended, flags, values) if len(targets) > 1 else (ended, [])
    if flags["as_json"]:
        reports = [one.report.model_dump(mode="json") for one in ended if one.report is not None]
        click.echo(json.dumps(reports, indent=1))
    elif not flags["quiet"]:
        Console().print(table(ended, len(runs)))
        for text in words:
            Console().print(text)
    first = next((one.error for one in ended if one.error is not None), None)
    if first is not None:
        sys.exit(first.exit_code)


def _deployed(
    ended: list[Ended], flags: dict[str, Any], values: dict[str, Any]
) -> tuple[list[Ended], list[str]]:
    """The same with reports that say which target to deploy, of each model; and that in words."""
    from compressor.commands.deploying import (  # noqa: PLC0415 - loads the runtime
        deployment_of,
        with_deployment,
    )

    found, words = list(ended), []
    for model in dict.fromkeys(one.model for one in ended):
        own = [index for index, one in enumerate(ended) if one.model == model]
        kept = {index: report for index in own if (report := ended[index].report) is not None}
        failed = [ended[index].target for index in own if index not in kept]
        shared = {name: value for name, value in values.items() if name not in target_names()}
        shared["target"] = DEFAULT_TARGET
        recipe = load_recipe(flags["recipe_file"], shared, effort=flags["effort"])
        deployment = deployment_of([*kept.values()], failed, recipe, _progress(flags))
        if deployment is None:
            continue
        words.append(f"{model}: {deployment.words}")
        reports = with_deployment([*kept.values()], deployment)
        for index, report in zip(kept, reports, strict=True):
            found[index] = replace(found[index], report=report)
    return found, words


def _compressed(model: str | None, flags: dict[str, Any], values: dict[str, Any]) -> Report:
    """One run, logged where that is asked for."""
    from compressor.commands.compress import compress  # noqa: PLC0415 - loads the runtime
    from compressor.commands.tracked import logged, tracked_by  # noqa: PLC0415 - as above

    recipe = load_recipe(flags["recipe_file"], values, effort=flags["effort"])
    _require_model(model, recipe)
    trackers = tracked_by(flags["track"])
    report = compress(
        model,
        recipe=recipe,
        recipe_file=flags["recipe_file"],
        plan=flags["plan"],
        workers=flags["workers"],
        force=flags["force"],
        progress=_progress(flags),
        command=command_line(["compress", *sys.argv[1:]]),
    )
    return logged(trackers, report, recipe)


def _require_kept(report: Report) -> None:
    from compressor.commands.goals_met import (  # noqa: PLC0415 - loads the runtime
        require_report_kept,
    )

    require_report_kept(report)


def _require_model(model: str | None, recipe: Recipe) -> None:
    """One model, or the graphs of a pipeline."""
    if model is None and not recipe.graphs:
        hint = "compress model.pt --calib DATA, or see compress --help."
        if recipe.pipeline.loop is not None:
            hint = "Name the loop's graphs: --graph NAME=MODEL for each, or one MODEL alone."
        raise UsageError("there is no MODEL", hint=hint)
    options = recipe.pipeline
    if options.loop is None and (options.units is not None or options.options):
        _require_loop(model, recipe)
    named = [name for name, graph in recipe.graphs.items() if graph.model is not None]
    if model is not None and named:
        raise UsageError(
            f"{model} is given beside graphs {', '.join(named)}",
            hint="Name every graph of the loop by --graph NAME=MODEL, and leave MODEL out.",
        )
    if recipe.graphs and recipe.pipeline.loop is None:
        raise UsageError(
            "graphs are given, and no loop over them",
            hint=_NO_LOOP,
        )


def _require_loop(model: str | None, recipe: Recipe) -> None:
    """Refuse options of a loop where there is none; the folder of a model that writes has one."""
    from compressor.checkpoint.hub_cache import located  # noqa: PLC0415 - as above
    from compressor.commands.writing_models import writes  # noqa: PLC0415 - as above

    if model is not None and writes(located(model), recipe) is not None:
        return
    if recipe.pipeline.units is not None:
        raise UsageError(
            "--units are of a pipeline, and there is none",
            hint=_NO_LOOP,
        )
    raise UsageError("--pipeline-option is of a built-in loop, and there is none", hint=_NO_LOOP)


_NO_LOOP = (
    "Pass --pipeline with a loop: file.py:function, a function generate(models, seed, count), or "
    "the name of a built-in one."
)


def print_recipe(recipe_file: Path | None, values: dict[str, Any], effort: str | None) -> None:
    """`compress recipe`; with a built-in loop its options, too."""
    from compressor.pipelines.builtin import find  # noqa: PLC0415 - loads the calibration

    recipe = load_recipe(recipe_file, values, effort=effort)
    name = recipe.pipeline.loop
    own = None if name is None or ":" in name else find(name).read(recipe.pipeline.options)
    click.echo(to_toml(recipe, own), nl=False)


def profile_model(model: str, flags: dict[str, Any], values: dict[str, Any]) -> None:
    """`compress profile MODEL`."""
    from compressor.commands.inspect import profile  # noqa: PLC0415 - loads the runtime

    found = profile(model, recipe=load_recipe(None, values), progress=_progress(flags))
    _show(found, profile_table(found, top=flags["top"]), flags)


def compare_models(a: str, b: str, flags: dict[str, Any], values: dict[str, Any]) -> None:
    """`compress compare A B`."""
    from compressor.commands.compare import compare  # noqa: PLC0415 - loads the runtime

    found = compare(a, b, recipe=load_recipe(None, values), progress=_progress(flags))
    _show(found, comparison(found), flags)


def inspect_model(model: str, flags: dict[str, Any], values: dict[str, Any]) -> None:
    """`compress inspect MODEL`."""
    from compressor.commands.inspect import inspect  # noqa: PLC0415 - loads the runtime
    from compressor.report.terminal_inspect import inspection_table  # noqa: PLC0415 - as above

    found = inspect(model, recipe=load_recipe(None, values), progress=_progress(flags))
    _show(found, inspection_table(found, top=flags["top"]), flags)


def sensitivity_of(model: str, flags: dict[str, Any], values: dict[str, Any]) -> None:
    """`compress sensitivity MODEL`."""
    from compressor.commands.sensitivity import sensitivity  # noqa: PLC0415 - loads the runtime
    from compressor.report.terminal_sensitivity import (  # noqa: PLC0415 - as below
        sensitivity_table,
    )

    found = sensitivity(model, recipe=load_recipe(None, values), progress=_progress(flags))
    _show(found, sensitivity_table(found, top=flags["top"]), flags)


def search_model(model: str, flags: dict[str, Any], values: dict[str, Any]) -> None:
    """`compress search MODEL`."""
    from compressor.commands.search import search  # noqa: PLC0415 - the runtime
    from compressor.commands.search_pick import require_picked  # noqa: PLC0415 - the runtime
    from compressor.report.terminal_front import front_table  # noqa: PLC0415 - as above

    found = search(
        model,
        recipe=load_recipe(flags["recipe_file"], values),
        workers=flags["workers"],
        force=flags["force"],
        progress=_progress(flags),
        command=command_line(["compress", *sys.argv[1:]]),
    )
    _show(found, front_table(found), flags)
    require_picked(found)


def calibrate_model(paths: tuple[str, ...], flags: dict[str, Any], values: dict[str, Any]) -> None:
    """`compress calibrate MODEL` and `compress calibrate --merge FILE ...`."""
    from compressor.commands.calibrate import (  # noqa: PLC0415 - loads the runtime
        calibrate,
        calibrate_in_shards,
        merge,
    )
    from compressor.system.workers import workers_of  # noqa: PLC0415 - as above

    if flags["merge"]:
        if flags["shard"] or flags["calib"]:
            raise UsageError("--merge takes statistics, neither --calib nor --shard")
        found = merge([Path(path) for path in paths], flags["file"])
    elif len(paths) > 1:
        raise UsageError(
            f"expected one model, found {len(paths)} paths", hint="Pass --merge to merge files."
        )
    elif (workers := workers_of(flags["workers"])) is not None:
        with closing(workers):
            if flags["shard"]:
                raise UsageError("--workers makes shards of its own: leave --shard out")
            found = calibrate_in_shards(
                paths[0],
                output=flags["file"],
                workers=workers,
                recipe=load_recipe(flags["recipe_file"], values),
                progress=_progress(flags),
            )
    else:
        found = calibrate(
            paths[0],
            recipe=load_recipe(flags["recipe_file"], values),
            shard=flags["shard"],
            output=flags["file"],
            progress=_progress(flags),
        )
    _show(found, found.sentence, flags)


def train_model(model: str, flags: dict[str, Any], values: dict[str, Any]) -> None:
    """`compress train MODEL`."""
    from compressor.commands.train import train  # noqa: PLC0415 - loads the runtime
    from compressor.report.terminal_training import training_table  # noqa: PLC0415 - as above

    found = train(
        model,
        flags["teacher"],
        loss=flags["loss"],
        output=flags["file"],
        recipe=load_recipe(flags["recipe_file"], values),
        progress=_progress(flags),
    )
    _show(found, training_table(found), flags)


def render_directories(directories: Sequence[Path], flags: dict[str, Any]) -> None:
    """`compress report DIR`, and `compress report A B C`."""
    if len(directories) == 1:
        _render_directory(directories[0], flags)
        return
    from compressor.report.compared import compared, compared_table  # noqa: PLC0415 - as below
    from compressor.report.files import load_report  # noqa: PLC0415 - loads matplotlib

    found = compared({str(one): load_report(one) for one in directories})
    _show(found, compared_table(found), flags)


def _render_directory(directory: Path, flags: dict[str, Any]) -> None:
    """`compress report DIR`."""
    from compressor.report.files import lying_in, render_report  # noqa: PLC0415 - loads matplotlib

    report = render_report(directory)
    _show(report, summary(lying_in(report, directory)), flags)


def check_directory(directory: Path, flags: dict[str, Any]) -> None:
    """`compress check DIR`."""
    from compressor.commands.check import check, require_met  # noqa: PLC0415 - loads matplotlib

    found = check(
        directory,
        max_drop=flags["max_drop"],
        min_speedup=flags["min_speedup"],
        against=flags["against"],
    )
    _show(found, Text(harmless(found.text)), flags)
    require_met(found)


def verify_directory(directory: Path, flags: dict[str, Any]) -> None:
    """`compress verify DIR`."""
    from compressor.commands.verify import require_whole, verify  # noqa: PLC0415 - as above

    found = verify(directory)
    _show(found, Text(found.text), flags)
    require_whole(found)


def show_cache(directory: Path | None, flags: dict[str, Any]) -> None:
    """`compress cache [DIR]`."""
    from compressor.commands.cache import cache  # noqa: PLC0415 - as above

    found = cache(directory, clear=flags["clear"])
    _show(found, Text(harmless(found.text)), flags)


def lint_model(model: str, flags: dict[str, Any]) -> None:
    """`compress lint MODEL`."""
    from compressor.commands.lint import lint, require_clean  # noqa: PLC0415 - keeps --help quick

    report = lint(model, target=flags["target"], time_limit=flags["time_limit"])
    _show(report, findings(report), flags)
    require_clean(report, strict=flags["strict"])


def list_targets(as_json: bool) -> None:
    """`compress targets`."""
    from exporters.base import find_target, target_names  # noqa: PLC0415 - keeps --help quick

    rows = []
    for name in target_names():
        target = find_target(name)
        objection = target.why_not_available()
        state = target.state if objection is None else objection
        row = {"name": name, "title": target.title, "unavailable": objection, "state": state}
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    widths = [max(len(str(row[key])) for row in rows) for key in ("name", "title")]
    for row in rows:
        click.echo(f"{row['name']:<{widths[0]}}  {row['title']:<{widths[1]}}  {row['state']}")


def _progress(flags: dict[str, Any]) -> Progress:
    return SILENT if flags["quiet"] else RichProgress(Console(stderr=True))


def _show(record: Record, rendered: RenderableType, flags: dict[str, Any]) -> None:
    if flags["as_json"]:
        click.echo(record.model_dump_json(indent=1))
    elif not flags["quiet"]:
        Console().print(rendered)
