"""Provider rows: merged over what they are like and what the catalog says, checked, made into `Provider`s."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from providers import auth
from providers.canonical.errors import RouterError
from providers.dialects import QUIRKS
from providers.provider import ABILITIES, PLANNED, Provider
from router.complaints import Complaints, Partial, Place, Row, near
from router.secrets import BadReference, Secrets, Unresolved, check_reference

CONCURRENCY = 200  # calls of one upstream at once, where its row says nothing

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~$-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")
_PROXY = re.compile(r"http://[^\s/@?#]+/?")
_WRITTEN_BY_US = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "content-encoding", "te", "upgrade"}
)
_CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"})
_AS_THEY_ARE = (
    *("auth", "concurrency", "queue", "attempts", "timeouts"),
    *("resend_stale", "proxy", "ca_file", "client_cert"),
    *("nice", "on_invalid_json", "credits"),
)
_PRIVATE_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc")


class ProviderRows:
    """The providers of one file. `rows` are those of the file that can be read, `catalog` the shipped ones."""

    def __init__(
        self,
        rows: Mapping[str, Row | None],
        catalog: Mapping[str, Row],
        dialects: frozenset[str],
        secrets: Secrets,
        folder: Path,
        complaints: Complaints,
    ) -> None:
        self._rows = rows
        self._catalog = catalog
        self._dialects = dialects
        self._secrets = secrets
        self._folder = folder
        self._say = complaints
        self._made: dict[str, Provider | None] = {}
        self._named_at: dict[str, Place] = {}

    @functools.cached_property
    def _shipped_urls(self) -> set[str]:
        """Addresses of the catalog, that of the simulated upstream among them."""
        return {row["base_url"] for row in self._catalog.values()}

    @functools.cached_property
    def known(self) -> set[str]:
        """What may be named: rows of the file and of the catalog."""
        return self._say.names("providers") | set(self._catalog)

    def all(self) -> dict[str, Provider]:
        """Every row that the file has, or names, and that can be called."""
        for name in sorted(self._say.names("providers")):
            self._make(name)
        self._check_secrets()
        return {name: row for name, row in self._made.items() if row is not None}

    def get(self, name: str, place: Place) -> Provider | None:
        """The provider that is named at a place. None when there is none, or it cannot be called."""
        if name not in self.known:
            self._say.problem(place, f"there is no provider '{name}'{near(name, self.known)}")
            return None
        self._named_at.setdefault(name, place)
        return self._make(name)

    def _place(self, name: str) -> Place:
        """Where a row stands; of one that only the catalog has, where it is named first."""
        return ("providers", name) if name in self._say.names("providers") else self._named_at[name]

    # ── one row ───────────────────────────────────────────────────────────────────────────

    def _make(self, name: str) -> Provider | None:
        if name not in self._made:
            self._made[name] = None
            self._made[name] = self._read(name)
        return self._made[name]

    def _read(self, name: str) -> Provider | None:
        if name in self._say.names("providers") and name not in self._rows:
            return None  # not even a mapping: that was said before
        place = self._place(name)
        before = len(self._say.problems)
        row = self._merged(name)
        if row is None:
            return None
        row = _with_turns(row)
        if not _NAME.fullmatch(name):
            self._say.problem(place, f"provider '{name}': letters, digits and ._- are what a name is made of", key=True)
        speaks = self._speaks(place, name, row)
        self._check_url(place, name, row)
        if "auth" in row and (complaint := auth.check(row["auth"], row.get("base_url", ""))):
            self._say.problem((*place, "auth"), f"provider {name}: {complaint}")
        self._check_headers(place, row.get("headers", {}))
        self._check_query(place, row.get("query", {}))
        self._check_quirks(place, row)
        self._check_retry_on(place, row.get("retry_on", ()))
        self._check_fields(place, row)
        self._check_narrow(place, row)
        files = self._files(place, row)
        references = self._references(place, row)
        if len(self._say.problems) > before or not speaks or isinstance(row, Partial):
            return None
        return Provider(
            name=name,
            base_url=row["base_url"],
            speaks=speaks,
            secrets=references,
            headers={key.lower(): value for key, value in row.get("headers", {}).items()},
            query=row.get("query", {}),
            quirks=tuple(row.get("quirks", ())),
            takes=frozenset(row["takes"]) if "takes" in row else None,
            ranges={key: tuple(limits) for key, limits in row.get("ranges", {}).items()},
            abilities={key: _models(row[key]) for key in ABILITIES if row.get(key)},
            own=frozenset(row.get("own", ())),
            ignores=frozenset(row.get("ignores", ())),
            rejects=frozenset(row.get("rejects", ())),
            retry_on=frozenset(map(str, row["retry_on"])) if "retry_on" in row else None,
            **{"concurrency": CONCURRENCY} | {key: row[key] for key in _AS_THEY_ARE if key in row} | files,
        )

    def _merged(self, name: str, trail: tuple[str, ...] = ()) -> Row | None:
        """A row over what it is like. None, with a problem, when that is nothing."""
        row = {key: value for key, value in (self._rows.get(name) or {}).items() if value is not None}
        base = self._base(name, row.pop("like", None), trail)
        if base is None:
            return None
        merged = {**base, **row}
        for key in ("headers", "query", "timeouts", "ranges", "credits"):
            if key in row:
                given = {name: value for name, value in row[key].items() if value is not None}
                merged[key] = {**base.get(key, {}), **given}
        for one, other in (("secret", "secrets"), ("secrets", "secret")):
            if one in row and other not in row:
                merged.pop(other, None)
        bad = isinstance(self._rows.get(name), Partial) or isinstance(base, Partial)
        return Partial(merged) if bad else merged

    def _base(self, name: str, like: str | None, trail: tuple[str, ...]) -> Row | None:
        if like is None or (like == name and name in self._catalog):
            return self._catalog.get(name, {})
        place: Place = ("providers", name, "like")
        if like == name or like in trail:
            self._say.problem(place, f"'{name}' is like itself: {' -> '.join((*trail, name, like))}")
            return None
        if like in self._say.names("providers"):
            return self._merged(like, (*trail, name))
        if like not in self._catalog:
            self._say.problem(place, f"there is no provider '{like}'{near(like, self.known)}")
            return None
        return self._catalog[like]

    def _speaks(self, place: Place, name: str, row: Row) -> tuple[str, ...]:
        """The dialects of a row that this version has."""
        speaks = row.get("speaks", [])
        if not speaks and not isinstance(row, Partial):
            self._say.problem(place, f"provider {name}: 'speaks' is missing", key=True)
        for index, dialect in enumerate(speaks):
            if dialect not in self._dialects | PLANNED:
                message = f"there is no dialect '{dialect}'{near(dialect, self._dialects)}"
                self._say.problem((*place, "speaks", index), message)
        missing = [dialect for dialect in speaks if dialect in PLANNED - self._dialects]
        if missing and len(missing) == len(speaks):
            message = f"provider {name} is not called: {', '.join(missing)} is not available in this version"
            self._say.warn((*place, "speaks"), message)
        return tuple(dialect for dialect in speaks if dialect in self._dialects)

    def _check_url(self, place: Place, name: str, row: Row) -> None:
        url = row.get("base_url")
        if url is None:
            if not isinstance(row, Partial):
                hint = near(name, self._catalog)
                self._say.problem(place, f"provider {name}: 'base_url' is missing{hint}", key=True)
        elif missing := _PLACEHOLDER.findall(url):
            names = " and ".join(dict.fromkeys(missing))
            message = f"provider {name}: write `base_url` with your own {names}: {url}"
            self._say.problem((*place, "base_url"), message, key="base_url" not in (self._rows.get(name) or {}))
        elif url not in self._shipped_urls and (complaint := url_problem(url)):
            self._say.problem((*place, "base_url"), f"provider {name}: {complaint}")
        elif url.startswith("http:") and is_public(urlsplit(url).hostname or ""):
            message = f"provider {name}: http to a public host, keys and prompts can be read on the way"
            self._say.warn((*place, "base_url"), message)
        if "proxy" in row and not _PROXY.fullmatch(row["proxy"]):
            self._say.problem((*place, "proxy"), f"provider {name}: expected http://HOST:PORT as proxy")

    def _check_headers(self, place: Place, headers: Mapping[str, str]) -> None:
        for key, value in headers.items():
            where = (*place, "headers", key)
            if not _HEADER_NAME.fullmatch(key) or not _HEADER_VALUE.fullmatch(value):
                self._say.problem(where, f"'{key}' cannot be sent as a header", key=True)
            elif key.lower() in _WRITTEN_BY_US:
                self._say.problem(where, f"the header '{key}' is written by the gateway", key=True)
            elif key.lower() in _CREDENTIALS:
                message = f"the header '{key}' holds a secret that is written out, expected `auth` and `secret`"
                self._say.warn(where, message, key=True)

    def _check_query(self, place: Place, query: Mapping[str, str]) -> None:
        for key, value in query.items():
            if not _QUERY_NAME.fullmatch(key) or not value.isprintable():
                self._say.problem((*place, "query", key), f"'{key}' cannot be sent as a query parameter", key=True)

    def _check_quirks(self, place: Place, row: Row) -> None:
        """Quirks belong to a dialect, and a row may name those of the dialects that it speaks."""
        known = {quirk for dialect in row.get("speaks", ()) for quirk in QUIRKS.get(dialect, ())}
        for index, quirk in enumerate(row.get("quirks", ())):
            if quirk in known:
                continue
            others = [dialect for dialect, quirks in QUIRKS.items() if quirk in quirks]
            message = f"there is no quirk '{quirk}'{near(quirk, known)}"
            if others:
                message = f"'{quirk}' is a quirk of {' and '.join(others)}, which this row does not speak"
            self._say.problem((*place, "quirks", index), message)

    def _check_retry_on(self, place: Place, words: Sequence[str | int]) -> None:
        known = _fault_words()
        for index, word in enumerate(words):
            if not re.fullmatch(r"[45]\d\d", str(word)) and word not in known:
                hint = near(str(word), known) or f", or one of {', '.join(sorted(known))}"
                message = f"retry_on: expected a status from 400 to 599 or the name of an error{hint}"
                self._say.problem((*place, "retry_on", index), message)

    def _check_fields(self, place: Place, row: Row) -> None:
        for key in ("own", "ignores"):
            for field in sorted(set(row.get(key, ())) & set(row.get("rejects", ()))):
                self._say.problem((*place, key), f"'{field}' is in `{key}` and in `rejects`")
        for field in sorted(set(row.get("own", ())) & set(row.get("ignores", ()))):
            self._say.problem((*place, "own"), f"'{field}' is in `own` and in `ignores`")

    def _check_narrow(self, place: Place, row: Row) -> None:
        """What only some rows have a use for is said where it would be none."""
        if row.get("nice") is not None and "nice" not in row.get("quirks", ()):
            self._say.warn((*place, "nice"), "nice: has no effect without the quirk `nice`", key=True)
        for key, limits in row.get("ranges", {}).items():
            low, high = limits
            if low is not None and high is not None and low > high:
                self._say.problem((*place, "ranges", key), f"ranges: the least of {key} is more than the most")

    def _files(self, place: Place, row: Row) -> dict[str, str]:
        """The paths of its files, from where the gateway runs."""
        found: dict[str, str] = {}
        for key in ("ca_file", "client_cert"):
            if key not in row:
                continue
            path = self._folder / row[key]
            found[key] = str(path)
            try:
                path.open("rb").close()
            except OSError as error:
                message = f"{key}: {row[key]} cannot be read: {error.strerror or 'error'}"
                self._say.problem((*place, key), message)
        return found

    # ── secrets ───────────────────────────────────────────────────────────────────────────

    def _references(self, place: Place, row: Row) -> tuple[str, ...]:
        places: list[tuple[Place, str]] = []
        if "secret" in row:
            places.append(((*place, "secret"), row["secret"]))
        places += [((*place, "secrets", index), text) for index, text in enumerate(row.get("secrets", ()))]
        found = [shown_reference(where, text, self._secrets, self._say) for where, text in places]
        return tuple(reference for reference in found if reference)

    def _check_secrets(self) -> None:
        """A variable that is not set is a warning; a file that cannot be read refuses to start."""
        for name, provider in self._made.items():
            for reference in provider.secrets if provider else ():
                row = self._rows.get(name) or {}
                place = (*self._place(name), *(key for key in ("secret", "secrets") if key in row))
                key = place == ("providers", name)
                try:
                    secret = self._secrets.resolve(reference)
                except Unresolved as missing:
                    message = f"provider {name}: {missing}"
                    if reference.startswith("file:"):
                        self._say.problem(place, message, key=key)
                    else:
                        self._say.warn(place, f"{message}: calls to it are not tried", key=key)
                    continue
                if provider and (wrong := auth.check_secret(provider.auth, secret.reveal())):
                    self._say.problem(place, f"provider {name}: what {reference} stands for {wrong}", key=key)


_TURNS = {"repair": "alternate_turns", "reject": "strict_turns"}


def _with_turns(row: Row) -> Row:
    """The row with its `alternation` as the quirk that it is short for, in the place of any other of that kind."""
    said = row.get("alternation")
    if said not in _TURNS:
        return row
    others = [quirk for quirk in row.get("quirks", ()) if quirk not in (*_TURNS.values(), "alternate")]
    changed = {**row, "quirks": [*others, _TURNS[said]]}
    return Partial(changed) if isinstance(row, Partial) else changed


def _models(said: Any) -> tuple[str, ...]:
    """Which models an ability is said of, as patterns."""
    return ("*",) if said is True else tuple(said)


def shown_reference(place: Place, text: str, secrets: Secrets, say: Complaints) -> str | None:
    """A reference that may be shown. None, with a problem, for text that is none."""
    name = ".".join(map(str, place))
    try:
        kind = check_reference(text)
    except BadReference as bad:
        say.problem(place, f"{name}: {bad}")
        return None
    if kind != "literal":
        return text
    say.warn(place, f"{name}: a secret is written out here, expected env:NAME or file:PATH")
    return secrets.literal(text)


@functools.cache
def _fault_words() -> frozenset[str]:
    """What `retry_on` may name besides statuses: kinds and codes of an upstream's faults."""
    found: set[str] = set()
    todo: list[type[RouterError]] = [RouterError]
    while todo:
        error = todo.pop()
        todo.extend(error.__subclasses__())
        if error.fault == "upstream" and error.retry != "never":
            found |= {error.kind, error.code}
    return frozenset(found)


def url_problem(url: str) -> str | None:
    """What is wrong with a base URL, None when nothing is."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "base_url is not a URL, expected https://HOST"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "base_url is not a URL, expected https://HOST or http://HOST"
    if parts.username is not None or parts.password is not None:
        return "base_url holds a user name or password, expected `auth` and `secret`"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "base_url holds a query or fragment, expected a URL without"
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>{}|^`') or port == 0:
        return "base_url holds characters that a URL does not have"
    return None


def is_public(host: str) -> bool:
    """Does a host look as if it were reached through other people's networks?"""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        host = host.lower().rstrip(".")
        return "." in host and not host.endswith(_PRIVATE_ENDINGS)
