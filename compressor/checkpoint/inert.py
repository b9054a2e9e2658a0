"""Reads a pickle without running anything of it: what is no tensor or container becomes inert.

A pickle is a program that names functions and calls them. Here it gets those that rebuild tensors
and arrays and nothing else; in place of every other class or function it gets a stand-in, which
remembers what the object held and does nothing. So the weights of a checkpoint can be had whatever
lies beside them: settings, metrics, enumerations, or a whole module of a class that is not there.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from types import ModuleType
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy._core.multiarray import _reconstruct, scalar

_MODULE = ("_parameters", "_buffers", "_modules")
"""What every pickled `nn.Module` holds."""


class Inert(dict[Any, Any]):
    """Stands for an object of any class: what it held by name, as a dictionary.

    Items of a dictionary lie under their keys, attributes under their names, elements of a list and
    arguments under their numbers, and a module's weights under the names of its state dict. As a
    class it stands for a class, and when called for what a function returned.

    Attributes:
        is_module: Whether it stands for an `nn.Module`.
        dump_patches: What torch asks of a module's class whose source is another than in the file,
            as that of torch's own is after each release. None is written.
    """

    is_module = False
    dump_patches = False
    __hash__ = object.__hash__  # type: ignore[assignment] # enumerations are keys

    def __new__(cls, *args: Any, **_named: Any) -> "Inert":
        """Keep what the object is made from."""
        made = dict.__new__(cls)
        first = args[0] if args else None
        if isinstance(first, type) and issubclass(first, Inert):  # copyreg names the class so
            return first.__new__(first)
        if len(args) == 1 and isinstance(first, Mapping):
            made.update(first)
        else:
            made.extend(args)
        return made

    def __init__(self, *_args: Any, **_named: Any) -> None:
        """All was done before; a dictionary would take the arguments for items."""

    def __call__(self, *args: Any, **_named: Any) -> "Inert":
        """What a function that was looked up somewhere returned."""
        return Inert(*args)

    def __setstate__(self, state: Any) -> None:
        """Take attributes; of a module its weights."""
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, Mapping) and all(name in part for name in _MODULE):
                self.is_module = True
                self.update(_weights(part))
            elif isinstance(part, Mapping):
                self.update({name: value for name, value in part.items() if name not in self})

    def append(self, element: Any) -> None:
        """As of a list."""
        self[str(len(self))] = element

    add = append

    def extend(self, elements: Any) -> None:
        """As of a list."""
        for element in elements:
            self.append(element)


class InertFile:
    """A file that is read without running what it names.

    Attributes:
        unknown: The classes and functions for which something stands, as `module.name`.
        pickle_module: What `torch.load` takes for the module `pickle`.
    """

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self._permitted = _permitted()
        code: Any = ModuleType("pickle")
        code.Unpickler, code.load = self._unpickler(), self.load
        self.pickle_module = code

    def load(self, file: BinaryIO, **_options: Any) -> Any:
        """What one pickle in an open file holds.

        Raises:
            pickle.UnpicklingError: It asks for more than it may.
            Exception: Whatever a pickle that is damaged ends in.
        """
        return self.pickle_module.Unpickler(file).load()

    def _find(self, module: str, name: str) -> Any:
        named = f"{module}.{name}".replace("__builtin__.", "builtins.")  # as of protocol 2
        known = self._permitted.get(named)
        if known is not None:
            return known
        if named not in self.unknown:
            self.unknown.append(named)
        return type(name.rpartition(".")[2], (Inert,), {"__module__": module})

    def _unpickler(self) -> type:
        reading = self
        # Of pickle's two this one, written in Python, lets a single instruction be replaced.
        base: Any = pickle._Unpickler

        class Unpickler(base):  # type: ignore[misc]
            dispatch: ClassVar[dict[int, Any]] = dict(base.dispatch)

            def find_class(self, module: str, name: str) -> Any:
                return reading._find(module, name)

            def load_build(self) -> None:
                # What was found, a class or function of ours, must never be changed by a file.
                if not _may_change(self.stack[-2]):
                    raise pickle.UnpicklingError(f"a state for a {type(self.stack[-2]).__name__}")
                super().load_build()

            dispatch[pickle.BUILD[0]] = load_build

        return Unpickler


def _may_change(found: Any) -> bool:
    import torch  # noqa: PLC0415 - files without tensors are told from their beginnings

    kinds = (Inert, OrderedDict, np.ndarray, np.dtype, torch.Tensor)
    return isinstance(found, kinds) and not isinstance(found, type)


def _permitted() -> dict[str, Any]:
    """What torch itself lets a file call that holds weights only, and what arrays are made by."""
    from torch._weights_only_unpickler import _get_allowed_globals  # noqa: PLC0415 - as above

    rebuilt = {
        f"numpy.{core}.multiarray.{function.__name__}": function
        for function in (_reconstruct, scalar)
        for core in ("core", "_core")
    }
    buffers = {f"numpy.{core}.numeric._frombuffer": _array_of for core in ("core", "_core")}
    return {
        **_get_allowed_globals(),
        **rebuilt,
        **buffers,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "torch.storage._load_from_bytes": _storage_of,
        "torch._tensor._rebuild_from_type_v2": _plain,
    }


def _array_of(buffer: bytes, dtype: Any, shape: Any, order: Any) -> Any:
    """An array rebuilt as numpy rebuilds those of protocol 5."""
    return np.frombuffer(buffer, dtype=np.dtype(dtype)).reshape(shape, order=order)


def _plain(rebuild: Any, _kind: Any, args: Any, _state: Any) -> Any:
    """The tensor in a tensor of another class, or one with attributes."""
    return rebuild(*args)


def _storage_of(content: bytes) -> Any:
    """A storage in a pickle that was not made by `torch.save`; torch's own would run its code."""
    import torch  # noqa: PLC0415 - as above

    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """A module's state dict, from its attributes; its children are such dictionaries already."""
    passing = state.get("_non_persistent_buffers_set") or ()
    own = {**state["_parameters"], **state["_buffers"]}
    found = {k: v for k, v in own.items() if v is not None and k not in passing}
    for name, child in state["_modules"].items():
        for key, value in (child or {}).items():
            found[f"{name}.{key}"] = value
    return found
