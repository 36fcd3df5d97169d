"""The one module that imports transformers: models of its configurations, on ``meta``."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoModel

from nmsim.errors import SpecError
from nmsim.importers.recording.layers import Size

__all__ = ["VERSION", "built", "generates", "longest", "reads_source", "step_of"]

VERSION: str = transformers.__version__
"""Of transformers."""

_USUAL = 2048
"""Tokens of a network whose configuration does not say how many it reads."""


_MADE = ("logits", "last_hidden_state", "pooler_output")
"""What a model makes, of which a loss is made."""


def built(path: Path) -> Any:
    """The model of a configuration, of the class that it names.

    Raises
    ------
    SpecError
        if transformers cannot build it.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        fields = json.loads(file.read_text("utf-8"))
        named = next(iter(fields.get("architectures") or ()), "")
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        of = getattr(transformers, str(named), None)
        return AutoModel.from_config(config) if of is None else of(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        what = f"a configuration of Hugging Face that transformers {VERSION} cannot build"
        raise SpecError(f"{path}: {what} ({why})") from error


def longest(model: Any) -> int:
    """Tokens that a model reads at most."""
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    found = (getattr(model.config, name, None) for name in names)
    return next((one for one in found if isinstance(one, int) and one > 0), _USUAL)


def generates(model: Any) -> bool:
    """Whether it can be asked for the last token's successor alone."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def reads_source(model: Any) -> bool:
    """Whether it is a decoder behind an encoder, each with tokens of its own."""
    return "decoder_input_ids" in inspect.signature(model.forward).parameters


def step_of(model: Any, ids: Callable[[int, int], Any]) -> Callable[..., None]:
    """A training step of a model: the sum of what it makes, backward."""
    taken = inspect.signature(model.forward).parameters
    if "input_ids" not in taken:
        raise SpecError(
            f"a configuration of {type(model).__name__}, which reads no tokens: record a step of "
            "your own with nmsim.torch.record"
        )

    def step(size: Size, *, last: bool = False) -> None:
        given: dict[str, Any] = {"input_ids": ids(size.batch, size.tokens or 1)}
        if size.target is not None:
            given["decoder_input_ids"] = ids(size.batch, size.target)
        made = model(**given, **({"logits_to_keep": 1} if last else {}))
        found = [made[name] for name in _MADE if made.get(name) is not None]
        if not last:
            sum(one.float().sum() for one in found).backward()

    return step
