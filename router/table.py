"""The route table as values: what a path means, and where its calls may go.

Compiled from routes.yaml by `router.config` and swapped whole on reload; nothing here changes after that.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, unquote_to_bytes

import msgspec

from providers.canonical.errors import CallerError, MalformedRequest, MethodNotAllowed, RouteNotFound, UnknownModel
from providers.emulation import Emulated
from providers.provider import Provider

if TYPE_CHECKING:
    from router.conditions import When

#: What a route speaks whose calls are passed on as they are, whatever they are.
OPAQUE = "opaque"
OPAQUE_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

Choose: TypeAlias = Literal["in_order", "weighted", "least_busy", "fastest", "cheapest"]
OnLoss: TypeAlias = Literal["report", "allow", "reject"]
#: An upstream's no to a call that another model may take.
Refusal: TypeAlias = Literal["context_too_long", "content_filter"]
CheckSchema: TypeAlias = Literal["off", "flag", "repair"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream to try. `model` None: the one that the caller asked for. `context`: tokens that it takes, if known.

    `secret`: the reference of the key to call it with, where its row has several; they are tried like targets.
    `when`: what calls must be like that may go there, all of it.
    """

    provider: str
    model: str | None = None
    weight: int = 1
    context: int | None = None
    secret: str | None = None
    when: tuple[When, ...] = ()


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How targets are chosen beyond `choose`.

    `sticky`: `caller`, `conversation`, `header:NAME`, `off`; `prefer`: `fidelity`, `off`; None: not said.
    `conditional`: some targets have a `when`.
    """

    sticky: str | None = None
    prefer: str | None = None
    conditional: bool = False

    def over(self, other: Rules | None) -> Rules:
        """These, and of the others what these do not say."""
        if other is None:
            return self
        return Rules(
            sticky=self.sticky or other.sticky,
            prefer=self.prefer or other.prefer,
            conditional=self.conditional or other.conditional,
        )

    @classmethod
    def of(cls, targets: Iterable[Target], sticky: str | None, prefer: str | None) -> Rules | None:
        """None where nothing is said: such calls need not be looked at."""
        conditional = any(target.when for target in targets)
        if sticky is None and prefer is None and not conditional:
            return None
        return cls(sticky=sticky, prefer=prefer, conditional=conditional)


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `first_byte`: of the upstream's answer head; `idle`: between chunks; `total`: the whole exchange.

    `min_rate`: bytes a second that a stream must bring, over any `rate_over` seconds of waiting for it; None: any.
    """

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 60.0
    total: float = 600.0
    min_rate: int | None = None
    rate_over: float = 10.0


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a target that fails is left alone: `failures` within so many seconds, then no call for `cool` seconds."""

    failures: int = 5
    within: float = 30.0
    cool: float = 15.0


class OutlierSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a target is passed over that does far worse than others of the same model: so many times their share of
    failures, or their time to the first token (None: not looked at), with at least `calls` within so many seconds;
    for `cool` seconds."""

    errors: float | None = 3.0
    latency: float | None = 3.0
    calls: int = 20
    within: float = 60.0
    cool: float = 30.0


class HedgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A second attempt before the first has failed, `after` so many seconds; None: after the p95 of its target."""

    after: float | None = None


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How hard to try. `within`: seconds over all attempts, until the first byte goes to the caller."""

    attempts: int = 3
    within: float = 90.0
    wait_first: float = 0.25
    wait_most: float = 8.0
    timeouts: Timeouts = Timeouts()
    choose: Choose = "in_order"
    retry_budget: float = 0.2
    fallback_on: frozenset[Refusal] = frozenset({"context_too_long"})
    breaker: BreakerSettings | None = BreakerSettings()
    outliers: OutlierSettings | None = None
    hedge: HedgeSettings | None = None
    nice: float = 0.5  # share of the time that is left which a nice call may wait for a place
    on_loss: OnLoss = "report"
    check_schema: CheckSchema = "off"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What callers may name. `name` may hold `*`."""

    name: str
    to: tuple[Target, ...]
    choose: Choose | None = None  # None: as the policy says
    policy: str | None = None
    rules: Rules | None = None  # before those of the route


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """Which upstreams a caller may name on a `to: named` route."""

    listed: tuple[str, ...] = ()
    unlisted: bool | tuple[str, ...] = False  # or host patterns: "api.example.com", "*.example.com"
    default: tuple[Target, ...] = ()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, bytes and counts (the project's reliability requirements, section 1)."""

    head: float = 10.0
    body: float = 30.0
    max_body: int = 32 << 20
    json_depth: int = 64
    json_values: int = 100_000
    messages: int = 2048
    tools: int = 512
    concurrency: int = 1000
    upstream_body: int = 32 << 20
    sse_event: int = 16 << 20
    stream_buffer: int = 256 << 10
    write_stall: float = 60.0


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `routes`. `speaks` is the dialect of whoever calls it."""

    path: str
    speaks: str
    to: Literal["models", "named"] | tuple[Target, ...]
    policy: str | None = None
    on_loss: OnLoss | None = None
    check_schema: CheckSchema | None = None  # None: as the policy says
    emulate: frozenset[Emulated] = frozenset()
    egress: Egress | None = None
    methods: tuple[str, ...] = ("POST",)
    rules: Rules | None = None  # of its own targets, and for models that do not say
    line: int = 0  # in routes.yaml


class Leads(NamedTuple):
    """Where a call may go, as the file has it: targets in its order. None: the default policy; its way to choose, and
    nothing beyond it.
    """

    targets: tuple[Target, ...]
    policy: str | None = None
    choose: Choose | None = None
    rules: Rules | None = None


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A route that fits a request. Secrets among `params` (`{x:secret}`) are never logged.

    On a `to: named` route `prefix` is the literal text before the upstream's URL: `router.upstream_path.parse` reads
    the rest of the raw path, and nobody else does. Elsewhere it is empty.
    """

    route: Route
    params: Mapping[str, str] = {}
    secret_params: frozenset[str] = frozenset()
    prefix: str = ""


Providers: TypeAlias = Mapping[str, Provider]

# ── patterns ───────────────────────────────────────────────────────────────────────────────────

VERSIONS = ("v1", "v1alpha", "v1beta")
COLLECTIONS = ("models", "tunedModels")
LONGEST_MODEL = 256

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([A-Za-z_]+))?\}")
_MODEL_AND_TASK = re.compile(r"\{model\}:\{task\}")
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_MOST_DECODED = 3  # times that a path is looked at, in case somebody behind us decodes it once more
_NOT_IN_A_TARGET = re.compile(r"[^\x21-\x7e]|\\")
_HALF_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TASK = "model_and_task"
_REST = "rest"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ABSOLUTE_FORM = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")


class BadPattern(ValueError):
    """A path pattern that cannot be compiled."""


class Segment(msgspec.Struct, frozen=True):
    """One step of a pattern. `kind`: literal, name, secret, url, task (a model and what to do with it), rest.

    A rest is the last: `*` is everything below, `files*` is files and everything below it.
    """

    kind: Literal["literal", "name", "secret", "url", "task", "rest"]
    text: str = ""  # of a literal; what stands before the `*` of a rest; of the others the parameter's name


class Pattern(msgspec.Struct, frozen=True):
    """A path pattern, taken apart.

    `versioned`: its `v1beta/models` before the task stands for every version and collection.
    """

    segments: tuple[Segment, ...]
    versioned: bool = False

    @property
    def prefix(self) -> str:
        """The literal text before the first parameter, a slash at its end; the whole path when there is none."""
        text = ""
        for segment in self.segments:
            if segment.kind != "literal":
                return f"{text}/{segment.text}" if segment.kind == "rest" else text + "/"
            text += "/" + segment.text
        return text

    @property
    def suffix(self) -> str:
        """The literal text behind the last parameter."""
        text = ""
        for segment in reversed(self.segments):
            if segment.kind != "literal":
                break
            text = "/" + segment.text + text
        return text

    @property
    def names(self) -> tuple[str, ...]:
        names = [segment.text for segment in self.segments if segment.kind not in ("literal", "task", "rest")]
        return (*names, "model", "task", "version", "collection", _TASK) if self.has_task else tuple(names)

    @property
    def has_task(self) -> bool:
        return any(segment.kind == "task" for segment in self.segments)

    @property
    def has_rest(self) -> bool:
        return self.segments[-1].kind == "rest"

    @property
    def is_named(self) -> bool:
        return any(segment.kind == "url" for segment in self.segments)

    @property
    def shape(self) -> tuple[str, ...]:
        """Two patterns of one shape fit the same paths. An upstream's URL holds any number of segments."""
        if self.is_named:
            return (self.prefix, "{url}", *(s.text if s.kind == "literal" else "{}" for s in self.tail))
        last = f"{self.segments[-1].text}*" if self.has_rest else None
        steps = (segment.text if segment.kind == "literal" else "{}" for segment in self.segments)
        return tuple(steps) if last is None else (*tuple(steps)[:-1], last)

    @property
    def tail(self) -> tuple[Segment, ...]:
        """What follows the upstream's URL and its key, on a `to: named` route."""
        index = next(i for i, segment in enumerate(self.segments) if segment.kind == "url") + 1
        if index < len(self.segments) and self.segments[index].kind == "secret":
            index += 1
        return self.segments[index:]


@functools.lru_cache(maxsize=4096)
def compile_pattern(path: str) -> Pattern:
    """Takes a path pattern apart; BadPattern says what is wrong with it."""
    if not path.startswith("/"):
        raise BadPattern("a path starts with /")
    parts = path[1:].split("/")
    last = len(parts) - 1
    segments = [_segment(part, is_last=i == last) for i, part in enumerate(parts)]
    versioned = (
        last >= 2 and parts[-3] in VERSIONS and parts[-2] in COLLECTIONS and segments[last].kind in ("name", "task")
    )
    if versioned:
        segments[last] = Segment("task", segments[last].text)
    pattern = Pattern(tuple(segments), versioned and parts[-3] == VERSIONS[-1] and parts[-2] == COLLECTIONS[0])
    _check(pattern)
    return pattern


def _segment(part: str, *, is_last: bool) -> Segment:
    if not part:
        raise BadPattern("a path has no empty segments and no / at its end")
    if _MODEL_AND_TASK.fullmatch(part):
        return Segment("task", "model")
    if found := _PARAMETER.fullmatch(part):
        kind = found[2] or "name"
        if kind not in ("name", "secret", "url"):
            raise BadPattern(f"unknown kind of parameter '{kind}', expected {{name}}, {{name:url}} or {{name:secret}}")
        return Segment(kind, found[1])  # type: ignore[arg-type]  # checked above
    if "{" in part or "}" in part:
        raise BadPattern(f"'{part}': a parameter fills a whole segment: {{name}}, or {{model}}:{{task}} at the end")
    if part in (".", ".."):
        raise BadPattern("a path has no . or .. segments")
    if not _LITERAL.fullmatch(part):
        raise BadPattern(f"'{part}': letters, digits and -._~!$&'()*+,;=:@ are what a literal segment is made of")
    if "*" in part:
        if not is_last or part.index("*") < len(part) - 1:
            raise BadPattern(f"'{part}': a * stands at the end of the path: /audio/* or /files*")
        return Segment("rest", part[:-1])
    return Segment("literal", part)


def _check(pattern: Pattern) -> None:
    names = pattern.names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadPattern(f"the parameter '{twice}' is here twice")
    kinds = [segment.kind for segment in pattern.segments]
    if "rest" in kinds and set(kinds[:-1]) - {"literal"}:
        raise BadPattern("literal segments alone stand before a *")
    if "task" in kinds[:-1]:
        raise BadPattern("{model}:{task} is the last segment")
    if "url" not in kinds:
        return
    index = kinds.index("url")
    if kinds.count("url") > 1 or set(kinds[:index]) - {"literal"} or not index:
        raise BadPattern("literal segments stand before the one {name:url}")
    tail = pattern.tail
    if not tail or any(segment.kind not in ("literal", "task") for segment in tail):
        raise BadPattern("behind {name:url} stand an optional {name:secret} and the literal path of a task")
    if tail[-1].kind == "task" and len(tail) != 3:
        raise BadPattern("behind {name:url} a model's path is v1beta/models/{modelNameAndTask}")


# ── matching ───────────────────────────────────────────────────────────────────────────────────


class _Row(msgspec.Struct, frozen=True):
    """A route with parameters, ready to be tried."""

    route: Route
    regex: re.Pattern[str]  # of the whole path; of a `to: named` route, of what stands behind the upstream's URL
    prefix: str
    named: bool
    rest: bool  # its path ends with a `*`
    rank: tuple[int, int, int]  # the greatest wins: literal suffix, literal characters, first in the file
    secret_params: frozenset[str]


class Table:
    """What every path means and what every model name stands for. Built once, never changed."""

    def __init__(
        self, routes: tuple[Route, ...], models: tuple[Model, ...] = (), providers: Providers | None = None
    ) -> None:
        """`routes` have patterns that compile and no two of one shape; `providers` are those that callers may name."""
        self.routes = routes
        self.models = models
        self.providers = providers or {}
        self._exact: dict[str, Match] = {}
        self._by_prefix: dict[str, list[_Row]] = {}
        for index, route in enumerate(routes):
            self._add(route, compile_pattern(route.path), index)
        for rows in self._by_prefix.values():
            rows.sort(key=lambda row: row.rank, reverse=True)
        prefixes = (compile_pattern(route.path).prefix for route in routes if route.speaks == OPAQUE)
        self._opaque = tuple(prefixes)
        self._prefix_lengths = sorted({len(prefix) for prefix in self._by_prefix}, reverse=True)
        self._aliases = {model.name: model for model in models if "*" not in model.name}
        wild = [model for model in models if "*" in model.name]
        self._wild = sorted(wild, key=lambda model: len(model.name.replace("*", "")), reverse=True)

    def _add(self, route: Route, pattern: Pattern, index: int) -> None:
        if all(segment.kind == "literal" for segment in pattern.segments):
            self._exact.setdefault(route.path, Match(route=route))
            return
        secret = frozenset(segment.text for segment in pattern.segments if segment.kind == "secret")
        literal = sum(len(segment.text) for segment in pattern.segments if segment.kind == "literal")
        # A version that is written out is meant; v1beta also stands for the others, and comes after them. A `*` stands
        # for all that nothing else is said of.
        rank = (len(pattern.suffix) - pattern.has_rest, literal - 1000 * pattern.versioned, -index)
        regex = _regex(pattern)
        for prefix in _prefixes(pattern):
            row = _Row(route, regex, prefix, pattern.is_named, pattern.has_rest, rank, secret)
            self._by_prefix.setdefault(prefix, []).append(row)

    def match(self, method: str, raw_path: str) -> Match:
        """The route of a raw request target (as it came, query and all).

        Nothing is decoded before it has been cut into segments, so no encoding makes one route of another. Raises
        RouteNotFound, MalformedRequest for a parameter that cannot be one, MethodNotAllowed.
        """
        found = self._exact.get(raw_path)
        if found is None:
            path = plain_path(raw_path)
            found = self._exact.get(path) or self._search(path)
        if method not in found.route.methods:
            raise MethodNotAllowed(f"this path takes {', '.join(found.route.methods)}", allow=found.route.methods)
        return found

    def is_opaque(self, raw_path: str) -> bool:
        """Does a raw request target belong to a route whose calls are passed on as they are?"""
        if not self._opaque or not plain_path(raw_path).startswith(self._opaque):
            return False
        try:
            return self.match("GET", raw_path).route.speaks == OPAQUE
        except CallerError:
            return False

    def _search(self, path: str) -> Match:
        for length in self._prefix_lengths:
            for row in self._by_prefix.get(path[:length], ()):
                if row.named:
                    if row.regex.search(path.rstrip("/"), length - 1):
                        return Match(route=row.route, secret_params=row.secret_params, prefix=row.prefix)
                elif found := row.regex.fullmatch(path):
                    if row.rest:
                        _check_rest(found[_REST])
                        return Match(route=row.route)
                    return Match(route=row.route, params=_params(found.groupdict()), secret_params=row.secret_params)
        raise RouteNotFound("there is nothing at this path")

    def targets(self, route: Route, model: str) -> Leads:
        """Where a call for `model` may go.

        A name of `models` wins over `provider/model`, that over patterns, the longest of them first. UnknownModel when
        nothing fits. Of a `to: named` route: where its head `default` leads.
        """
        if route.to == "named":
            return Leads((route.egress.default if route.egress else ()), route.policy, rules=route.rules)
        if route.to != "models":
            return Leads(route.to, route.policy, rules=route.rules)
        entry = self.model(model)
        if entry is None:
            raise UnknownModel("this model does not exist here, see /v1/models", param="model")
        rules = route.rules if entry.rules is None else entry.rules.over(route.rules)
        return Leads(entry.to, entry.policy or route.policy, entry.choose, rules)

    def model(self, name: str) -> Model | None:
        """What a caller's `model` stands for, None when it is nothing."""
        if len(name) > LONGEST_MODEL:
            return None
        if found := self._aliases.get(name):
            return found
        provider, slash, rest = name.partition("/")
        if slash and rest and provider in self.providers:
            return Model(name=name, to=(Target(provider=provider, model=rest),))
        return next((model for model in self._wild if fits_star(model.name, name)), None)


def plain_path(target: str) -> str:
    """The path of a raw request target, as it came: without the query, and without the host of an absolute form."""
    path = target.partition("?")[0]
    return path if path.startswith("/") else _ABSOLUTE_FORM.sub("", path, count=1)


def _prefixes(pattern: Pattern) -> Iterator[str]:
    """The literal texts before the first parameter: several where v1beta stands for all versions."""
    prefix = pattern.prefix
    written = f"/{VERSIONS[-1]}/{COLLECTIONS[0]}/"
    if not pattern.versioned or pattern.is_named or not prefix.endswith(written):
        yield prefix
        return
    for version in VERSIONS:
        for collection in COLLECTIONS:
            yield f"{prefix.removesuffix(written)}/{version}/{collection}/"


def _regex(pattern: Pattern) -> re.Pattern[str]:
    """One expression for a path. Segments cannot overlap, so that no path makes it try more than one way."""
    segments = pattern.tail if pattern.is_named else pattern.segments
    parts = [_expression(segment, pattern.is_named) for segment in segments]
    if pattern.versioned:
        parts[-3:-1] = [f"(?P<version>{'|'.join(VERSIONS)})", f"(?P<collection>{'|'.join(COLLECTIONS)})"]
    elif pattern.has_task and segments[-3:-1] and segments[-2].text in COLLECTIONS:
        parts[-3:-1] = [f"(?P<version>{parts[-3]})", f"(?P<collection>{parts[-2]})"]
    text = "".join(f"/{part}" for part in parts)
    return re.compile(rf"{text}\Z" if pattern.is_named else text, re.DOTALL)


def _expression(segment: Segment, named: bool) -> str:
    if segment.kind == "literal":
        return re.escape(segment.text)
    if segment.kind == "task":
        # A model's name may hold slashes (`provider/model`); behind an upstream's URL it is one segment.
        return "[^/]+" if named else f"(?P<{_TASK}>.+)"
    if segment.kind == "rest":
        below = f"(?P<{_REST}>.+)" if not segment.text else f"(?:/(?P<{_REST}>.+))?"
        return re.escape(segment.text) + below
    return f"(?P<{segment.text}>[^/]+)"


def _check_rest(rest: str | None) -> None:
    """What stands in the place of a `*` goes on as it came: it must not lead elsewhere, however it is read there.

    Some servers decode twice, some take what is behind a `;` away before they look for dots.
    """
    for step in rest.split("/") if rest is not None else ():
        text = _decoded(step, False)
        for _ in range(_MOST_DECODED):
            _check_steps(text, False)
            _check_steps(text.partition(";")[0], False)
            again = unquote(text)
            if again == text:
                break
            text = again


def _params(raw: dict[str, str]) -> dict[str, str]:
    values = {name: _decoded(text, name == _TASK) for name, text in raw.items()}
    whole = values.pop(_TASK, None)
    if whole is None:
        return values
    model, colon, task = whole.rpartition(":")
    model = model.removeprefix(f"{COLLECTIONS[0]}/")
    if not colon or not model or not task or "/" in task:
        raise RouteNotFound("there is nothing at this path, expected a model and a task: {model}:{task}")
    return {**values, "model": model, "task": task}


def _decoded(text: str, slashes: bool) -> str:
    """A parameter's value: percent signs taken off once, by the one who cut the path into segments."""
    if _NOT_IN_A_TARGET.search(text):
        raise MalformedRequest("the path holds characters that belong percent-encoded")
    if "%" in text:
        if _HALF_ENCODED.search(text):
            raise MalformedRequest("the path holds a percent sign that encodes nothing")
        try:
            text = unquote_to_bytes(text).decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedRequest("the path is not UTF-8") from None
    _check_steps(text, slashes)
    return text


def _check_steps(text: str, slashes: bool) -> None:
    """What would be another path where it is read again."""
    steps = text.split("/")
    if (len(steps) > 1 and not slashes) or any(step in ("", ".", "..") for step in steps):
        raise MalformedRequest("a segment of the path is empty, or holds a slash or dots that would lead elsewhere")
    if _CONTROL.search(text) or "\\" in text:
        raise MalformedRequest("the path holds control characters")


def fits_star(pattern: str, text: str) -> bool:
    """Does text fit a pattern in which each `*` stands for anything? In one pass, whatever the pattern."""
    first, *middle = pattern.split("*")
    if not middle:
        return pattern == text
    last = middle.pop()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    start, end = len(first), len(text) - len(last)
    for part in middle:
        index = text.find(part, start, end)
        if index < 0:
            return False
        start = index + len(part)
    return True


def covers(general: str, other: str) -> bool:
    """Does every path of one pattern fit another one, too? Both without an upstream's URL."""
    left, right = compile_pattern(general), compile_pattern(other)
    if left.is_named or right.is_named or len(left.segments) != len(right.segments):
        return False
    return all(a.kind != "literal" or a == b for a, b in zip(left.segments, right.segments, strict=True))


def overlap(one: str, other: str) -> bool:
    """Is there a path that fits both patterns? Both without an upstream's URL."""
    left, right = compile_pattern(one), compile_pattern(other)
    if left.is_named or right.is_named or len(left.segments) != len(right.segments):
        return False
    return all(
        "literal" not in (a.kind, b.kind) or a == b or a.kind != b.kind
        for a, b in zip(left.segments, right.segments, strict=True)
    )
