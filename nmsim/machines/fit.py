"""The report of a fit: which constants of a machine measured times have set, and how well."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from nmsim.spec import Spec

__all__ = ["Calibration", "FitError", "FittedConstant"]

Count = Annotated[int, Field(ge=1, le=2**31)]


class FittedConstant(Spec):
    """A field of a machine that a fit has set: its start, its value, and how far that moved."""

    path: str = Field(description="dotted path of the field")
    start: float = Field(description="value that the fit started from")
    value: float = Field(description="value on all rows")
    low: float = Field(description="least value of the fits that left a part of the rows out")
    high: float = Field(description="greatest value of these fits")


class FitError(Spec):
    """How far a fitted model is off, for GEMMs of one range of measured times."""

    time: str = Field(description="range of measured times")
    rows: Count = Field(description="measured GEMMs in it")
    mape: float = Field(description="mean of |predicted/measured - 1|, in the fit's own rows")
    bias: float = Field(description="geometric mean of predicted/measured, less 1, in these rows")
    held_out_mape: float = Field(description="mape where each row's weight shape was held out")
    held_out_bias: float = Field(description="bias where each row's weight shape was held out")


class Calibration(Spec):
    """Report of the fit that set the fitted fields."""

    measured: str = Field(description="where the measured times come from")
    method: str = Field(description="how the fit was done")
    rows: Count = Field(description="measured GEMMs")
    weight_shapes: Count = Field(description="distinct (n, k) among them, the unit of a hold-out")
    holdouts: Count = Field(
        description="parts that weight shapes were dealt into, each held out once"
    )
    seed: Annotated[int, Field(ge=0)] = Field(description="of the parts and of the search")
    evaluations: Count = Field(description="machines tried, all fits together")
    constants: tuple[FittedConstant, ...] = Field(description="fields that were fitted")
    idle: tuple[str, ...] = Field((), description="fitted fields that no row depends on, unchanged")
    errors: tuple[FitError, ...] = Field(description="over all rows, then by measured time")

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_name(cls, document: Any) -> Any:
        """Files of earlier versions call the hold-outs folds, as arrays call another thing."""
        if not isinstance(document, Mapping) or "folds" not in document:
            return document
        return {"holdouts" if name == "folds" else name: v for name, v in document.items()}
