"""Configurations of Hugging Face: known, so that a line can say what would make a network of one.

``config.json`` holds sizes under names that differ from family to family, and no layer; which
layers they stand for is known to the code that builds the model alone.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from nmsim.errors import SpecError
from nmsim.importing import IMPORTERS, Imported, Importer
from nmsim.spec import read_text

__all__ = ["refuse"]

_OWN = re.compile(
    rb'"(architectures|model_type|hidden_size|num_hidden_layers|transformers_version|_name_or_path)"\s*:'
)


def _knows(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and bool(_OWN.search(head))


def refuse(path: Path, _: Mapping[str, int]) -> Imported:
    """Say what the file is, and what to do with it.

    Raises
    ------
    SpecError
        always.
    """
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError):
        found = {}
    named = found.get("architectures") if isinstance(found, dict) else None
    first = named[0] if isinstance(named, list) and named else ""
    which = f" ({first[:60]})" if isinstance(first, str) and first else ""
    raise SpecError(
        f"{path}: a configuration of Hugging Face{which}, sizes without layers: export the model "
        "to ONNX (optimum-cli export onnx) and name that file, which pip install 'nmsim[onnx]' "
        "reads; or see `nmsim list models`"
    )


IMPORTERS.add(
    "hf",
    Importer("hf", "a configuration of Hugging Face", "network", _knows, refuse),
)
