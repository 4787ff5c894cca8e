"""`when` of a target: what a call must be like to go there. Values, how they are read, and what cannot ever hold.

Every condition that is given must hold; whether it does is `policy/fitting.py`. There is no language of expressions:
what has alternatives is a list, what has several cases is several targets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from router.complaints import Complaints, Partial, Place, Row, near
from router.table import fits_star

MEDIA = ("image", "audio", "video", "file")
#: Headers that hold a caller's credential: whose call it is, is asked by `key`.
CREDENTIALS = frozenset({"authorization", "cookie", "x-api-key", "x-goog-api-key", "x-upstream-api-key"})
FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.1
#: What is known of a call whose body nobody reads.
UNREAD = frozenset({"key", "header"})

Clash: TypeAlias = tuple[str, str]  # the condition, and why it cannot hold


class HeaderIs(msgspec.Struct, frozen=True, kw_only=True):
    """What a header must be like; `name` in lower case. None: not asked."""

    name: str
    present: bool | None = None
    equals: tuple[str, ...] | None = None
    prefix: tuple[str, ...] | None = None

    @property
    def must_be_there(self) -> bool:
        return self.present is True or self.equals is not None or self.prefix is not None


class When(msgspec.Struct, frozen=True, kw_only=True):
    """All that must hold of a call. None and () mean: not asked.

    `key`, `model`: any of these names, `*` stands for anything. `above`, `below`: more than so many tokens of input,
    at most so many, by estimate. `media`: any of these kinds; () for none at all.
    """

    key: tuple[str, ...] = ()
    header: tuple[HeaderIs, ...] = ()
    model: tuple[str, ...] = ()
    above: int | None = None
    below: int | None = None
    tools: bool | None = None
    media: tuple[str, ...] | None = None
    stream: bool | None = None
    operation: tuple[str, ...] = ()


def read(row: Row) -> When:
    """A `when` of routes.yaml, good by itself."""
    tokens, media = row.get("tokens") or {}, row.get("media")
    return When(
        key=_several(row.get("key")),
        header=tuple(_header(name.lower(), said) for name, said in (row.get("header") or {}).items()),
        model=_several(row.get("model")),
        above=tokens.get("above"),
        below=tokens.get("below"),
        tools=row.get("tools"),
        media=() if media is False else MEDIA if media is True else None if media is None else tuple(media),
        stream=row.get("stream"),
        operation=_several(row.get("operation")),
    )


def _header(name: str, said: Row) -> HeaderIs:
    equals, prefix = (_several(said[key]) if said.get(key) is not None else None for key in ("equals", "prefix"))
    return HeaderIs(name=name, present=said.get("present"), equals=equals, prefix=prefix)


def _several(value: str | list[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def asked(conditions: Iterable[When]) -> list[str]:
    """Which things conditions look at, in the words of routes.yaml, each once."""
    found: dict[str, None] = {}
    for when in conditions:
        found |= dict.fromkeys(_asked(when))
    return list(found)


def _asked(when: When) -> Iterator[str]:
    for name in ("key", "header", "model", "operation"):
        if getattr(when, name):
            yield name
    if when.above is not None or when.below is not None:
        yield "tokens"
    for name in ("tools", "media", "stream"):
        if getattr(when, name) is not None:
            yield name


def written(conditions: Iterable[When]) -> str:
    """In short, for people: `tools and tokens above 1000`. Nothing where nothing is asked."""
    return " and ".join(part for when in conditions for part in _written(when))


def _written(when: When) -> Iterator[str]:
    if when.key:
        yield f"key {'/'.join(when.key)}"
    for header in when.header:
        yield f"{'no ' if header.present is False else ''}header {header.name}"
    if when.model:
        yield f"model {'/'.join(when.model)}"
    if when.above is not None:
        yield f"tokens above {when.above}"
    if when.below is not None:
        yield f"tokens below {when.below}"
    if when.tools is not None:
        yield "tools" if when.tools else "no tools"
    if when.media is not None:
        yield "/".join(when.media) if when.media else "no media"
    if when.stream is not None:
        yield "stream" if when.stream else "no stream"
    if when.operation:
        yield "/".join(when.operation)


# ── what cannot ever hold ──────────────────────────────────────────────────────────────────────


def check(place: Place, row: Row, keys: Collection[str], say: Complaints) -> None:
    """Says what is wrong with one `when`. `keys`: the names of callers' keys."""
    when = read(row)
    if not asked([when]) and not isinstance(row, Partial):
        say.problem(place, "when: expected at least one condition", key=True)
    for name, said in (row.get("header") or {}).items():
        if not FIELD_NAME.fullmatch(name):
            say.problem((*place, "header", name), f"when.header: {name!r} is not the name of a header", key=True)
        elif not isinstance(said, Partial) and all(value is None for value in said.values()):
            message = f"when.header: expected present, equals or prefix of '{name}'"
            say.problem((*place, "header", name), message, key=True)
        if name.lower() in CREDENTIALS:
            message = f"when.header: '{name}' holds a credential, expected `key`: the name of a caller's key"
            say.problem((*place, "header", name), message, key=True)
    for name in when.key:
        if not keys:
            say.problem((*place, "key"), "when.key: can never hold, for there are no `access.keys`")
            break
        if not any(fits_star(name, key) for key in keys):
            say.problem((*place, "key"), f"when.key: no key is called '{name}'{near(name, keys)}")
    for clash in clashes([when]):
        say.problem((*place, clash[0]), f"when.{clash[0]}: can never hold, {clash[1]}")


def clashes(conditions: Sequence[When]) -> Iterator[Clash]:
    """What cannot hold at once, of conditions that all must hold."""
    above = max((when.above for when in conditions if when.above is not None), default=None)
    below = min((when.below for when in conditions if when.below is not None), default=None)
    if above is not None and below is not None and above >= below:
        yield "tokens", f"nothing is above {above} and not above {below}"
    for name in ("tools", "stream"):
        if {getattr(when, name) for when in conditions} >= {True, False}:
            yield name, "it is asked for and ruled out"
    media = [set(when.media) for when in conditions if when.media is not None]
    if set() in media and any(media):
        yield "media", "it is asked for and ruled out"
    for name in ("key", "model", "operation"):
        lists = [said for when in conditions if (said := getattr(when, name))]
        if any(not _meet(one, other) for index, one in enumerate(lists) for other in lists[:index]):
            yield name, "no name is in both lists"
    yield from _operation_clashes(conditions, any(media))
    yield from _header_clashes([header for when in conditions for header in when.header])


def _operation_clashes(conditions: Sequence[When], media: bool) -> Iterator[Clash]:
    """What only chats have is asked of something else."""
    lists = [set(when.operation) for when in conditions if when.operation]
    wanted = set.intersection(*lists) if lists else {"chat"}
    if "chat" in wanted or not wanted:
        return
    if any(when.stream for when in conditions):
        yield "stream", "only chats are streamed"
    if wanted == {"embeddings"} and any(when.tools for when in conditions):
        yield "tools", "embeddings have none"


def _header_clashes(headers: Sequence[HeaderIs]) -> Iterator[Clash]:
    for name in dict.fromkeys(header.name for header in headers):
        same = [header for header in headers if header.name == name]
        if any(header.present is False for header in same) and any(header.must_be_there for header in same):
            yield "header", f"{name} must be there and must not"
        prefixes = [header.prefix for header in same if header.prefix is not None]
        for header in same:
            for prefix in prefixes:
                if header.equals is not None and not any(text.startswith(prefix) for text in header.equals):
                    yield "header", f"no value of {name} that is asked for begins with {' or '.join(prefix)}"


def _meet(some: Sequence[str], others: Sequence[str]) -> bool:
    """Is there, as far as can be told, a name that fits one of each? `*` stands for anything."""
    return any(may_meet(one, other) for one in some for other in others)


def may_meet(one: str, other: str) -> bool:
    """Could a name fit both patterns? True where it cannot be told."""
    if "*" not in one:
        return fits_star(other, one)
    if "*" not in other:
        return fits_star(one, other)
    (first, *_, end), (second, *_, last) = one.split("*"), other.split("*")
    begin = first.startswith(second) or second.startswith(first)
    return begin and (end.endswith(last) or last.endswith(end))


def as_row(when: When) -> Mapping[str, Any]:
    """In the words of routes.yaml, without what is not asked."""
    row: dict[str, Any] = {}
    for name in ("key", "model", "operation"):
        if names := getattr(when, name):
            row[name] = list(names)
    if when.header:
        row["header"] = {header.name: _header_row(header) for header in when.header}
    tokens = {name: getattr(when, name) for name in ("above", "below") if getattr(when, name) is not None}
    if tokens:
        row["tokens"] = tokens
    for name in ("tools", "stream"):
        if (said := getattr(when, name)) is not None:
            row[name] = said
    if when.media is not None:
        row["media"] = list(when.media) or False
    return row


def _header_row(header: HeaderIs) -> dict[str, Any]:
    said = {"present": header.present, "equals": header.equals, "prefix": header.prefix}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items() if value is not None}
