"""The one module that imports transformers: models of its configurations, on ``meta``."""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoModel

from nmsim.errors import SpecError

__all__ = ["VERSION", "built", "longest", "step_of"]

VERSION: str = transformers.__version__
"""Of transformers."""

_USUAL = 2048
"""Tokens of a network whose configuration does not say how many it reads."""


def built(path: Path) -> Any:
    """The model of a configuration, of the class that it names.

    Raises
    ------
    SpecError
        if transformers cannot build it.
    """
    folder = path if path.is_dir() else path.parent
    try:
        fields = json.loads((folder / "config.json" if path.is_dir() else path).read_text("utf-8"))
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        named = next(iter(fields.get("architectures") or ()), "")
        of = getattr(transformers, named, None)
        return of(config) if of is not None else AutoModel.from_config(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise SpecError(f"{path}: transformers {VERSION} cannot build its model ({why})") from error


def longest(model: Any) -> int:
    """Tokens that a model reads at most."""
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    found = (getattr(model.config, name, None) for name in names)
    return next((one for one in found if isinstance(one, int) and one > 0), _USUAL)


def step_of(model: Any, ids: Callable[[int, int], Any]) -> Callable[..., None]:
    """A training step of a model: the sum of what it makes, backward."""
    taken = inspect.signature(model.forward).parameters
    given: Mapping[str, str] = {
        name: "ids" for name in ("input_ids", "decoder_input_ids") if name in taken
    }
    if "input_ids" not in given:
        raise SpecError(
            f"a configuration of {type(model).__name__}, which reads no tokens: record a step of "
            "your own with nmsim.torch.record"
        )

    def step(batch: int, tokens: int, *, last: bool = False) -> None:
        more = {"logits_to_keep": 1} if last else {}
        made = model(**{name: ids(batch, tokens) for name in given}, **more)
        found = [made[name] for name in ("logits", "last_hidden_state") if name in made]
        if not last:
            sum(one.float().sum() for one in found).backward()

    return step
