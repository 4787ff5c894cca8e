"""From the parts of a routes.yaml that are good by themselves to `Settings`: names are looked up, rows merged.

What can only be known with the whole file in hand is checked here: names that nobody has, patterns that are equal,
references that lead nowhere, access that is missing. Problems and warnings are collected, each with its place.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from providers import auth
from providers.canonical.errors import RouterError
from providers.provider import PLANNED, Provider
from router import checks, keyring
from router.secrets import BadReference, Secret, Secrets, Unresolved, check_reference
from router.settings import AccessSettings, Address, JwtSettings, KeyRow, Settings
from router.strict_yaml import Node, Problem
from router.table import (
    BadPattern,
    Egress,
    Limits,
    Model,
    PolicySettings,
    Route,
    Table,
    Target,
    compile_pattern,
)

Row: TypeAlias = dict[str, Any]
Path_: TypeAlias = tuple[str | int, ...]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-encoding", "te", "upgrade"})
_CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"})
_HOST_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?", re.IGNORECASE)
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]\s/]+):(\d{1,5})")


def near(word: str, known: Iterable[str]) -> str:
    """`, did you mean x?`, when there is one that is near; else nothing."""
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f", did you mean {names[found[0]]}?" if found else ""


class Assembly:
    """One file on its way to become Settings.

    `sections` are its good parts as plain values without defaults, `routes` with their index; `catalog` the shipped
    provider rows. `node` says where everything stands.
    """

    def __init__(
        self,
        node: Node,
        sections: Row,
        catalog: Mapping[str, Row],
        dialects: Iterable[str],
        path: str,
        secrets: Secrets,
    ) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._node = node
        self._sections = sections
        self._catalog = catalog
        self._dialects = frozenset(dialects)
        self._path = path
        self._secrets = secrets
        self._used: dict[str, Path_] = {}  # provider that is named somewhere -> where
        self._providers: dict[str, Provider | None] = {}  # None: cannot be used
        self._places: list[int] = []  # of each good route: its index in the file
        self._flat: dict[str, tuple[Target, ...]] = {}

    # ── saying what is wrong ──────────────────────────────────────────────────────────────

    def problem(self, path: Path_, message: str, *, key: bool = False) -> None:
        self.problems.append(Problem(*self._node.place(*path, key=key), message))

    def warn(self, path: Path_, message: str, *, key: bool = False) -> None:
        self.warnings.append(Problem(*self._node.place(*path, key=key), message))

    def _known(self, section: str) -> set[str]:
        """The names that a section of the file has, those of bad rows included."""
        value = self._node.at(section).value
        return set(value) if section in self._node.keys and isinstance(value, dict) else set()

    # ── the whole ─────────────────────────────────────────────────────────────────────────

    def settings(self) -> Settings:
        """What the file says. Worth something only when there are no problems."""
        server = self._sections.get("server", {})
        policies = self._policies()
        models = self._models()
        routes = self._routes()
        for name in sorted(self._known("providers")):
            self._provider(name)
        self._check_secrets()
        providers = {name: row for name, row in self._providers.items() if row is not None}
        access = self._access()
        listen = self._address(server.get("listen", "127.0.0.1:8080"), "listen") or ("127.0.0.1", 8080)
        admin = self._admin(server)
        if access is None and "access" not in self._node.keys and not is_loopback(listen[0]):
            self.problem(
                ("server", "listen"),
                f"{listen[0]} is not a loopback address: that needs `access`, so that not anybody may call",
            )
        limits = {**server.get("limits", {})}
        if "max_body" in server:
            limits["max_body"] = server["max_body"]
        settings = Settings(
            path=self._path,
            listen=listen,
            admin=admin,
            admin_token=self._admin_token(server, admin),
            drain=server.get("drain", 30.0),
            limits=Limits(**limits),
            access=access,
            providers=providers,
            models=models,
            policies=policies,
            table=Table(routes, models, providers),
            secrets=self._secrets,
            log=self._sections.get("telemetry", {}).get("log", "json") is not None,
        )
        for path, message in checks.find(settings):
            if path[0] == "routes" and len(path) > 1:
                path = ("routes", self._places[int(path[1])], *path[2:])
            self.warn(path, message)
        return settings

    # ── server ────────────────────────────────────────────────────────────────────────────

    def _admin(self, server: Row) -> Address | None:
        text = server.get("admin", "127.0.0.1:8081")
        return None if text is None else self._address(text, "admin")

    def _address(self, text: str, key: str) -> Address | None:
        found = _ADDRESS.fullmatch(text)
        if not found or int(found[2]) > 65535:
            self.problem(("server", key), f"server.{key}: expected HOST:PORT, found '{text}'")
            return None
        return found[1].strip("[]"), int(found[2])

    def _admin_token(self, server: Row, admin: Address | None) -> Secret | None:
        if reference := server.get("admin_token"):
            return self._required(("server", "admin_token"), reference)
        if admin and not is_loopback(admin[0]):
            self.warn(
                ("server", "admin"),
                f"{admin[0]} is not a loopback address, and there is no admin_token: anybody may look",
            )
        return None

    # ── secrets ───────────────────────────────────────────────────────────────────────────

    def _reference(self, path: Path_, reference: str) -> str | None:
        """A reference that can be shown; None, with a problem, for one that cannot be read."""
        try:
            kind = check_reference(reference)
        except BadReference as bad:
            self.problem(path, f"{_name(path)}: {bad}")
            return None
        if kind != "literal":
            return reference
        self.warn(path, f"{_name(path)}: a secret is written out here, expected env:NAME or file:PATH")
        return self._secrets.literal(reference)

    def _required(self, path: Path_, reference: str) -> Secret | None:
        """The secret itself; a problem when it is not there."""
        shown = self._reference(path, reference)
        try:
            return self._secrets.resolve(shown) if shown else None
        except Unresolved as missing:
            self.problem(path, f"{_name(path)}: {missing}")
            return None

    def _check_secrets(self) -> None:
        """A variable that is not set is a warning, once for each; a file that cannot be read refuses to start."""
        for name, provider in self._providers.items():
            for reference in provider.secrets if provider else ():
                path = ("providers", name, "secret")
                path = path if name in self._known("providers") else self._used.get(name, path)
                try:
                    secret = self._secrets.resolve(reference)
                except Unresolved as missing:
                    if reference.startswith("file:"):
                        self.problem(path, f"provider {name}: {missing}")
                    else:
                        self.warn(path, f"provider {name}: {missing}, calls to it are not tried")
                    continue
                if not auth.is_sendable(secret.reveal()):
                    self.problem(path, f"provider {name}: the secret of {reference} cannot stand in a header")

    # ── access ────────────────────────────────────────────────────────────────────────────

    def _access(self) -> AccessSettings | None:
        row = self._sections.get("access")
        if row is None:
            return None
        keys = self._keys(row.get("keys", []))
        jwt = self._jwt(row["jwt"]) if row.get("jwt") is not None else None
        if not row.get("keys") and row.get("jwt") is None:
            self.problem(("access",), "access: expected `keys` or `jwt`: as it is, nobody could call", key=True)
        return AccessSettings(keys=keys, jwt=jwt)

    def _keys(self, rows: Sequence[Row]) -> tuple[KeyRow, ...]:
        keys: list[KeyRow] = []
        known = self._known("models")
        for index, row in enumerate(rows):
            path = ("access", "keys", index)
            digest = bytes.fromhex(row["hash"].removeprefix("sha256:"))
            for other in keys:
                if other.name == row["name"]:
                    self.problem((*path, "name"), f"two keys are called '{other.name}'")
                if other.hash == digest:
                    self.problem((*path, "hash"), f"the same key as '{other.name}'")
            models = tuple(row.get("models", ["*"]))
            for position, name in enumerate(models):
                if "*" not in name and "/" not in name and name not in known:
                    self.warn((*path, "models", position), f"there is no model '{name}'{near(name, known)}")
            keys.append(KeyRow(name=row["name"], hash=digest, models=models))
        return tuple(keys)

    def _jwt(self, row: Row) -> JwtSettings | None:
        path: Path_ = ("access", "jwt")
        before = len(self.problems)
        secret = self._required((*path, "secret"), row["secret"]) if row.get("secret") else None
        public = self._public_key(row)
        jwks = self._jwks(row)
        given = [key for key in ("secret", "public_key", "jwks_file") if row.get(key)]
        if not given:
            self.problem(path, "access.jwt: expected `secret`, `public_key` or `jwks_file`")
        if "secret" in given and len(given) > 1:
            self.problem(
                (*path, "secret"),
                f"access.jwt: `secret` and `{given[1]}` exclude each other: a token is signed with the one or the other",
            )
        algorithms = tuple(
            row.get("algorithms") or (("HS256",) if "secret" in given else keyring.fitting(public, jwks))
        )
        for index, name in enumerate(algorithms):
            if complaint := keyring.algorithm_problem(name, hmac="secret" in given):
                self.problem(
                    (*path, "algorithms", index),
                    f"access.jwt.algorithms: {complaint}{near(name, keyring.ALGORITHMS)}",
                )
        if secret and (complaint := keyring.secret_problem(secret, algorithms)):
            self.problem((*path, "secret"), f"access.jwt.secret: {complaint}")
        audience = row.get("audience", [])
        audience = (audience,) if isinstance(audience, str) else tuple(audience)
        if not audience:
            self.warn(
                path,
                "access.jwt: without `audience` tokens that were made for other services are accepted",
                key=True,
            )
        if len(self.problems) > before:
            return None
        return JwtSettings(
            algorithms=algorithms,
            secret=secret,
            public_keys=(public,) if public else (),
            jwks=jwks,
            issuer=row.get("issuer"),
            audience=audience,
            leeway=row.get("leeway", 30.0),
        )

    def _public_key(self, row: Row) -> str | None:
        reference = row.get("public_key")
        if not reference:
            return None
        path = ("access", "jwt", "public_key")
        try:
            text = reference if reference.startswith("-----BEGIN") else self._secrets.resolve(reference).reveal()
        except Unresolved as missing:
            self.problem(path, f"access.jwt.public_key: {missing}")
            return None
        if complaint := keyring.pem_problem(text):
            self.problem(path, f"access.jwt.public_key: {complaint}")
        return text

    def _jwks(self, row: Row) -> tuple[Mapping[str, Any], ...]:
        name = row.get("jwks_file")
        if not name:
            return ()
        path = ("access", "jwt", "jwks_file")
        try:
            keys, unused = keyring.read_jwks((Path(self._path).parent / name).read_bytes())
        except OSError as error:
            self.problem(path, f"access.jwt.jwks_file: {name} cannot be read: {error.strerror or 'error'}")
            return ()
        except ValueError as error:
            self.problem(path, f"access.jwt.jwks_file: {name}: {error}")
            return ()
        for complaint in unused:
            self.warn(path, f"access.jwt.jwks_file: {name}: {complaint}")
        return keys

    # ── policies ──────────────────────────────────────────────────────────────────────────

    def _policies(self) -> dict[str, PolicySettings]:
        rows: dict[str, Row] = self._sections.get("policies", {})
        default = _policy(PolicySettings(), rows.get("default", {}))
        return {
            "default": default,
            **{name: _policy(default, row) for name, row in rows.items() if name != "default"},
        }

    def _check_policy(self, path: Path_, name: str | None) -> None:
        known = self._known("policies") | {"default"}
        if name is not None and name not in known:
            self.problem((*path, "policy"), f"there is no policy '{name}'{near(name, known)}")

    # ── providers ─────────────────────────────────────────────────────────────────────────

    def _merged(self, name: str, trail: tuple[str, ...] = ()) -> Row:
        """A row with what it is like, and what the catalog says of it."""
        rows: Mapping[str, Row | None] = self._sections.get("providers", {})
        row = rows.get(name) or {}
        like = row.get("like")
        if like is None:
            base = self._catalog.get(name, {})
        elif like in trail or like == name and name not in self._catalog:
            self.problem(("providers", trail[0] if trail else name, "like"), f"'{like}' is like itself in the end")
            base = {}
        elif like == name:
            base = self._catalog[name]
        elif like in self._known("providers"):
            base = self._merged(like, (*trail, name))
        elif like in self._catalog:
            base = self._catalog[like]
        else:
            known = self._known("providers") | set(self._catalog)
            self.problem(("providers", name, "like"), f"there is no provider '{like}'{near(like, known)}")
            base = {}
        merged = {**base, **{key: value for key, value in row.items() if value is not None and key != "like"}}
        for key in ("headers", "timeouts"):
            if base.get(key) and row.get(key):
                merged[key] = {**base[key], **row[key]}
        for one, other in (("secret", "secrets"), ("secrets", "secret")):
            if one in row and other not in row:
                merged.pop(other, None)
        return merged

    def _provider(self, name: str) -> Provider | None:
        """The row of that name, made once. None when it is bad, or speaks nothing that we do."""
        if name in self._providers:
            return self._providers[name]
        self._providers[name] = None
        if name in self._known("providers") and name not in self._sections.get("providers", {}):
            return None  # a problem has been reported already
        path: Path_ = ("providers", name)
        before = len(self.problems)
        row = self._merged(name)
        speaks = self._speaks(path, name, row)
        self._check_url(path, name, row)
        if complaint := auth.check(row.get("auth", "bearer")):
            self.problem((*path, "auth"), f"provider {name}: {complaint}")
        self._check_headers(path, row.get("headers", {}))
        self._check_names(path, row)
        self._check_files(path, row)
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
            self.problem(path, f"provider '{name}': letters, digits and ._- are what a name is made of", key=True)
        secrets = [(("secret",), row["secret"])] if row.get("secret") else []
        secrets += [(("secrets", index), text) for index, text in enumerate(row.get("secrets") or ())]
        references = [self._reference((*path, *where), text) for where, text in secrets]
        if len(self.problems) > before or not speaks:
            return None
        kept = {
            key: value
            for key, value in row.items()
            if key
            in (
                "auth",
                "concurrency",
                "queue",
                "attempts",
                "resend_stale",
                "proxy",
                "ca_file",
                "client_cert",
                "timeouts",
            )
        }
        provider = Provider(
            name=name,
            base_url=row["base_url"],
            speaks=speaks,
            secrets=tuple(reference for reference in references if reference),
            headers={key.lower(): value for key, value in row.get("headers", {}).items()},
            quirks=tuple(row.get("quirks", ())),
            own=frozenset(row.get("own", ())),
            ignores=frozenset(row.get("ignores", ())),
            rejects=frozenset(row.get("rejects", ())),
            retry_on=frozenset(map(str, row["retry_on"])) if "retry_on" in row else None,
            **kept,
        )
        self._providers[name] = provider
        return provider

    def _speaks(self, path: Path_, name: str, row: Row) -> tuple[str, ...]:
        speaks = row.get("speaks", [])
        if not speaks:
            self.problem(path, f"provider {name}: 'speaks' is missing", key=True)
        for index, dialect in enumerate(speaks):
            if dialect not in self._dialects and dialect not in PLANNED:
                self.problem(
                    (*path, "speaks", index),
                    f"there is no dialect '{dialect}'{near(dialect, self._dialects)}",
                )
        usable = tuple(dialect for dialect in speaks if dialect in self._dialects)
        if speaks and not usable and all(dialect in PLANNED for dialect in speaks):
            self.warn(
                (*path, "speaks"),
                f"provider {name} speaks only {', '.join(speaks)}, which this version does not: it is not called",
            )
        return usable

    def _check_url(self, path: Path_, name: str, row: Row) -> None:
        url = row.get("base_url")
        if not url:
            self.problem(path, f"provider {name}: 'base_url' is missing{near(name, self._catalog)}", key=True)
        elif complaint := url_problem(url):
            self.problem((*path, "base_url"), f"provider {name}: {complaint}")
        elif url.startswith("http:") and is_public(urlsplit(url).hostname or ""):
            self.warn(
                (*path, "base_url"),
                f"provider {name}: http to a public host: the key can be read on the way, expected https",
            )
        proxy = row.get("proxy")
        if proxy and not re.fullmatch(r"http://[^\s/@?#]+/?", proxy):
            self.problem((*path, "proxy"), f"provider {name}: expected http://HOST:PORT as a proxy")

    def _check_headers(self, path: Path_, headers: Mapping[str, str]) -> None:
        for key, value in headers.items():
            if not _HEADER_NAME.fullmatch(key) or not _HEADER_VALUE.fullmatch(value):
                self.problem((*path, "headers", key), f"'{key}' cannot be sent as a header", key=True)
            elif key.lower() in _OURS:
                self.problem((*path, "headers", key), f"the header '{key}' is written by the gateway", key=True)
            elif key.lower() in _CREDENTIALS:
                self.warn(
                    (*path, "headers", key),
                    f"the header '{key}' is a secret that is written out, expected `auth` and `secret`",
                    key=True,
                )

    def _check_names(self, path: Path_, row: Row) -> None:
        known = quirk_names()
        for index, quirk in enumerate(row.get("quirks") or ()):
            if quirk not in known:
                self.problem((*path, "quirks", index), f"there is no quirk '{quirk}'{near(quirk, known)}")
        kinds = _error_kinds()
        for index, what in enumerate(row.get("retry_on") or ()):
            if not (re.fullmatch(r"[45]\d\d", str(what)) or what in kinds):
                self.problem(
                    (*path, "retry_on", index),
                    f"expected a status or one of {', '.join(sorted(kinds))}{near(str(what), kinds)}",
                )
        for field in ("own", "ignores"):
            for name in set(row.get(field) or ()) & set(row.get("rejects") or ()):
                self.problem((*path, field), f"'{name}' is in `{field}` and in `rejects`")

    def _check_files(self, path: Path_, row: Row) -> None:
        for key in ("ca_file", "client_cert"):
            if name := row.get(key):
                row[key] = str(Path(self._path).parent / name)
                try:
                    Path(row[key]).open("rb").close()
                except OSError as error:
                    self.problem((*path, key), f"{key}: {name} cannot be read: {error.strerror or 'error'}")

    # ── targets and models ────────────────────────────────────────────────────────────────

    def _target(self, path: Path_, row: Row, trail: tuple[str, ...]) -> tuple[Target, ...]:
        """The targets that one row of a list stands for: more than one, or none, when it names another model."""
        name, model = row.get("provider"), row.get("model")
        if name is None:
            if model is None:
                self.problem(path, "a target names a `provider`, or another `model` of this file")
                return ()
            return self._alias(path, model, trail)
        if name not in self._known("providers") and name not in self._catalog:
            known = self._known("providers") | set(self._catalog)
            self.problem((*path, "provider"), f"there is no provider '{name}'{near(name, known)}")
            return ()
        self._used.setdefault(name, (*path, "provider"))
        if self._provider(name) is None:
            return ()
        return (Target(provider=name, model=model, weight=row.get("weight", 1)),)

    def _alias(self, path: Path_, name: str, trail: tuple[str, ...]) -> tuple[Target, ...]:
        if name not in self._known("models"):
            self.problem(
                (*path, "model"),
                f"there is no model '{name}' in this file{near(name, self._known('models'))}",
            )
            return ()
        if name in trail:
            circle = " -> ".join((*trail[trail.index(name) :], name))
            self.warn((*path, "model"), f"the names go in a circle: {circle}; this target is passed over")
            return ()
        return self._resolve(name, trail)

    def _resolve(self, name: str, trail: tuple[str, ...] = ()) -> tuple[Target, ...]:
        if name not in self._flat or trail:
            entry = self._sections.get("models", {}).get(name, [])
            is_list = isinstance(entry, list)
            path: Path_ = ("models", name) if is_list else ("models", name, "to")
            found = self._list(path, entry if is_list else entry["to"], (*trail, name))
            if trail:
                return found
            self._flat[name] = found
        return self._flat[name]

    def _list(self, path: Path_, rows: Sequence[Row], trail: tuple[str, ...] = ()) -> tuple[Target, ...]:
        return tuple(target for i, row in enumerate(rows) for target in self._target((*path, i), row, trail))

    def _models(self) -> tuple[Model, ...]:
        models = []
        for name, entry in self._sections.get("models", {}).items():
            path: Path_ = ("models", name)
            more = {} if isinstance(entry, list) else entry
            self._check_policy(path, more.get("policy"))
            if not name.strip() or len(name) > 256 or not name.isprintable():
                self.problem(path, "expected the name of a model", key=True)
            before = len(self.problems)
            targets = self._resolve(name)
            if targets:
                models.append(Model(name=name, to=targets, choose=more.get("choose"), policy=more.get("policy")))
            elif len(self.problems) == before:
                self.warn(path, f"the model '{name}' has no target that can be called: it is left out", key=True)
        return tuple(models)

    # ── routes ────────────────────────────────────────────────────────────────────────────

    def _routes(self) -> tuple[Route, ...]:
        if "routes" not in self._node.keys or not self._node.at("routes").value:
            self.problem(("routes",), "expected `routes` with at least one row", key=True)
        routes: list[Route] = []
        shapes: dict[tuple[str, ...], Route] = {}
        for index, row in self._sections.get("routes", []):
            route = self._route(("routes", index), row)
            if route is None:
                continue
            first = shapes.setdefault(compile_pattern(route.path).shape, route)
            if first is not route:
                self.problem(
                    ("routes", index, "path"),
                    f"the path {route.path} fits the same calls as that of line {first.line}, {first.path}",
                )
                continue
            routes.append(route)
            self._places.append(index)
        return tuple(routes)

    def _route(self, path: Path_, row: Row) -> Route | None:
        before = len(self.problems)
        self._check_policy(path, row.get("policy"))
        if row["speaks"] not in self._dialects:
            what = "is not available in this version" if row["speaks"] in PLANNED else "does not exist"
            self.problem(
                (*path, "speaks"),
                f"the dialect '{row['speaks']}' {what}{near(row['speaks'], self._dialects)}",
            )
        to = row["to"] if isinstance(row["to"], str) else self._list((*path, "to"), row["to"])
        egress = self._egress((*path, "egress"), row["egress"]) if row.get("egress") is not None else None
        self._check_pattern(path, row)
        if len(self.problems) > before:
            return None
        if not to:
            self.warn((*path, "to"), "no target of this route can be called")
        return Route(
            path=row["path"],
            speaks=row["speaks"],
            to=to,
            policy=row.get("policy"),
            on_loss=row.get("on_loss"),
            egress=egress,
            line=self._node.place(*path)[0],
        )

    def _check_pattern(self, path: Path_, row: Row) -> None:
        try:
            pattern = compile_pattern(row["path"])
        except BadPattern as bad:
            self.problem((*path, "path"), str(bad))
            return
        named = row["to"] == "named"
        if pattern.is_named and not named:
            self.problem((*path, "to"), "a path with an upstream's URL needs `to: named`")
        if named and not pattern.is_named:
            self.problem((*path, "path"), "`to: named` needs an upstream's URL in the path: {name:url}")
        if named and row.get("egress") is None:
            self.problem((*path, "to"), "`to: named` needs `egress`: which upstreams callers may name")
        if not named and row.get("egress") is not None:
            self.problem((*path, "egress"), "`egress` is for `to: named`", key=True)

    def _egress(self, path: Path_, row: Row) -> Egress:
        listed = tuple(row.get("listed", ()))
        for index, name in enumerate(listed):
            known = self._known("providers") | set(self._catalog)
            if name not in known:
                self.problem((*path, "listed", index), f"there is no provider '{name}'{near(name, known)}")
            else:
                self._used.setdefault(name, (*path, "listed", index))
                self._provider(name)
        unlisted = row.get("unlisted", False)
        if unlisted:
            self.warn(
                (*path, "unlisted"),
                "callers may name upstreams that are not listed: the gateway calls hosts of their choice",
            )
        hosts = unlisted if isinstance(unlisted, list) else []
        for index, host in enumerate(hosts):
            if not _HOST_PATTERN.fullmatch(host):
                self.problem(
                    (*path, "unlisted", index),
                    f"expected a host such as api.example.com or *.example.com, found '{host}'",
                )
        return Egress(
            listed=tuple(name for name in listed if self._providers.get(name)),
            unlisted=tuple(host.lower() for host in hosts) if isinstance(unlisted, list) else unlisted,
            default=self._list((*path, "default"), row.get("default", ())),
        )


# ── small questions ────────────────────────────────────────────────────────────────────────────


def _policy(base: PolicySettings, row: Row) -> PolicySettings:
    changes = {key: value for key, value in row.items() if key in PolicySettings.__struct_fields__}
    wait = row.get("wait", {})
    changes |= {f"wait_{key}": value for key, value in wait.items()}
    changes["timeouts"] = msgspec.structs.replace(base.timeouts, **row.get("timeouts", {}))
    return msgspec.structs.replace(base, **changes)


def _name(path: Path_) -> str:
    return ".".join(str(step) for step in path)


def _error_kinds() -> set[str]:
    """What `retry_on` may name: the kinds of faults of an upstream."""
    found, todo = set(), [RouterError]
    while todo:
        error = todo.pop()
        todo.extend(error.__subclasses__())
        if error.fault == "upstream" and "kind" in vars(error):
            found.add(error.kind)
    return found


def quirk_names() -> frozenset[str]:
    """The quirks that rows may name."""
    return frozenset()


def url_problem(url: str) -> str | None:
    """What is wrong with a base URL, None when nothing is."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "base_url is not a URL"
    if parts.scheme not in ("http", "https", "demo") or not parts.hostname:
        return (
            f"expected https://HOST… or http://HOST… as base_url, found '{parts.scheme}:'"
            if parts.scheme
            else "base_url is not a URL, expected https://HOST…"
        )
    if parts.username is not None or parts.password is not None:
        return "base_url holds a user name or password, expected `auth` and `secret`"
    if parts.query or parts.fragment:
        return "base_url holds a query or fragment"
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url or port == 0:
        return "base_url is not a URL"
    return None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_public(host: str) -> bool:
    """Does a host look as if it were reached through other people's networks?"""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        host = host.lower().rstrip(".")
        return "." in host and not host.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc"))
