"""What the page of a validation reads of its manifest, held to it before anything is drawn."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from nmsim.evidence.standing import STANDINGS

__all__ = ["Shown"]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Mean(_Part):
    mape: float


class _Errors(_Mean):
    rows: int
    median_ape: float
    p90_ape: float
    bias: float


class _Group(_Errors):
    by: str
    group: Any
    residual_mape: float | None = None


class _Table(_Errors):
    file: str
    source: str
    machine: str
    dtype_in: str
    conditions: Literal["free", "sustained", "locked"]
    shapes: Literal["calibration", "held out"]
    physics_mape: float | None = None
    residual_mape: float | None = None
    physics_bias: float | None = None
    residual_bias: float | None = None


class _Worst(_Part):
    file: str
    line: int
    machine: str
    library: str
    sparsity: str
    dtype_in: str
    m: int
    n: int
    k: int
    batch: int
    measured_us: float
    predicted_us: float
    ratio: float
    model_kernel: str
    split: int | None
    tiles: int | None
    waves: float | None
    bound: str


class _Pair(_Part):
    library: str
    sparsity: str
    m: int
    n: int
    k: int
    measured_us_dense: float
    predicted_us_dense: float
    measured_speedup: float = Field(gt=0)
    predicted_speedup: float = Field(gt=0)


class _Refused(_Part):
    file: str
    line: int
    judged: bool
    why: str


class _Learned(_Mean):
    rows: int
    physics: _Mean


class _Speedup(_Mean):
    rows: int
    direction_right: int
    direction_checked: int


class _Floor(_Part):
    rows: int
    rows_within_floor: int
    treatment: str
    without_rows_within_floor: _Mean | None


class _Impossible(_Part):
    rows: int
    treatment: str
    without_them: _Mean | None


class _Source(_Part):
    summary: str
    source: str
    licence: str
    conditions: str


class _Standing(_Part):
    rows: int
    mape: float | None = None
    error: float | None = None


class _LeftOut(_Part):
    machine: str
    constants: str
    left_out: str
    order: str


_BY_STANDING: dict[str, Any] = dict.fromkeys(STANDINGS, (_Standing, ...))
_Judged: Any = create_model("_Judged", __base__=_LeftOut, **_BY_STANDING)


class Shown(_Errors):
    """The manifest of ``nmsim validate`` as far as its page shows it."""

    machines: list[str]
    worst: list[_Worst]
    groups: list[_Group]
    tables: list[_Table] = []
    refused: list[_Refused] = []
    speedup_rows: list[_Pair]
    noise: dict[str, float]
    left_out: list[_Judged] | None = None
    residual: _Learned | None = None
    speedup: _Speedup | None = None
    timing_floor: _Floor | None = None
    impossible: _Impossible | None = None
    sources: dict[str, _Source] = {}
