"""From the parts of a routes.yaml that are good by themselves to `Settings`: names are looked up, rows put together.

What can only be known with the whole file in hand is checked here: names that nobody has, patterns that are equal,
references that lead nowhere, access that is missing. Whatever is wrong is collected, each with its place.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from providers.dialect import Dialect
from providers.dialects.upstream_only import UpstreamOnly
from providers.provider import PLANNED
from router import checks, conditions, shares, validating
from router.chats.personas import ChatSettings
from router.chats.rows import ChatRows
from router.complaints import Complaints, Partial, Place, Row, near
from router.conditions import When
from router.prices import price_lists, targets_of
from router.rows import ProviderRows, shown_reference
from router.secrets import Secret, Secrets, Unresolved
from router.settings import MOST_KEPT, AccessSettings, Address, Budget, JwtSettings, KeyRow, Settings, Unit
from router.strict_yaml import Node
from router.table import (
    OPAQUE,
    OPAQUE_METHODS,
    BadPattern,
    BreakerSettings,
    CacheSettings,
    Egress,
    HedgeSettings,
    Limits,
    Model,
    OutlierSettings,
    Pattern,
    PolicySettings,
    Route,
    Rules,
    Table,
    Target,
    compile_pattern,
)
from router.tokens import KEY_KINDS, Tokens

MOST_JWKS_BYTES = 1 << 20
MOST_ALIASED = 5_000  # names of models in the place of targets, followed to the end

_HOST_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?", re.IGNORECASE)
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]\s/]+):(\d{1,5})")
#: The usual algorithm of each kind of key.
_USUAL = ("RS256", "ES256", "ES384", "ES512", "EdDSA")


class Assembly:
    """One file on its way to become Settings.

    `sections` are its good parts as plain values without defaults, `routes` with their index; `catalog` the shipped
    provider rows; `asked` what the command line says in the place of the file's `server`; `whole`, whether all of the
    file is in `sections`; `today` is the day for published prices.
    """

    def __init__(
        self,
        node: Node,
        sections: Row,
        *,
        catalog: Mapping[str, Row],
        dialects: Mapping[str, Dialect],
        path: str,
        secrets: Secrets,
        asked: Mapping[str, str],
        whole: bool,
        today: date,
    ) -> None:
        self.complaints = self._say = Complaints(node)
        self._sections = sections
        self._dialects = frozenset(dialects)
        self._heard = frozenset(name for name, spoken in dialects.items() if not isinstance(spoken, UpstreamOnly))
        self._path = path
        self._secrets = secrets
        self._asked = asked
        self._whole = whole
        self._today = today
        self._aliased = 0
        self._rows = ProviderRows(
            sections.get("providers", {}),
            catalog,
            self._dialects,
            secrets,
            Path(path).parent,
            self._say,
        )

    def settings(self) -> Settings:
        """What the file says. Worth something only when there are no problems."""
        server = {**self._sections.get("server", {}), **self._asked}
        policies = self._policies()
        models = self._models()
        routes, places = self._routes()
        providers = self._rows.all()
        access = self._access()
        listen = self._listen(server)
        limits = dict(server.get("limits", {}))
        if "max_body" in server:
            limits["max_body"] = server["max_body"]
        admin = self._admin(server)
        table = Table(routes, models, providers)
        settings = Settings(
            path=self._path,
            listen=listen,
            admin=admin,
            admin_token=self._admin_token(server, admin),
            workers=shares.cores() if server.get("workers", 1) == "auto" else int(server.get("workers", 1)),
            drain=server.get("drain", 30.0),
            limits=Limits(**limits),
            access=access,
            providers=providers,
            models=models,
            prices=price_lists(
                self._sections.get("prices", {}),
                self._rows.known,
                targets_of(models, routes),
                providers,
                self._today,
                self._say,
            ),
            policies=policies,
            table=table,
            secrets=self._secrets,
            log=self._sections.get("telemetry", {}).get("log", "json"),
            kept=self._most_kept(routes),
            chats=self._chats(table),
            state_file=self._state_file(),
            asked=self._asked,
        )
        for place, message in shares.problems(settings):
            self._say.problem(place, message)
        if self._whole and not self._say.problems:
            for place, message in checks.find(settings):
                if place[0] == "routes" and len(place) > 1:
                    place = (*places[int(place[1])], *place[2:])
                self._say.warn(place, message)
        return settings

    def _chats(self, table: Table) -> ChatSettings | None:
        if not self._say.has("chats"):
            return None
        return ChatRows(self._sections.get("chats", Partial()), table, Path(self._path).parent, self._say).settings()

    def _most_kept(self, routes: Sequence[Route]) -> int:
        """Bytes of the answers that are kept."""
        if self._say.has("cache") and self._whole and not any(route.cache for route in routes):
            self._say.warn(("cache",), "has no effect: no route has `cache`", key=True)
        most: int = self._sections.get("cache", {}).get("most", MOST_KEPT)
        return most

    def _state_file(self) -> Path | None:
        name = self._sections.get("state", {}).get("file")
        if name is not None and (not name or "\0" in name):
            found = "a NUL" if name else "nothing"
            self._say.problem(("state", "file"), f"state.file: expected the name of a file, found {found}")
        return Path(self._path).parent / name if name else None

    # ── server ────────────────────────────────────────────────────────────────────────────

    def _listen(self, server: Row) -> Address:
        address = self._address(server.get("listen", "127.0.0.1:8080"), "listen") or ("127.0.0.1", 8080)
        if not self._say.has("access") and not is_loopback(address[0]):
            message = f"server.listen: {address[0]} is not a loopback address, which needs `access`: who may call"
            self._say.problem(("server", "listen"), message)
        return address

    def _admin(self, server: Row) -> Address | None:
        text = server.get("admin", "127.0.0.1:8081")
        return None if text is None else self._address(text, "admin")

    def _address(self, text: str, key: str) -> Address | None:
        found = _ADDRESS.fullmatch(text)
        if not found or int(found[2]) > 65535:
            self._say.problem(("server", key), f"server.{key}: expected HOST:PORT, found '{text}'")
            return None
        return found[1].strip("[]"), int(found[2])

    def _admin_token(self, server: Row, admin: Address | None) -> Secret | None:
        if server.get("admin_token") is not None:
            return self._required(("server", "admin_token"), server["admin_token"])
        if admin is not None and not is_loopback(admin[0]):
            message = f"server.admin: {admin[0]} is not a loopback address, and without admin_token anybody may look"
            self._say.warn(("server", "admin"), message)
        return None

    def _required(self, place: Place, text: str) -> Secret | None:
        """The secret itself; a problem when it is not there."""
        reference = shown_reference(place, text, self._secrets, self._say)
        try:
            return self._secrets.resolve(reference) if reference else None
        except Unresolved as missing:
            self._say.problem(place, f"{'.'.join(map(str, place))}: {missing}")
            return None

    # ── access ────────────────────────────────────────────────────────────────────────────

    def _access(self) -> AccessSettings | None:
        if not self._say.has("access"):
            return None
        row = self._sections.get("access", {})
        keys = self._keys(row.get("keys", []))
        jwt = self._jwt(row["jwt"]) if row.get("jwt") is not None else None
        if not isinstance(row, Partial) and not row.get("keys") and row.get("jwt") is None:
            self._say.problem(("access",), "access: expected `keys` or `jwt`: as it is, nobody may call", key=True)
        return AccessSettings(keys=keys, jwt=jwt)

    def _keys(self, rows: Sequence[Row]) -> tuple[KeyRow, ...]:
        keys: list[KeyRow] = []
        for index, row in enumerate(rows):
            place: Place = ("access", "keys", index)
            digest = bytes.fromhex(row["hash"].removeprefix("sha256:"))
            if any(other.name == row["name"] for other in keys):
                self._say.problem((*place, "name"), f"two keys are called '{row['name']}'")
            if same := next((other.name for other in keys if other.hash == digest), None):
                self._say.problem((*place, "hash"), f"this is the same key as '{same}'")
            models = tuple(row.get("models", ("*",)))
            self._check_key_models((*place, "models"), models)
            nice, limits, budget = row.get("nice", False), _limits(row), self._budget(place, row.get("budget"))
            keys.append(KeyRow(name=row["name"], hash=digest, models=models, nice=nice, limits=limits, budget=budget))
        return tuple(keys)

    def _budget(self, place: Place, row: Row | None) -> Budget | None:
        if row is None:
            return None
        budget = Budget(**row)
        if not budget.limits():
            self._say.problem((*place, "budget"), "budget: expected an amount, `usd` or `credits`", key=True)
        if budget.usd is None and budget.unpriced == "allow":
            message = "budget.unpriced has no effect: without `usd` it does not matter what targets cost"
            self._say.problem((*place, "budget", "unpriced"), message)
        return budget

    def _check_key_models(self, place: Place, models: Sequence[str]) -> None:
        known = self._say.names("models")
        for index, name in enumerate(models):
            if "*" not in name and "/" not in name and name not in known and "models" in self._sections:
                self._say.warn((*place, index), f"there is no model '{name}'{near(name, known)}")

    def _jwt(self, row: Row) -> JwtSettings | None:
        place: Place = ("access", "jwt")
        before = len(self._say.problems)
        if not any(row.get(key) for key in ("secret", "public_key", "jwks_file")):
            self._say.problem(place, "access.jwt: expected `secret`, `public_key` or `jwks_file`")
            return None
        secret = self._required((*place, "secret"), row["secret"]) if row.get("secret") else None
        public = self._public_key(row.get("public_key"))
        audience = row.get("audience", [])
        settings = JwtSettings(
            algorithms=tuple(row.get("algorithms") or ()),
            secret=secret,
            public_keys=(public,) if public else (),
            jwks=self._jwks(row["jwks_file"]) if row.get("jwks_file") else (),
            issuer=row.get("issuer"),
            audience=(audience,) if isinstance(audience, str) else tuple(audience),
            leeway=row.get("leeway", 30.0),
        )
        for index, name in enumerate(settings.algorithms):
            if name not in KEY_KINDS:
                message = f"access.jwt.algorithms: expected some of {', '.join(KEY_KINDS)}{near(name, KEY_KINDS)}"
                self._say.problem((*place, "algorithms", index), message)
        if len(self._say.problems) > before:
            return None
        if not settings.algorithms:
            settings = msgspec.structs.replace(settings, algorithms=_usual_algorithms(settings))
        self._check_jwt(place, settings)
        return settings

    def _check_jwt(self, place: Place, settings: JwtSettings) -> None:
        try:
            Tokens(settings)
        except ValueError as error:
            key = str(error).partition(" ")[0].rpartition(".")[2]
            self._say.problem((*place, key), str(error))
        kinds = {KEY_KINDS.get(name) for name in settings.algorithms}
        if settings.secret and "oct" not in kinds:
            self._say.warn((*place, "secret"), "access.jwt.secret is not used: no HS algorithm is listed")
        if (settings.public_keys or settings.jwks) and not kinds - {"oct"}:
            self._say.warn(place, "access.jwt: the public keys are not used: only HS algorithms are listed", key=True)
        if not settings.audience:
            message = "access.jwt: without `audience` tokens that were made for other services are taken, too"
            self._say.warn(place, message, key=True)

    def _public_key(self, text: str | None) -> str | None:
        """PEM. It is no secret, so that it may stand in the file."""
        if not text or text.startswith("-----BEGIN"):
            return text
        secret = self._required(("access", "jwt", "public_key"), text)
        return secret.reveal() if secret else None

    def _jwks(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """The keys of a JWK set (RFC 7517 section 5). Which of them are used is said by the algorithms."""
        place = ("access", "jwt", "jwks_file")
        try:
            with (Path(self._path).parent / name).open("rb") as file:
                data = file.read(MOST_JWKS_BYTES + 1)
        except OSError as error:
            self._say.problem(place, f"access.jwt.jwks_file: {name} cannot be read: {error.strerror or 'error'}")
            return ()
        try:
            content = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError):
            content = None
        rows = content.get("keys") if isinstance(content, dict) and len(data) <= MOST_JWKS_BYTES else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._say.problem(place, f'access.jwt.jwks_file: {name} holds no JWK set, expected {{"keys": [...]}}')
            return ()
        if any(row.get("kty") == "oct" for row in rows):
            self._say.warn(place, f"access.jwt.jwks_file: {name} holds an HMAC secret, which is not used")
        return tuple(row for row in rows if row.get("kty") != "oct")

    # ── policies ──────────────────────────────────────────────────────────────────────────

    def _policies(self) -> dict[str, PolicySettings]:
        """`default` over what is built in, the others over `default`."""
        rows: dict[str, Row] = self._sections.get("policies", {})
        for name, row in rows.items():
            self._check_extra(("policies", name), row)
        default = _policy(PolicySettings(), rows.get("default", {}))
        others = {name: _policy(default, row) for name, row in rows.items() if name != "default"}
        policies = {"default": default, **others}
        for name, row in rows.items():
            if row.get("hedge") is not None and policies[name].attempts == 1:
                message = "hedge: a second attempt needs `attempts` of at least 2"
                self._say.problem(("policies", name, "hedge"), message)
        return policies

    def _check_extra(self, place: Place, row: Row) -> None:
        if row.get("check_schema", "off") != "off" and not validating.AVAILABLE:
            message = "check_schema: jsonschema-rs is not installed, expected `pip install isthmus[schema]`"
            self._say.problem((*place, "check_schema"), message)

    def _check_policy(self, place: Place, row: Row) -> None:
        name, known = row.get("policy"), self._say.names("policies") | {"default"}
        if name is not None and name not in known:
            self._say.problem((*place, "policy"), f"there is no policy '{name}'{near(name, known)}")

    # ── targets and models ────────────────────────────────────────────────────────────────

    def _targets(self, place: Place, rows: Sequence[Row], trail: tuple[str, ...] = ()) -> tuple[Target, ...]:
        """The targets of a list that can be called. A row that names another model stands for all of that one's."""
        found: list[Target] = []
        for index, row in enumerate(rows):
            here = (*place, index)
            name, model = row.get("provider"), row.get("model")
            when = self._when((*here, "when"), row["when"]) if row.get("when") is not None else ()
            if name is not None:
                if self._rows.get(name, (*here, "provider")) is not None and not isinstance(row, Partial):
                    weight, context = row.get("weight", 1), row.get("context")
                    found.append(Target(provider=name, model=model, weight=weight, context=context, when=when))
            elif model is not None:
                found.extend(self._alias((*here, "model"), model, trail, when))
            elif not isinstance(row, Partial):
                self._say.problem(here, "a target names a `provider`, or another `model` of this file")
        return tuple(found)

    def _when(self, place: Place, row: Row) -> tuple[When, ...]:
        """What a target asks of calls; problems where none can ever be like that."""
        access = self._sections.get("access", {})
        keys = {key["name"] for key in access.get("keys", []) if "name" in key} if self._say.has("access") else set()
        conditions.check(place, row, keys, self._say)
        return (conditions.read(row),)

    def _alias(
        self, place: Place, name: str, trail: tuple[str, ...], when: tuple[When, ...] = ()
    ) -> tuple[Target, ...]:
        """The targets of another model; what the row asks of calls is asked besides what they ask themselves."""
        known = self._say.names("models")
        if name not in known:
            self._say.problem(place, f"there is no model '{name}' in this file{near(name, known)}")
            return ()
        if name in trail:
            circle = " -> ".join((*trail[trail.index(name) :], name))
            self._say.warn(place, f"the names go in a circle: {circle}; this target is passed over")
            return ()
        self._aliased += 1
        if self._aliased > MOST_ALIASED:
            if self._aliased == MOST_ALIASED + 1:
                self._say.problem(place, f"names of models stand for one another more than {MOST_ALIASED} times")
            return ()
        found = self._model_targets(name, trail)
        if not when:
            return found
        for target in found:
            for clash, why in conditions.clashes((*when, *target.when)):
                message = f"when.{clash}: can never hold together with that of {name}, {why}"
                self._say.problem((*place[:-1], "when"), message, key=True)
        return tuple(msgspec.structs.replace(target, when=(*when, *target.when)) for target in found)

    def _model_targets(self, name: str, trail: tuple[str, ...] = ()) -> tuple[Target, ...]:
        entry = self._sections.get("models", {}).get(name, [])
        if isinstance(entry, list):
            return self._targets(("models", name), entry, (*trail, name))
        steps = ("to",) if not entry.get("listed") else ()
        return self._targets(("models", name, *steps), entry.get("to", ()), (*trail, name))

    def _models(self) -> tuple[Model, ...]:
        models = []
        for name, entry in self._sections.get("models", {}).items():
            place: Place = ("models", name)
            more = {} if isinstance(entry, list) else entry
            self._check_policy(place, more)
            if not name.strip() or len(name) > 256 or not name.isprintable():
                self._say.problem(place, "expected the name of a model", key=True)
            before = len(self._say.problems)
            targets = self._model_targets(name)
            if targets:
                rules = Rules.of(targets, more.get("sticky"), more.get("prefer"))
                choose, policy = more.get("choose"), more.get("policy")
                models.append(Model(name=name, to=targets, choose=choose, policy=policy, rules=rules))
            elif len(self._say.problems) == before and not isinstance(entry, Partial):
                self._say.warn(place, f"the model '{name}' is left out: no target of it can be called", key=True)
        return tuple(models)

    # ── routes ────────────────────────────────────────────────────────────────────────────

    def _routes(self) -> tuple[tuple[Route, ...], list[Place]]:
        """The good routes, and where each of them stands."""
        if not self._say.has("routes") or self._sections.get("routes") == []:
            self._say.problem(("routes",), "expected `routes` with at least one row", key=True)
        routes: list[Route] = []
        places: list[Place] = []
        shapes: dict[tuple[str, ...], Route] = {}
        for index, row in self._sections.get("routes", []):
            place: Place = ("routes", index)
            route = self._route(place, row)
            if route is None:
                continue
            first = shapes.setdefault(compile_pattern(route.path).shape, route)
            if first is route:
                routes.append(route)
                places.append(place)
                continue
            both = f"{route.path} on line {route.line} fits the same calls as {first.path} on line {first.line}"
            message = f"routes[{index}].path: {both}"
            self._say.problem((*place, "path"), message)
        return tuple(routes), places

    def _route(self, place: Place, row: Row) -> Route | None:
        """The route, None for a row with a problem. `path` alone is enough to be compared with others."""
        before = len(self._say.problems)
        self._check_policy(place, row)
        self._check_extra(place, row)
        self._check_dialect(place, row.get("speaks"))
        to = row.get("to", ())
        to = to if isinstance(to, str) else self._targets((*place, "to"), to)
        egress = self._egress((*place, "egress"), row["egress"]) if row.get("egress") is not None else None
        cache = self._cache((*place, "cache"), row, egress)
        good = self._check_pattern(place, row)
        if not to and len(self._say.problems) == before and not isinstance(row, Partial):
            self._say.warn((*place, "to"), "no target of this route can be called")
        if not good:
            return None
        return Route(
            path=row["path"],
            speaks=row.get("speaks", ""),
            to=to,
            policy=row.get("policy"),
            on_loss=row.get("on_loss"),
            check_schema=row.get("check_schema"),
            emulate=frozenset(row.get("emulate", ())),
            egress=egress,
            cache=cache,
            methods=OPAQUE_METHODS if row.get("speaks") == OPAQUE else ("POST",),
            rules=Rules.of(_own_targets(to, egress), row.get("sticky"), row.get("prefer")),
            line=self._say.line(place),
        )

    def _check_dialect(self, place: Place, name: str | None) -> None:
        if name in self._dialects - self._heard:
            self._say.problem((*place, "speaks"), f"the dialect '{name}' is spoken to upstreams only")
        elif name is not None and name != OPAQUE and name not in self._dialects:
            hint = f"does not exist{near(name, self._heard)}"
            message = f"the dialect '{name}' {'is not available in this version' if name in PLANNED else hint}"
            self._say.problem((*place, "speaks"), message)

    def _check_pattern(self, place: Place, row: Row) -> bool:
        if "path" not in row:
            return False
        try:
            pattern = compile_pattern(row["path"])
        except BadPattern as bad:
            self._say.problem((*place, "path"), f"routes[{place[1]}].path: {bad}")
            return False
        if isinstance(row, Partial):
            return True
        self._check_opaque(place, row, pattern)
        named = row["to"] == "named"
        if pattern.is_named and not named:
            self._say.problem((*place, "to"), "a path with an upstream's URL needs `to: named`")
        if named and not pattern.is_named:
            self._say.problem((*place, "path"), "`to: named` needs an upstream's URL in the path: {name:url}")
        if named and row.get("egress") is None:
            self._say.problem((*place, "to"), "`to: named` needs `egress`: which upstreams callers may name")
        if not named and row.get("egress") is not None:
            self._say.problem((*place, "egress"), "`egress` is for `to: named`", key=True)
        return True

    def _check_opaque(self, place: Place, row: Row, pattern: Pattern) -> None:
        """What is passed on as it is has no model to choose by: the route says where it goes."""
        if row["speaks"] != OPAQUE:
            if pattern.has_rest:
                self._say.problem((*place, "path"), "a path that ends with * is for `speaks: opaque`")
            return
        if any(segment.kind not in ("literal", "rest") for segment in pattern.segments):
            self._say.problem((*place, "path"), "a path of `speaks: opaque` has no parameters")
        if isinstance(row["to"], str):
            self._say.problem((*place, "to"), "`speaks: opaque` needs a list of targets: [{provider: NAME}]")
            return
        for index, target in enumerate(row["to"]):
            for key in ("model", "context"):
                if key in target:
                    self._say.problem((*place, "to", index, key), f"`speaks: opaque` sends what it is sent: no {key}")
            unread = set(conditions.asked([conditions.read(target.get("when") or {})])) - conditions.UNREAD
            for name in sorted(unread):
                message = f"when.{name}: can never be known, for `speaks: opaque` reads no request"
                self._say.problem((*place, "to", index, "when", name), message, key=True)
        if row.get("sticky") == "conversation" or row.get("prefer") == "fidelity":
            name = "prefer" if row.get("prefer") == "fidelity" else "sticky"
            message = f"{name}: {row[name]} is not for `speaks: opaque`, which reads no request"
            self._say.problem((*place, name), message)
        if row.get("on_loss") is not None:
            self._say.warn((*place, "on_loss"), "has no effect: nothing is translated", key=True)

    def _cache(self, place: Place, row: Row, egress: Egress | None) -> CacheSettings | None:
        """How answers are kept; a problem where none ever could be."""
        said = row.get("cache")
        if said is None:
            return None
        if row.get("speaks") == OPAQUE:
            self._say.problem(place, "`cache` is not for `speaks: opaque`: what is not read is not kept", key=True)
        elif egress is not None and not egress.default and not any(map(self._has_key, egress.listed)):
            message = "`cache` has nothing to keep here: every call brings its own key, and such answers are never kept"
            self._say.problem(place, message, key=True)
        return CacheSettings(**said)

    def _has_key(self, provider: str) -> bool:
        """Can a row be called without a key of the caller's?"""
        row = self._rows.get(provider, ())
        return row is not None and (row.auth == "none" or bool(row.secrets))

    def _egress(self, place: Place, row: Row) -> Egress:
        listed = row.get("listed", ())
        usable = [name for i, name in enumerate(listed) if self._rows.get(name, (*place, "listed", i))]
        unlisted = row.get("unlisted", False)
        if unlisted:
            message = "egress.unlisted: callers may name upstreams that are not listed, the gateway calls their hosts"
            self._say.warn((*place, "unlisted"), message)
        for index, host in enumerate(unlisted if isinstance(unlisted, list) else ()):
            if not _HOST_PATTERN.fullmatch(host):
                message = f"egress.unlisted: expected a host such as api.example.com or *.example.com, found '{host}'"
                self._say.problem((*place, "unlisted", index), message)
        if not listed and not unlisted and not row.get("default"):
            self._say.warn(place, "egress: no upstream may be named, every call is refused", key=True)
        return Egress(
            listed=tuple(usable),
            unlisted=tuple(map(str.lower, unlisted)) if isinstance(unlisted, list) else unlisted,
            default=self._targets((*place, "default"), row.get("default", ())),
        )


def _own_targets(to: str | tuple[Target, ...], egress: Egress | None) -> tuple[Target, ...]:
    """Those that a route names itself."""
    if egress is not None:
        return egress.default
    return to if isinstance(to, tuple) else ()


# ── small questions ────────────────────────────────────────────────────────────────────────────


def _policy(base: PolicySettings, row: Row) -> PolicySettings:
    changes = {key: value for key, value in row.items() if key in PolicySettings.__struct_fields__}
    changes |= {f"wait_{key}": value for key, value in row.get("wait", {}).items()}
    if row.get("breaker") is not None:
        changes["breaker"] = msgspec.structs.replace(base.breaker or BreakerSettings(), **row["breaker"])
    if row.get("hedge") is not None:
        changes["hedge"] = HedgeSettings(**row["hedge"])
    if row.get("outliers") is not None:
        changes["outliers"] = msgspec.structs.replace(base.outliers or OutlierSettings(), **row["outliers"])
    if "fallback_on" in row:
        changes["fallback_on"] = frozenset(row["fallback_on"])
    changes["timeouts"] = msgspec.structs.replace(base.timeouts, **row.get("timeouts", {}))
    return msgspec.structs.replace(base, **changes)


def _limits(row: Row) -> dict[Unit, int] | None:
    """Of a key: what is limited, if anything is."""
    said: dict[Unit, int | None] = {"requests": row.get("rpm"), "tokens": row.get("tpm")}
    return {unit: limit for unit, limit in said.items() if limit is not None} or None


def _usual_algorithms(settings: JwtSettings) -> tuple[str, ...]:
    """What fits the keys: HS256 for a secret, and the usual algorithm of each kind of public key."""
    found = ["HS256"] if settings.secret else []
    for name in _USUAL if settings.public_keys or settings.jwks else ():
        try:
            Tokens(msgspec.structs.replace(settings, algorithms=(name,)))
        except ValueError:
            continue
        found.append(name)
    return tuple(found) or ("RS256",)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
