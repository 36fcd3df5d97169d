"""Values as arrays of numpy, whoever holds them: numpy, torch, jax, or lists."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError

__all__ = ["as_array"]


def as_array(values: Any, what: str = "values") -> NDArray[Any]:
    """An array of values: a tensor of torch on any device, of jax, of ``ml_dtypes``, or lists.

    Floating point that numpy lacks (bfloat16, 8 bits) is widened to float32.

    Parameters
    ----------
    what
        As a message calls them.

    Raises
    ------
    ShapeError
        if they are no array: rows of unlike lengths, or a tensor that holds no values.

    Examples
    --------
    >>> as_array([[1, 0], [0, 2]]).shape
    (2, 2)
    """
    there = values.detach().cpu() if hasattr(values, "detach") else values
    try:
        array = np.asarray(there)
    except TypeError:  # torch has number formats that numpy has not
        array = np.asarray(there.float()) if hasattr(there, "float") else np.asarray(None)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        why = next(iter(str(error).splitlines()), "")
        raise ShapeError(f"{what} are no array ({why}), expected rows of one length") from None
    return (
        array.astype(np.float32) if array.dtype.kind == "V" and array.dtype.names is None else array
    )
