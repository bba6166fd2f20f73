"""Define what the parameter sections share: their base class and the types of several fields."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Precision = Literal["float32", "bf16"]
TrainPrecision = Literal["float32", "bf16", "fp16"]


class Section(BaseModel):
    """A group of fields that refuses unknown keys, silent type conversions and later changes.

    The docstring below a field becomes its description, which `s2rm.config.parameter_docs` prints.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
