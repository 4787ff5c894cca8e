"""Two routes.yaml side by side: which calls would go elsewhere, or be treated otherwise (`isthmus config diff`).

Calls are tried, not read off the files: every path of either table with every model that either knows, one made-up
name for each pattern, through both tables. So what an alias, a longer pattern or another row takes over is found, too.
The rest (policies, providers, keys, limits, …) is compared value by value. Nothing secret is told, only that it is
another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any, TypeAlias

import msgspec

from providers.canonical.errors import RouterError
from router.conditions import as_row
from router.secrets import Secret
from router.settings import Settings
from router.table import Route, Rules, Table, Target, compile_pattern
from router.units import write_duration, write_size

Json: TypeAlias = Any

HIDDEN = "***"
MADE_UP = "0"  # what stands for the `*` of a pattern, and for a parameter of a path

#: Fields of Settings that have a section of their own, or say nothing of calls.
_COMPARED = frozenset({"access", "chats", "limits", "models", "policies", "prices", "providers", "table"})
_COMPARED |= {"asked", "path", "secrets"}
#: Fields whose values are not shown.
_SECRET = frozenset({"admin_token", "hash", "headers", "jwks", "public_keys", "query", "secret", "secrets"})
_SIZES = frozenset({"max_body", "upstream_body", "sse_event", "stream_buffer", "min_rate"})
_SHARES = frozenset({"retry_budget", "nice"})
_SECONDS = frozenset({"connect", "first_byte", "idle", "total", "within", "wait_first", "wait_most", "cool"})
_SECONDS |= {"drain", "leeway", "head", "body", "write_stall", "rate_over", "after", "ttl"}
#: What None is called.
_NONE = {"after": "p95"}
#: Where something stands, or where it was found: not what it is.
_ASIDE = frozenset({"line", "source", "as_of", "path", "name"})
#: What is told of calls, model by model.
_OF_CALLS = frozenset({"to", "rules", "policy", "on_loss", "check_schema", "egress"})
_USER = re.compile(r"//[^/@\s]*@")
_LONGEST = 100  # characters of a text that is shown


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is different. `field` empty: all of it is new, or gone. None: not there."""

    section: str
    name: str
    field: str = ""
    before: Json = None
    after: Json = None


def compare(old: Settings, new: Settings) -> list[Change]:
    """All that is different, what matters most first."""
    return [
        *_routes(old, new),
        *_calls(old, new),
        *_rows("policies", old.policies, new.policies),
        *_rows("providers", _providers(old), _providers(new)),
        *_access(old, new),
        *_values("server", "limits", _said(old.limits), _said(new.limits)),
        *_values("server", "", _others(old), _others(new)),
        *_rows("prices", _prices(old), _prices(new)),
        *_chats(old, new),
    ]


# ── calls ──────────────────────────────────────────────────────────────────────────────────────


def _routes(old: Settings, new: Settings) -> Iterator[Change]:
    """Paths that are answered by one table only, or by another row, or otherwise."""
    for path, before, after in _paths(old.table, new.table):
        if before is None or after is None:
            shown = [None if route is None else _shown_route(route) for route in (before, after)]
            yield Change(section="routes", name=path, before=shown[0], after=shown[1])
            continue
        if before.path != after.path:
            yield Change(section="routes", name=path, field="answered by", before=before.path, after=after.path)
        yield from _values("routes", path, _row(before), _row(after))


def _row(route: Route) -> dict[str, Json]:
    """What a route says of all its calls."""
    fields = {name: value for name, value in _said(route).items() if name not in _OF_CALLS}
    egress = {} if route.egress is None else _said(route.egress)
    egress.pop("default", None)
    return {**fields, "egress": egress}


def _shown_route(route: Route) -> str:
    to = route.to if isinstance(route.to, str) else ", ".join(map(_shown, route.to))
    return f"{route.speaks} to {to}"


def _paths(old: Table, new: Table) -> Iterator[tuple[str, Route | None, Route | None]]:
    """Every pattern of either table, and who answers a path of it in both."""
    for path in dict.fromkeys(route.path for table in (new, old) for route in table.routes):
        probe = probe_of(path)
        yield path, _answers(old, probe), _answers(new, probe)


def probe_of(pattern: str) -> str:
    """A path that fits a pattern, and as few others as can be."""
    steps = {"name": MADE_UP, "secret": MADE_UP, "url": "https://upstream.invalid", "task": f"{MADE_UP}:{MADE_UP}"}
    return "".join(
        f"/{segment.text}"
        if segment.kind == "literal"
        else f"/{_rest(segment.text)}"
        if segment.kind == "rest"
        else f"/{steps[segment.kind]}"
        for segment in compile_pattern(pattern).segments
    )


def _rest(text: str) -> str:
    return f"{text}/{MADE_UP}" if text else MADE_UP


def _answers(table: Table, probe: str) -> Route | None:
    try:
        return table.match("POST", probe).route
    except RouterError:
        return None


def _calls(old: Settings, new: Settings) -> Iterator[Change]:
    """For each model that is answered otherwise: on which paths, and how."""
    found: dict[bytes, tuple[str, dict[str, Json] | None, dict[str, Json] | None, list[str]]] = {}
    probes = dict(_models(old, new))
    for path, one, other in _paths(old.table, new.table):
        if one is None or other is None:
            continue
        for name, probe in probes.items() if "models" in (one.to, other.to) else (("any model", MADE_UP),):
            before, after = _way(old, one, probe), _way(new, other, probe)
            if before != after:
                key = msgspec.json.encode((name, before, after))
                found.setdefault(key, (name, before, after, []))[3].append(path)
    for name, before, after, paths in found.values():
        where = f"{name} at {_few(paths)}"
        if before is None or after is None:
            yield Change(section="calls", name=where, before=before, after=after)
        else:
            yield from _values("calls", where, before, after)


def _models(old: Settings, new: Settings) -> Iterator[tuple[str, str]]:
    """What callers may name in either file, each with a name that stands for it."""
    for settings in (new, old):
        for model in settings.models:
            yield model.name, model.name.replace("*", MADE_UP)
    for settings in (new, old):
        for provider in settings.providers:
            yield f"{provider}/*", f"{provider}/{MADE_UP}"


def _way(settings: Settings, route: Route, model: str) -> dict[str, Json] | None:
    """What becomes of a call: None where its model is not known."""
    try:
        leads = settings.table.targets(route, model)
    except RouterError:
        return None
    policy = settings.policies[leads.policy or "default"]
    rules = leads.rules or Rules()
    return {
        "targets": [_shown(target) for target in leads.targets],
        "policy": leads.policy or "default",
        "choose": leads.choose or policy.choose,
        "sticky": rules.sticky or "off",
        "prefer": rules.prefer or "off",
        "on_loss": route.on_loss or policy.on_loss,
        "check_schema": route.check_schema or policy.check_schema,
    }


def _shown(target: Target) -> str:
    """A target with all that is said of it."""
    weight = f" weight {target.weight}" if target.weight != 1 else ""
    conditions = [msgspec.json.encode(as_row(when)).decode() for when in target.when]
    return f"{target.provider}/{target.model or '*'}{weight}" + "".join(f" when {each}" for each in conditions)


def _few(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


# ── everything else ────────────────────────────────────────────────────────────────────────────


def _providers(settings: Settings) -> dict[str, dict[str, Json]]:
    """Rows; a key that is written out is compared by what it is."""
    found: dict[str, dict[str, Json]] = {}
    for name, row in settings.providers.items():
        references = [settings.secrets.get(each) if each.startswith("literal:") else each for each in row.secrets]
        found[name] = {**_said(row), "secrets": references}
    return found


def _access(old: Settings, new: Settings) -> Iterator[Change]:
    before, after = old.access, new.access
    if (before is None) != (after is None):
        words = ["anybody may call" if access is None else "a credential is asked for" for access in (before, after)]
        yield Change(section="access", name="", field="callers", before=words[0], after=words[1])
    keys = [{key.name: key for key in access.keys} if access is not None else {} for access in (before, after)]
    yield from _rows("access", *({f"key {name}": key for name, key in each.items()} for each in keys))
    tokens = [{"jwt": access.jwt} if access is not None and access.jwt else {} for access in (before, after)]
    yield from _rows("access", tokens[0], tokens[1])


def _others(settings: Settings) -> dict[str, Json]:
    """Everything that is compared nowhere else, whatever comes to it."""
    fields = {name: value for name, value in _said(settings).items() if name not in _COMPARED}
    return {**fields, "listen": _address(settings.listen), "admin": _address(settings.admin)}


def _address(address: tuple[str, int] | None) -> str | None:
    return None if address is None else f"{address[0]}:{address[1]}"


def _prices(settings: Settings) -> dict[str, Json]:
    return {
        f"{provider}/{model}": price
        for provider, prices in settings.prices.items()
        for model, price in (*prices.exact.items(), *prices.patterns)
    }


def _chats(old: Settings, new: Settings) -> Iterator[Change]:
    before, after = ({} if settings.chats is None else {"service": settings.chats} for settings in (old, new))
    yield from _rows("chats", before, after)


def _rows(section: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Values by name: new ones, those that are gone, and what is different of the others."""
    for name in dict.fromkeys((*new, *old)):
        if name not in old or name not in new:
            yield Change(section=section, name=name, before=_there(old, name), after=_there(new, name))
        else:
            yield from _values(section, name, _said(old[name]), _said(new[name]))


def _there(rows: Mapping[str, Any], name: str) -> Json:
    return {} if name in rows else None


def _values(
    section: str, name: str, old: Mapping[str, Any], new: Mapping[str, Any], above: str = ""
) -> Iterator[Change]:
    """What is different between two mappings; of mappings in them, key by key."""
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if key in _ASIDE or before == after:
            continue
        field = f"{above}{key}"
        if isinstance(before, msgspec.Struct | Mapping) and isinstance(after, msgspec.Struct | Mapping):
            yield from _values(section, name, _said(before, key), _said(after, key), f"{field}.")
        else:
            yield Change(section=section, name=name, field=field, before=told(key, before), after=told(key, after))


class _Hidden:
    """A value that is compared and not shown: no mapping and no struct, so that nobody looks into it."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden) and self._value == other._value

    __hash__ = None  # type: ignore[assignment]  # nobody looks one up


def _said(value: Any, key: str = "") -> dict[str, Any]:
    """The fields of a value; what is below a secret key is secret."""
    fields = dict(value) if isinstance(value, Mapping) else msgspec.structs.asdict(value)
    return {name: _Hidden(each) for name, each in fields.items()} if key in _SECRET else fields


def told(key: str, value: Any) -> Json:
    """The value of a key as it may be shown, in the words of routes.yaml."""
    if value is None:
        return _NONE.get(key)
    if isinstance(value, bool):
        return value
    if key in _SECRET or isinstance(value, Secret | _Hidden):
        return HIDDEN if value not in ((), "") else None
    if isinstance(value, float):
        return write_duration(value) if key in _SECONDS else f"{value * 100:g}%" if key in _SHARES else value
    if isinstance(value, int):
        return write_size(value) if key in _SIZES else value
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, str | Decimal | PurePath):
        text = _USER.sub(f"//{HIDDEN}@", str(value))
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    if isinstance(value, list | tuple):
        return [told("", each) for each in value]
    return {name: told(name, each) for name, each in _said(value).items() if name not in _ASIDE}


# ── on a screen ────────────────────────────────────────────────────────────────────────────────


def lines(changes: Iterable[Change]) -> Iterator[str]:
    """As text: by section and name, `-` and `+` before what is gone and what is new."""
    section = name = None
    for change in changes:
        if change.section != section:
            yield change.section
            section, name = change.section, None
        if not change.field:
            mark, value = ("+", change.after) if change.before is None else ("-", change.before)
            yield f"  {mark} {change.name}{f': {_flat(value)}' if value else ''}"
            name = None
            continue
        if change.name != name and change.name:
            yield f"  {change.name}"
        name = change.name
        yield from (f"    {line}" for line in _changed(change))


def _changed(change: Change) -> Iterator[str]:
    before, after = change.before, change.after
    if isinstance(before, list) and isinstance(after, list):
        gone = [each for each in before if each not in after]
        come = [each for each in after if each not in before]
        if not gone and not come:
            yield f"{change.field}: in another order: {_flat(after)}"
        else:
            kept = f" (beside {len(before) - len(gone)} that stay)" if len(before) > len(gone) else ""
            yield f"{change.field}:{kept}"
            yield from (f"  - {_flat(each)}" for each in gone)
            yield from (f"  + {_flat(each)}" for each in come)
    elif before == after:
        yield f"{change.field}: another one"
    else:
        yield f"{change.field}: {_flat(before)} -> {_flat(after)}"


def _flat(value: Json) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_flat(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_flat, value)) or "none"
    return "none" if value is None else str(value)
