"""What single values of routes.yaml may be: durations, sizes, amounts, names; each says itself what it is.

`config` makes the rows of the file from them, `reference` their documentation.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from router.prices import read_amount, read_budget, read_day
from router.reference import LATER, Says
from router.shares import MOST_WORKERS
from router.strict_yaml import describe
from router.units import (
    DURATION,
    SHARE,
    SIZE,
    read_duration,
    read_duration_or_zero,
    read_share,
    read_size,
    write_duration,
    write_size,
)


def later(*off: object) -> BeforeValidator:
    """Accepts what means "off" (null, false, and the defaults given): the feature itself is not there yet."""

    def check(value: object) -> None:
        if value is not None and value is not False and not any(value == o and type(value) is type(o) for o in off):
            raise ValueError("not available in this version")

    return BeforeValidator(check)


def _as_float(value: object) -> object:
    """A whole number is a number, too."""
    return float(value) if type(value) is int else value


_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{DURATION.pattern}$"})
_SIZE_SCHEMA = WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{SIZE.pattern}$"}, {"type": "integer"}]})
_WAIT = Says("duration", write_duration)

Duration: TypeAlias = Annotated[float, BeforeValidator(read_duration_or_zero), _DURATION_SCHEMA, _WAIT]
Positive: TypeAlias = Annotated[float, BeforeValidator(read_duration), _DURATION_SCHEMA, _WAIT]
Size: TypeAlias = Annotated[int, BeforeValidator(read_size), _SIZE_SCHEMA, Says("size", write_size)]
Share: TypeAlias = Annotated[
    float,
    BeforeValidator(read_share),
    WithJsonSchema({"type": "string", "pattern": f"^{SHARE.pattern}$"}),
    Says("share", lambda value: f"{value * 100:g}%"),
]
Count: TypeAlias = Annotated[int, Field(ge=1), Says("number")]
Later: TypeAlias = Annotated[None, later(), WithJsonSchema({"enum": [None, False]}), Says(LATER)]
Reference: TypeAlias = Annotated[str, Field(min_length=1), Says("secret: `env:NAME` or `file:PATH`")]
Limit: TypeAlias = int | float | None
Limits2: TypeAlias = Annotated[list[Limit], Field(min_length=2, max_length=2), Says("[least, most]")]
Price: TypeAlias = Annotated[float, BeforeValidator(_as_float), Field(ge=0), Says("number")]
Amount: TypeAlias = Annotated[
    Decimal, BeforeValidator(read_amount), WithJsonSchema({"type": "number", "minimum": 0}), Says("US dollars")
]
Spending: TypeAlias = Annotated[
    Decimal, BeforeValidator(read_budget), WithJsonSchema({"type": "number", "minimum": 0}), Says("amount")
]
Day: TypeAlias = Annotated[str, BeforeValidator(read_day), Says("date")]
Able: TypeAlias = Annotated[bool | list[str], Says("true, or list of models")]
Names: TypeAlias = Annotated[list[str], Says("list of names")]
Text: TypeAlias = Annotated[str, Says("text")]
CheckSchema: TypeAlias = Annotated[Literal["off", "flag", "repair"], Says("`off`, `flag` or `repair`")]
OnLoss: TypeAlias = Annotated[Literal["report", "allow", "reject"], Says("`report`, `allow` or `reject`")]
Scope: TypeAlias = Annotated[Literal["key", "all"], Says("`key` or `all`")]


def _read_workers(value: object) -> object:
    """A number of processes, or `auto`."""
    if value == "auto" or (type(value) is int and 1 <= value <= MOST_WORKERS):
        return value
    raise ValueError(f"expected a whole number from 1 to {MOST_WORKERS}, or auto, found {describe(value)}")


Workers: TypeAlias = Annotated[
    int | str,
    BeforeValidator(_read_workers),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}, {"const": "auto"}]}),
    Says("number or `auto`"),
]


def kind(value: object) -> str:
    """Which form a value has that may be a list."""
    return "list" if isinstance(value, list) else "one"
