"""Constraints between parameters: `fast_bars * 4 <= trend_bars`, parsed once, evaluated on columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Relation:
    """One comparison between arithmetic expressions of parameters."""

    text: str

    def find_kept(self, columns: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
        """Return which rows meet it; `columns`: parameter -> a number, or float64[n]."""
        raise NotImplementedError(columns)
