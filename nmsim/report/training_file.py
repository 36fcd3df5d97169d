"""A stored training run: what `nmsim.run.training.training_document` makes, read back."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nmsim.errors import SpecError
from nmsim.files.strict_json import parse_json
from nmsim.run.manifest import Trained, dotted

__all__ = ["RUN", "read_training"]

RUN = "training.json"


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Segment(_Stored):
    stage: Literal["dense", "decay", "structure", "sparse"]
    masks: str
    formats: str
    first_step: int
    steps: int
    step_us: float
    mask_us: float
    dense_step_us: float
    speedup: float
    beyond_share: float | None = None
    time_s: float
    time_share: float
    flops: int
    dram_bytes: int


class _Total(_Stored):
    steps: int
    time_s: float
    dense_time_s: float
    mask_share: float
    speedup: float
    beyond_share: float | None = None
    flops: int
    dense_flops: int
    flops_share: float
    macs_dense: int
    macs_issued: int
    macs_useful: int
    dram_bytes: int
    dense_dram_bytes: int


class _Inference(_Stored):
    flops: int
    flops_dense: int
    parameters: int
    parameters_kept: int
    value_bits: int
    metadata_bits: int
    dense_bits: int


class _Run(_Stored):
    manifest: Trained
    segments: Annotated[list[_Segment], Field(min_length=1)]
    total: _Total
    inference: _Inference


def read_training(folder: Path) -> dict[str, Any]:
    """Read the document of a training run that is stored in a folder.

    Raises
    ------
    SpecError
        for a file that cannot be read or is no training run.
    """
    path = folder / RUN
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise SpecError(f"{path}: not JSON ({error})") from error
    run = parse_json(text, str(path))
    wrong = _wrong(run)
    if wrong:
        raise SpecError(f"{path}: expected a training run, {wrong} is missing or of another kind")
    return dict(run)


def _wrong(run: Any) -> str:
    """The first field that a stored run lacks, by dotted path; empty if none."""
    try:
        _Run.model_validate(run)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        known = "a known stage" if first["type"] == "literal_error" else dotted(first["loc"])
        return known or "the object"
    return ""
