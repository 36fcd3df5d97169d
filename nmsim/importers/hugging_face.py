"""Configurations of Hugging Face: their model is built on ``meta`` and a step of it recorded.

``config.json`` holds sizes under names that differ from family to family, and no layer; which
layers they stand for is known to the code that builds the model alone. The library is an extra:
without it a configuration is known and a line says what to install.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nmsim.errors import MissingExtra, NmsimError, SpecError
from nmsim.extras import extra
from nmsim.importers.recording.layers import Run, Size
from nmsim.importers.torch import Recording
from nmsim.importing import IMPORTERS, Imported, Importer
from nmsim.spec import read_text

__all__ = ["read_configuration"]

_OWN = re.compile(
    rb'"(architectures|model_type|hidden_size|num_hidden_layers|transformers_version|_name_or_path)"\s*:'
)

_WRONG = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)
"""What a model raises that cannot run without values, or wants other inputs."""

_RUNS = (Size(2, 64, 40), Size(3, 64, 40), Size(2, 96, 56), Size(3, 96, 56))
"""Of the steps that are recorded; of a model without an encoder before it the target is none."""


def _knows(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and bool(_OWN.search(head))


def read_configuration(path: Path, _: Mapping[str, int]) -> Imported:
    """The fields of a network's YAML, of a configuration or a folder that holds one.

    Raises
    ------
    MissingExtra
        without the libraries.
    SpecError
        if it names no model, the library cannot build it, or its step cannot be recorded.
    """
    named = _architecture(path)
    try:
        dispatch = extra("hf", "nmsim.importers.recording.dispatch")
        library = extra("hf", "nmsim.importers.recording.configuration")
    except MissingExtra as error:
        raise MissingExtra(
            f"{path}: {error}; or export the model to ONNX, or see `nmsim list models`"
        ) from error
    try:
        model = dispatch.on_meta(lambda: library.built(path))
        return _recorded(path, model, named, dispatch, library)
    except NmsimError as error:
        where = "" if str(error).startswith(str(path)) else f"{path}: "
        raise SpecError(f"{where}{error}") from error
    except _WRONG as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpecError(f"{path}: a step of {named} cannot be run on meta ({why})") from error


def _architecture(path: Path) -> str:
    """The class that a configuration names, for people."""
    file = path / "config.json" if path.is_dir() else path
    try:
        found = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: a configuration of Hugging Face, expected JSON") from error
    fields = found if isinstance(found, dict) else {}
    listed, family = fields.get("architectures"), fields.get("model_type")
    named = str(listed[0] if isinstance(listed, list) and listed else family or "")[:60]
    if not isinstance(family, str):
        which = f" ({named})" if named else ""
        raise SpecError(
            f"{path}: a configuration of Hugging Face{which} without model_type, expected the "
            "family of its model, such as llama"
        )
    return named


def _recorded(path: Path, model: Any, named: str, dispatch: Any, library: Any) -> Imported:
    step = library.step_of(model, dispatch.ids)
    behind = library.reads_source(model)
    sizes = [size if behind else replace(size, target=None) for size in _RUNS]
    runs = tuple(dispatch.run_of(step, size, model) for size in sizes)
    longest = library.longest(model)
    implementation = f"transformers {library.VERSION}, torch {dispatch.VERSION}"
    found = Recording(
        runs,
        named,
        implementation,
        _predicted(step, model, dispatch, library),
        {"sequence": {"tokens": longest, "target": longest} if behind else longest},
    )
    source = f"{path.name} of {named}, built on meta and recorded: {implementation}"
    return Imported({**found.document, "source": source}, found.told)


def _predicted(step: Any, model: Any, dispatch: Any, library: Any) -> frozenset[str]:
    """Layers that a prompt runs on its last token alone."""
    if not library.generates(model):
        return frozenset()
    size = replace(_RUNS[0], target=None)
    last: Run = dispatch.run_of(lambda size: step(size, last=True), size, model)
    return frozenset(p.layer for p in last.forward if p.kind == "linear" and p.m == size.batch)


IMPORTERS.add(
    "hf",
    Importer("hf", "a configuration of Hugging Face", "network", _knows, read_configuration),
)
