"""The folder of a search, which the same command goes on with, and the notes that it keeps."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compressor.errors import OutputError
from compressor.recipe.recipe import Recipe
from compressor.system.output_folder import is_ours, manifest_of, replace_file, write_manifest
from compressor.system.output_folder import prepare as prepare_output

CACHE, PICKED, STUDY, KIND = "cache", "picked", "study.json", "search"


def prepare_folder(folder: Path, force: bool, inputs: Any) -> None:
    """A search's own folder is gone on with, another is left alone unless it may be replaced.

    Raises:
        OutputError: Something else lies there, or it cannot be written.
    """
    if force and folder.exists():
        prepare_output(folder, force=True, inputs=inputs)
        shutil.rmtree(folder)
    if not _is_search(folder):
        if folder.exists() and any(folder.iterdir()) and is_ours(folder):
            raise OutputError(
                f"{folder} holds a result of compress, and no search",
                hint="Choose another folder with -o, or replace all of it with --force.",
            )
        prepare_output(folder, force=False, inputs=inputs)
        folder.mkdir(parents=True, exist_ok=True)
        seal(folder)


def seal(folder: Path) -> None:
    """Write what files are in it, by which it is known as a search's."""
    write_manifest(folder, {"kind": KIND})


def _is_search(folder: Path) -> bool:
    document = manifest_of(folder)
    return document is not None and document.get("kind") == KIND


def with_cache(recipe: Recipe, folder: Path) -> Recipe:
    """Calibration statistics are kept in the study's folder, unless one is named."""
    if recipe.data.cache is not None:
        return recipe
    data = recipe.data.model_copy(update={"cache": folder / CACHE})
    return recipe.model_copy(update={"data": data})


class Notes:
    """What a clock decided, or who came first, kept in the folder.

    A search that goes on has the same, and so have its workers.
    """

    def __init__(self, path: Path | None, known: Mapping[str, Any] | None = None) -> None:
        self._path = path
        self._known = dict(known or {})
        if path is not None and path.exists():
            self._known = _notes_of(path)

    @property
    def all(self) -> Mapping[str, Any]:
        """Name → what was found."""
        return dict(self._known)

    def learn(self, known: Mapping[str, Any]) -> None:
        """Take over what another process has noted."""
        self._known = {**self._known, **known}

    def of(self, name: str, find: Callable[[], Any]) -> Any:
        """What is known under a name, or is found now."""
        if name not in self._known:
            self._known[name] = find()
            if self._path is not None:
                replace_file(self._path, json.dumps(self._known, indent=1))
        return self._known[name]


def _notes_of(path: Path) -> dict[str, Any]:
    """What an earlier search noted.

    Raises:
        OutputError: The file is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        found = error
    if not isinstance(found, dict):
        raise OutputError(
            f"{path} is damaged, so that the search cannot go on",
            hint="Begin anew with --force, or choose another folder with -o.",
        )
    return found
