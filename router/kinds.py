"""What single values of routes.yaml may be: durations, sizes, amounts, names; each says itself what it is.

`config` makes the rows of the file from them, `reference` their documentation. Rows that stand in several others are
here, too.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from router.conditions import CREDENTIALS, FIELD_NAME
from router.prices import read_amount, read_budget, read_day
from router.reference import LATER, Says
from router.settings import MOST_KEPT
from router.shares import MOST_WORKERS
from router.strict_yaml import describe
from router.table import CacheSettings, Refusal
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


def as_float(value: object) -> object:
    """A whole number is a number, too."""
    return float(value) if type(value) is int else value


_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{DURATION.pattern}$"})
_SIZE_SCHEMA = WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{SIZE.pattern}$"}, {"type": "integer"}]})
_WAIT = Says("duration", write_duration)

Duration: TypeAlias = Annotated[float, BeforeValidator(read_duration_or_zero), _DURATION_SCHEMA, _WAIT]
Positive: TypeAlias = Annotated[float, BeforeValidator(read_duration), _DURATION_SCHEMA, _WAIT]
Size: TypeAlias = Annotated[int, BeforeValidator(read_size), _SIZE_SCHEMA, Says("size", write_size)]
Rate: TypeAlias = Annotated[
    int, BeforeValidator(read_size), Field(ge=1), _SIZE_SCHEMA, Says("size each second", write_size)
]
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
Price: TypeAlias = Annotated[float, BeforeValidator(as_float), Field(ge=0), Says("number")]
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


Refusals: TypeAlias = Annotated[list[Refusal], Says("list of `context_too_long`, `content_filter`")]


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


class Rows(BaseModel):
    """Every row of the file: unknown keys are refused, nothing is converted that is not said to be."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


# ── which target ───────────────────────────────────────────────────────────────────────────────


def read_sticky(value: object) -> object:
    """`header:NAME` with the name of a header, or a word."""
    if value is None or value in ("caller", "conversation", "off"):
        return value
    name = value.removeprefix("header:").lower() if isinstance(value, str) else ""
    if value == name or not FIELD_NAME.fullmatch(name):
        raise ValueError("expected caller, conversation, header:NAME or off")
    if name in CREDENTIALS:
        raise ValueError(f"{name} holds a credential, expected `caller`")
    return f"header:{name}"


Sticky: TypeAlias = Annotated[
    str,
    BeforeValidator(read_sticky),
    WithJsonSchema({"type": "string", "pattern": "^(caller|conversation|off|header:.+)$"}),
    Says("`caller`, `conversation`, `header:NAME` or `off`"),
]
Prefer: TypeAlias = Annotated[Literal["fidelity", "off"], Says("`fidelity` or `off`")]
_Some: TypeAlias = Annotated[
    Annotated[str, Field(min_length=1), Tag("one")]
    | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1), Tag("list")],
    Discriminator(kind),
    Says("text or list"),
]
_Operation: TypeAlias = Literal["chat", "embeddings", "count_tokens"]
_Operations: TypeAlias = Annotated[
    Annotated[_Operation, Tag("one")] | Annotated[list[_Operation], Field(min_length=1), Tag("list")],
    Discriminator(kind),
    Says("`chat`, `embeddings`, `count_tokens`, or list"),
]
_Media: TypeAlias = Annotated[
    Annotated[bool, Tag("one")]
    | Annotated[list[Literal["image", "audio", "video", "file"]], Field(min_length=1), Tag("list")],
    Discriminator(kind),
    Says("true, false, or list of `image`, `audio`, `video`, `file`"),
]
_Tokens: TypeAlias = Annotated[int, Field(ge=0), Says("number")]


class HeaderIsRow(Rows):
    present: bool | None = Field(None, description="whether it is there at all")
    equals: _Some | None = Field(None, description="its value, or one of these")
    prefix: _Some | None = Field(None, description="what its value begins with, or one of these")


class TokensRow(Rows):
    above: _Tokens | None = Field(None, description="more than so many")
    below: _Tokens | None = Field(None, description="at most so many")


class WhenRow(Rows):
    key: _Some | None = Field(None, description="names of `access.keys`, `*` stands for anything")
    header: dict[str, HeaderIsRow] | None = Field(None, description="headers of the request, by name")
    model: _Some | None = Field(None, description="the model that was asked for, `*` stands for anything")
    tokens: TokensRow | None = Field(None, description="of the input, by estimate")
    tools: bool | None = Field(None, description="whether the call offers tools")
    media: _Media | None = Field(None, description="whether any of these is in the call; false: none at all")
    stream: bool | None = Field(None, description="whether the answer is asked for as a stream")
    operation: _Operations | None = Field(None, description="what is asked for")


class TargetRow(Rows):
    provider: Text | None = Field(None, description="a name of `providers` or of the catalog")
    model: Text | None = Field(
        None,
        description="its model; without it the one that the caller asked for. "
        "Without `provider`: another name of `models`",
    )
    weight: Count = Field(
        1, description="its share of the calls beside the others', for `weighted`, `least_busy` and `sticky`"
    )
    context: Count | None = Field(
        None,
        description="tokens that its model takes: a call that was too long for another goes on only to larger ones; "
        "without it to any other model",
    )
    when: WhenRow | None = Field(
        None, description="what calls must be like that go there, all of it; without it any call may"
    )


# ── answers that are kept ──────────────────────────────────────────────────────────────────────

_CACHE = CacheSettings()


class CacheRow(Rows):
    ttl: Positive = Field(_CACHE.ttl, description="how long an answer is kept")
    scope: Scope = Field(
        _CACHE.scope,
        description="for whom: `key`, for the key or token that asked; `all`, for all who may call the route",
    )


class KeptRow(Rows):
    most: Size = Field(
        MOST_KEPT,
        description="memory for all of them in each worker, the least recently used first out; one may take an eighth",
    )
