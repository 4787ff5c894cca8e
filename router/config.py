"""routes.yaml: what it may say, and how it becomes `Settings`.

    bytes ─ strict_yaml ─ nodes with places ─ the models below ─ values ─ checks ─ Settings

Every row is checked by itself, so that one bad row hides no other: whoever runs `isthmus check` sees all problems at
once, each as `FILE:LINE:COL: message`. The models are gone once a file is loaded. `reference` and `schema` are made
from them, so what is documented is what is read. A key whose feature is not there is refused (`Later`), never ignored.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo

from providers.catalog import catalog
from providers.dialects import DIALECTS
from router import assembly
from router.chats.personas import PLANNING, SPOKEN
from router.complaints import Partial, Row, near
from router.kinds import (
    Able,
    Amount,
    CacheRow,
    CheckSchema,
    Count,
    Day,
    Duration,
    KeptRow,
    Later,
    Limits2,
    Names,
    OnLoss,
    Positive,
    Prefer,
    Price,
    Reference,
    Rows,
    Size,
    Spending,
    Sticky,
    TargetRow,
    Text,
    Workers,
    kind,
    later,
)
from router.policy_rows import Choose, PolicyRow
from router.reference import LATER, Says, models_in, write
from router.secrets import Secrets
from router.settings import Loaded, Settings
from router.strict_yaml import MOST_BYTES, Node, Problem, describe, read
from router.table import Limits

# ── the models, in the order of the file ───────────────────────────────────────────────────────

_LIMITS = Limits()


class LimitsRow(Rows):
    head: Positive = Field(_LIMITS.head, description="time for a request's line and headers; then 408")
    body: Positive = Field(_LIMITS.body, description="time for a request's body; then 408")
    json_depth: Annotated[int, Field(ge=1, le=256), Says("number")] = Field(
        _LIMITS.json_depth, description="nesting of a JSON body; past it 400"
    )
    json_values: Annotated[int, Field(ge=1, le=10_000_000), Says("number")] = Field(
        _LIMITS.json_values, description="members of all objects and arrays of a body; past it 400"
    )
    messages: Count = Field(_LIMITS.messages, description="messages of one call; past it 400")
    tools: Count = Field(_LIMITS.tools, description="tools of one call; past it 400")
    concurrency: Count = Field(_LIMITS.concurrency, description="calls at once, of all workers together; past it 503")
    upstream_body: Size = Field(_LIMITS.upstream_body, description="an upstream's whole answer; past it 502")
    sse_event: Size = Field(_LIMITS.sse_event, description="one event of an upstream's stream")
    stream_buffer: Size = Field(
        _LIMITS.stream_buffer,
        description="what is held for a caller that reads slower than the upstream writes",
    )
    write_stall: Positive = Field(
        _LIMITS.write_stall, description="how long a caller may not read at all before it is dropped"
    )


class ServerRow(Rows):
    listen: Text = Field(
        "127.0.0.1:8080",
        description="HOST:PORT of the callers' side; off loopback only together with `access`",
    )
    admin: Text | None = Field(
        "127.0.0.1:8081", description="HOST:PORT of metrics, health and explain; null switches it off"
    )
    admin_token: Reference | None = Field(None, description="bearer token that the admin side asks for")
    workers: Workers = Field(
        1,
        description="processes that share the port; `auto`: one for each core. Each enforces its share of every limit "
        "(docs/operations.md)",
    )
    max_body: Size = Field(_LIMITS.max_body, description="a request's body after decompression; past it 413")
    drain: Duration = Field(30.0, description="how long running calls may go on after SIGTERM")
    limits: LimitsRow = Field(LimitsRow.model_construct(), description="what one call may take")


_KEY_NAME = r"^[A-Za-z0-9._-]{1,64}$"
SIZES = ("upstream_body", "sse_event", "stream_buffer")  # those of the limits that are counted in bytes
_KEY_HASH = r"^sha256:[0-9a-fA-F]{64}$"


def is_key_name(text: str) -> bool:
    """May a key be called so?"""
    return re.fullmatch(_KEY_NAME, text) is not None


class BudgetRow(Rows):
    usd: Spending | None = Field(None, description="US dollars, by `prices`; past it 429, in the chat service 402")
    credits: Spending | None = Field(None, description="credits of upstreams, as `credits` of their rows count them")
    per: Annotated[Literal["hour", "day", "week", "month"], Says("`hour`, `day`, `week` or `month`")] = Field(
        ..., description="of the calendar, in UTC; weeks begin on Monday"
    )
    unpriced: Annotated[Literal["refuse", "allow"], Says("`refuse` or `allow`")] = Field(
        "refuse", description="whether targets of unknown price are passed over, or called and counted as nothing"
    )


class KeyRowModel(Rows):
    name: Text = Field(..., pattern=_KEY_NAME, description="shown in logs and metrics")
    hash: Text = Field(
        ...,
        pattern=_KEY_HASH,
        description="`sha256:` and the SHA-256 of the whole key, in hex",
    )
    models: Names = Field(["*"], description="what the key may call: names of models, `*` stands for anything")
    nice: bool = Field(False, description="its calls yield their place where calls wait for one")
    rpm: Count | None = Field(None, description="requests in any minute; past it 429")
    tpm: Count | None = Field(
        None,
        description="tokens in any minute, input and output: estimated before, counted after; past it 429",
    )
    budget: BudgetRow | None = Field(None, description="what it may spend in a period, `{usd: 50, per: month}`")


class JwtRow(Rows):
    secret: Reference | None = Field(None, description="HMAC secret of at least 32 bytes, for HS256, HS384, HS512")
    public_key: Reference | None = Field(None, description="public key in PEM, for RS, PS, ES and EdDSA algorithms")
    jwks_file: Text | None = Field(None, description="file with a JWK set; its HMAC keys are not used")
    jwks_url: Later = Field(None, description="address of a JWK set")
    algorithms: Names | None = Field(
        None, description="allowed algorithms; HS256 with `secret`, else what fits the keys"
    )
    issuer: Text | None = Field(None, description="the claim `iss` that tokens must have")
    audience: Annotated[
        Annotated[str, Tag("one")] | Annotated[list[str], Tag("list")],
        Discriminator(kind),
        Says("text or list"),
    ] = Field([], description="the claim `aud`: tokens must have one of these")
    leeway: Duration = Field(30.0, description="by how much clocks may differ")
    require_scopes: Later = Field(None, description="whether scopes of a token are enforced")


class AccessRow(Rows):
    keys: list[KeyRowModel] = Field([], description="callers' keys; `isthmus key new` prints a row")
    jwt: JwtRow | None = Field(None, description="verification of JSON Web Tokens")


class NarrowerRow(Rows):
    connect: Positive | None = Field(None, description="for the connection, TLS included")
    first_byte: Positive | None = Field(None, description="for the head of its answer")
    idle: Positive | None = Field(None, description="between two chunks of its answer")
    total: Positive | None = Field(None, description="for one whole call of it")


class ProviderRow(Rows):
    like: Text | None = Field(None, description="another provider: what is not said here is said there")
    base_url: Text | None = Field(
        None,
        description="what the vendor's own SDK takes: with `/v1` where that has it, else the bare host",
    )
    speaks: Names | None = Field(None, description="dialects, preferred first")
    auth: Text | None = Field(
        None,
        description="`bearer`, `header:NAME`, `query:NAME`, `google_key`, `google_token`, `anthropic_key`, "
        "`azure_key`, `aws_sigv4`, `aws_sigv4:REGION`, `none`; without it `bearer`",
    )
    secret: Reference | None = Field(None, description="the upstream's key; without one no credential is sent")
    secrets: Annotated[list[str], Says("list of secrets")] | None = Field(
        None, description="several keys of one account: calls take turns with them"
    )
    headers: Annotated[dict[str, str], Says("mapping")] | None = Field(None, description="sent with every call")
    query: Annotated[dict[str, str], Says("mapping")] | None = Field(
        None, description="query parameters sent with every call, such as `api-version`"
    )
    quirks: Names | None = Field(
        None, description="named small differences within a dialect, listed in docs/dialects.md"
    )
    own: Names | None = Field(None, description="its own fields of a body: passed through")
    ignores: Names | None = Field(
        None, description="fields accepted without effect there: not sent, reported as dropped"
    )
    rejects: Names | None = Field(None, description="fields refused there: said before anything is sent")
    concurrency: Count | None = Field(None, description="calls at once; without it 200")
    queue: Annotated[int, Field(ge=0, le=100_000), Says("number")] = Field(
        0, description="how many more may wait for a place; past that 503 at once"
    )
    timeouts: NarrowerRow | None = Field(None, description="narrow those of the policy")
    attempts: Count | None = Field(None, description="narrows `attempts` of the policy")
    retry_on: Annotated[list[str | int], Says("list of statuses and errors")] | None = Field(
        None,
        description="what is tried again at all: `[429, 503, connect]` (`connect`: no connection was made, "
        "`connection`: it was lost); without it what the policy says",
    )
    resend_stale: bool | None = Field(
        None, description="whether a call is sent again, once, when a kept connection turns out to be closed"
    )
    proxy: Text | None = Field(None, description="address of an HTTP proxy on the way to it")
    ca_file: Text | None = Field(None, description="PEM file of the authorities that its certificate may come from")
    client_cert: Text | None = Field(None, description="PEM file with our certificate and key, where it asks for one")
    takes: Names | None = Field(
        None, description="all fields of a body that it documents, besides `own`: any other is not sent, and `dropped`"
    )
    ranges: Annotated[dict[str, Limits2], Says("mapping")] | None = Field(
        None, description="least and most of a field there, `{temperature: [0, 2], n: [1, null]}`; outside 400"
    )
    alternation: Literal["repair", "reject"] | None = Field(
        None,
        description="`repair` or `reject`: turns that do not alternate; short for the quirks `alternate_turns`, "
        "`strict_turns`",
    )
    on_invalid_json: Literal["return", "retry_once", "error"] | None = Field(
        None,
        description="an answer that is not the JSON asked for: `return` names it as a loss, `retry_once` asks again, "
        "`error` is 502; against the schema itself with the extra `schema`",
    )
    nice: bool | None = Field(
        None, description="calls let others go first, unless a caller says otherwise (quirk `nice`)"
    )
    tools: Able | None = Field(None, description="it takes tools after all, for all models or for those listed")
    response_format: Able | None = Field(None, description="the same for JSON answers")
    vision: Able | None = Field(None, description="the same for images")
    credits: Annotated[dict[str, Price], Says("mapping")] | None = Field(
        None, description="what a call costs there by model, counted in `isthmus_cost_credits_total`"
    )


class ModelRow(Rows):
    to: list[TargetRow] = Field(..., min_length=1, description="targets, tried in this order")
    choose: Choose | None = Field(None, description="which target comes first; without it as the policy says")
    sticky: Sticky | None = Field(None, description="calls that go to one target while it is well; before the route's")
    prefer: Prefer | None = Field(None, description="targets that lose least of a call come first; before the route's")
    policy: Text | None = Field(None, description="a name of `policies`; before that of the route")


class EgressRow(Rows):
    listed: Names = Field([], description="providers that callers may name")
    unlisted: Annotated[
        Annotated[bool, Tag("one")] | Annotated[list[str], Tag("list")],
        Discriminator(kind),
        Says("true, false or list of hosts"),
    ] = Field(
        False,
        description="other upstreams: none, any public one, or hosts (`api.example.com`, `*.example.com`)",
    )
    default: list[TargetRow] = Field([], description="where the head `default` of a path leads")


class RouteRow(Rows):
    path: Text = Field(
        ...,
        max_length=1024,
        description="pattern; `{name}`, `{name:url}`, `{name:secret}` are its parameters, a `*` at its end "
        "(`/audio/*`, `/files*`) stands for everything below",
    )
    speaks: Text = Field(
        ..., description="the dialect of its callers, or `opaque`: passed on as it is, any method, bodies streamed"
    )
    to: Annotated[
        Annotated[Literal["models", "named"], Tag("one")]
        | Annotated[list[TargetRow], Field(min_length=1), Tag("list")],
        Discriminator(kind),
        Says("`models`, `named` or list of targets"),
    ] = Field(..., description="by the caller's model, by the URL in the path, or always these")
    policy: Text | None = Field(None, description="a name of `policies`, for models without one of their own")
    sticky: Sticky | None = Field(
        None,
        description="calls that go to one target while it is well: of one caller, with one value of a header, or with "
        "one beginning of a conversation",
    )
    prefer: Prefer | None = Field(
        None, description="`fidelity`: targets that lose least of a call come first, those that would refuse it last"
    )
    on_loss: OnLoss | None = Field(None, description="before that of the policy")
    check_schema: CheckSchema | None = Field(None, description="before that of the policy")
    emulate: Annotated[list[Literal["json_schema", "tools"]], Says("list of `json_schema`, `tools`")] = Field(
        [], description="what is asked for in words of upstreams whose rows reject or ignore it"
    )
    egress: EgressRow | None = Field(None, description="which upstreams callers may name, on `to: named`")
    cache: CacheRow | None = Field(
        None, description="answers kept for the same question: `{}` is enough; not for `speaks: opaque`"
    )


class ResearchRow(Rows):
    model: Text = Field(..., description="a name of `models`, or `provider/model`")
    reasoning_effort: (
        Annotated[Literal["minimal", "low", "medium", "high", "xhigh", "max"], Says("`minimal` to `max`")] | None
    ) = Field(None, description="how hard it thinks")


class PersonaRow(Rows):
    model: Text = Field(..., description="a name of `models`, or `provider/model`")
    description: Text = Field("", description="shown by GET /api/v1/personas")
    system: Text | None = Field(None, description="the prompt: the first that the model reads")
    system_file: Text | None = Field(None, description="a file with the prompt, in its place")
    temperature: Annotated[float, Field(ge=0, le=2), Says("number")] | None = Field(None, description="of its answers")
    max_tokens: Count | None = Field(None, description="of one answer")
    client_system: Annotated[Literal["append", "reject"], Says("`append` or `reject`")] = Field(
        "append", description="system messages of callers: read after the prompt, or refused"
    )
    scopes: Annotated[list[Literal["internal", "external"]], Field(min_length=1), Says("list of scopes")] = Field(
        ["internal", "external"], description="for whom it answers: `internal`, `external`; others get 403"
    )
    planning_text: Text = Field(PLANNING, description="the first `thinking_update` of a stream")
    tools: Annotated[
        dict[str, Literal["native", "research", "none"]], Says("mapping of switches to `native`, `research`, `none`")
    ] = Field(
        {},
        description="what callers' switches do: the upstream's own web search, the research profile, or nothing, which "
        "they are told",
    )
    research: ResearchRow | None = Field(None, description="what answers instead when research is asked for")
    voice_prompt: Text = Field(SPOKEN, description="added to the prompt for `voice: true`")
    response_schema: Annotated[dict[str, Any], Says("JSON Schema")] | None = Field(
        None, description="what answers must look like; `final_response.json` holds them then"
    )
    stream_deltas: bool = Field(False, description="whether streams hold `response_delta` events without being asked")


class ChatsRow(Rows):
    store: Text = Field("sqlite:isthmus.db", description="`sqlite:FILE`, relative to this file; needs the extra `db`")
    default: Text | None = Field(None, description="the persona when none is named; without it the first")
    personas: dict[str, PersonaRow] = Field({}, description="who answers, by name")


class AmountsRow(Rows):
    input: Amount | None = Field(None, description="tokens that are read, but for those of the kinds below")
    cache_read: Amount | None = Field(None, description="read from a cache; without it as `input`")
    cache_write: Amount | None = Field(None, description="kept in a cache; without it as `input`")
    cache_write_1h: Amount | None = Field(None, description="kept for an hour; without it as `cache_write`")
    tool_prompt: Amount | None = Field(None, description="prompts of built-in tools; without it as `input`")
    input_audio: Amount | None = Field(None, description="without it as `input`")
    input_image: Amount | None = Field(None, description="without it as `input`")
    output: Amount | None = Field(None, description="tokens that are written, but for those of the kinds below")
    reasoning: Amount | None = Field(None, description="thinking; without it as `output`")
    output_audio: Amount | None = Field(None, description="without it as `output`")
    output_image: Amount | None = Field(None, description="without it as `output`")


class PriceRow(AmountsRow):
    request: Amount | None = Field(None, description="of a call that is answered, besides its tokens; not per million")
    above: dict[str, AmountsRow] = Field(
        {}, description="other amounts for calls of more input tokens, `{200000: {input: 6}}`; the rest stays"
    )
    as_of: Day | None = Field(None, description="when somebody last looked, to be shown beside the price")


class MediaRow(Rows):
    fetch: Later = Field(None, description="whether image and file URLs are downloaded for upstreams that cannot")
    most: Annotated[None, later("20MiB"), WithJsonSchema({"enum": [None, "20MiB"]}), Says(LATER)] = Field(
        None, description="how much of one"
    )


class StateRow(Rows):
    file: Text | None = Field(
        None,
        description="where is kept what keys have spent of their budgets, relative to this file; without it a restart "
        "forgets",
    )
    shared: Later = Field(None, description="where workers and machines share limits and budgets")


class TelemetryRow(Rows):
    log: Annotated[Literal["json", "text"], Says("`json` or `text`")] = Field(
        "json", description="one line per call on standard output, as a JSON object or as `name=value`"
    )
    otlp: Later = Field(None, description="where traces are sent")
    record: Later = Field(None, description="where calls are recorded")


class File(Rows):
    """All of routes.yaml."""

    server: ServerRow = Field(ServerRow.model_construct(), description="The two listeners, and what one call may take.")
    access: AccessRow | None = Field(
        None,
        description="Who may call. Without it anybody who reaches the address, which then must be on loopback.",
    )
    providers: dict[str, ProviderRow | None] = Field(
        {}, description="Upstreams. A name that the catalog has, too, is merged over the catalog's row."
    )
    models: dict[
        str,
        Annotated[
            Annotated[ModelRow, Tag("one")] | Annotated[list[TargetRow], Field(min_length=1), Tag("list")],
            Discriminator(kind),
        ],
    ] = Field(
        {},
        description="What callers may name as `model`, besides `provider/model`: a list of targets, or a mapping. "
        "`*` in a name stands for anything.",
    )
    policies: dict[str, PolicyRow] = Field(
        {}, description="How hard to try. `default` holds for all; the others say what differs from it."
    )
    routes: list[RouteRow] = Field([], description="What each path means.")
    chats: ChatsRow | None = Field(
        None,
        description="The chat service: `/api/v1/chat*` and `/api/v1/personas`, as docs/chats.md tells. Without it "
        "there is nothing at these paths.",
    )
    media: MediaRow = Field(MediaRow.model_construct(), description="URLs in messages.")
    state: StateRow = Field(StateRow.model_construct(), description="What outlives the process, or several share.")
    telemetry: TelemetryRow = Field(TelemetryRow.model_construct(), description="What is written about calls.")
    guards: Later = Field(None, description="Checks of what is asked and answered.")
    prices: dict[str, PriceRow] = Field(
        {},
        description="What models cost, by `PROVIDER/MODEL`, in US dollars per million tokens; `*` stands for anything.",
    )
    cache: KeptRow | None = Field(None, description="Answers kept for the same question, on routes that say `cache`.")


# ── reading ────────────────────────────────────────────────────────────────────────────────────

#: Words of other tools for keys that are called otherwise here.
_OTHER_WORDS = {
    "api_base": "base_url",
    "api_key": "secret",
    "host": "listen",
    "key": "secret",
    "passthrough_params": "own",
    "retries": "attempts",
    "timeout": "timeouts",
    "url": "base_url",
    "dialect": "speaks",
    "targets": "to",
}
_NOT_SHOWN = frozenset({"secret", "secrets", "admin_token", "hash", "headers", "public_key"})
_PATTERNS = {
    _KEY_NAME: "at most 64 letters, digits and ._-",
    _KEY_HASH: "sha256: and 64 hex digits: `isthmus key new` prints them",
}
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "nothing",
}


def load(
    path: str | Path,
    environ: Mapping[str, str],
    *,
    listen: str | None = None,
    admin: str | None = None,
    workers: str | None = None,
    data: bytes | None = None,
) -> Loaded:
    """Reads a routes.yaml. Never raises for what is in it: that is in `problems`, all at once.

    `listen`, `admin` (HOST:PORT) and `workers` (a number, or `auto`) stand in the place of the file's own, as if they
    were written there. `data`: what the file holds, for whoever has read it.
    """
    path = Path(path)
    try:
        data = contents(path) if data is None else data
    except OSError as error:
        problem = Problem(1, 1, f"cannot be read: {error.strerror or 'error'}")
        return Loaded(settings=None, problems=_named([problem], path))
    said = (("listen", listen), ("admin", admin), ("workers", workers))
    node, problems = read(data)
    if node is None:
        return Loaded(settings=None, problems=_named(problems, path))
    reading = _Reading(node)
    sections = reading.sections()
    work = assembly.Assembly(
        node,
        sections,
        catalog=_catalog(),
        dialects=DIALECTS,
        path=str(path),
        secrets=Secrets(environ, path.parent),
        asked={key: text for key, text in said if text is not None},
        whole=not problems and not reading.problems,
        today=datetime.now(UTC).date(),
    )
    settings = work.settings()
    found = (*problems, *reading.problems, *work.complaints.problems)
    return Loaded(
        settings=None if found else settings,
        problems=_named(found, path),
        warnings=_named(work.complaints.warnings, path),
    )


def load_again(settings: Settings, environ: Mapping[str, str], data: bytes | None = None) -> Loaded:
    """The file of these settings as it is now. What the command line said holds on, and how many workers there are."""
    return load(
        settings.path,
        environ,
        listen=settings.asked.get("listen"),
        admin=settings.asked.get("admin"),
        workers=str(settings.workers),
        data=data,
    )


def contents(path: Path) -> bytes:
    """All of the file, or enough of it to see that it is too large. OSError."""
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _named(problems: Iterable[Problem], path: Path) -> tuple[Problem, ...]:
    """In the order of the file, each once, with the file's name."""
    unique = sorted({Problem(p.line, p.column, p.message, str(path)) for p in problems})
    return tuple(unique)


@functools.cache
def _catalog() -> dict[str, dict[str, Any]]:
    """The shipped rows, read as those of routes.yaml are."""
    adapter = _adapter(ProviderRow)
    shown = {name: {key: row[key] for key in row if key != "source"} for name, row in catalog().items()}
    return {name: _dump(adapter.validate_python(row)) for name, row in shown.items()}


class _Reading:
    """One pass over the sections of a file, each row by itself."""

    def __init__(self, node: Node) -> None:
        self.problems: list[Problem] = []
        self._root = node

    def sections(self) -> Row:
        """Plain values without defaults; of a row with problems its good keys, as Partial."""
        good: Row = {}
        assert isinstance(self._root.value, dict)
        for name, node in self._root.value.items():
            field = File.model_fields.get(name)
            if field is None:
                message = _unknown_key(name, set(File.model_fields))
                self.problems.append(Problem(*self._root.keys[name], message))
            elif node.value is None:
                continue  # a heading with nothing beneath it
            elif name in _NAMED_ROWS and isinstance(node.value, dict):
                rows = {key: self._part(_NAMED_ROWS[name], row, (name, key)) for key, row in node.value.items()}
                good[name] = {key: row for key, row in rows.items() if row is not _BAD}
            elif name == "routes" and isinstance(node.value, list):
                routes = [self._part(RouteRow, row, (name, i)) for i, row in enumerate(node.value)]
                good[name] = [(i, row) for i, row in enumerate(routes) if row is not _BAD]
            elif (part := self._part(_shape(field), node, (name,))) is not _BAD and name not in _ROWS:
                good[name] = part
        return good

    def _part(self, shape: Any, node: Node, path: tuple[str | int, ...]) -> Any:
        value = self._value(node, str(path[0]))
        try:
            return _dump(_adapter(shape).validate_python(value))
        except ValidationError as error:
            details = error.errors(include_url=False)
            self.problems += [_problem(detail, shape, self._root, path) for detail in details]
        return _salvage(shape, value)

    def _value(self, node: Node, section: str) -> Any:
        """As the section wants its numbers: money exactly."""
        if section == "prices":
            return node.exact()
        return node.exact_at("budget") if section == "access" else node.plain()


_ROWS = ("routes", "providers", "models", "policies", "prices")  # read row by row


def _salvage(shape: Any, value: Any) -> Any:
    """What of a bad value is good by itself: some keys of a row, some rows of a list. _BAD when it is neither."""
    models = models_in(shape)
    if get_origin(shape) is dict and models and isinstance(value, dict):
        rows_by_name = {key: _valid(get_args(shape)[1], row) for key, row in value.items()}
        return {key: row for key, row in rows_by_name.items() if row is not _BAD}
    if isinstance(value, list):
        rows = [_valid(TargetRow, row) for row in value] if TargetRow in models else []
        return Partial(to=rows, listed=True) if ModelRow in models else rows or _BAD
    model = next((m for m in models if m is not TargetRow or len(models) == 1), None)
    if model is None or not isinstance(value, dict):
        return _BAD
    known = {key: model.model_fields[key] for key in value if key in model.model_fields}
    found = {key: _valid(_shape(field), value[key]) for key, field in known.items()}
    return Partial({key: part for key, part in found.items() if part is not _BAD})


def _valid(shape: Any, value: Any) -> Any:
    try:
        return _dump(_adapter(shape).validate_python(value))
    except ValidationError:
        if shape is TargetRow and not isinstance(value, dict):
            return Partial()
        inner = _salvage(shape, value) if isinstance(value, dict | list) and models_in(shape) else _BAD
        return Partial() if inner is _BAD and shape is TargetRow else inner


_BAD: Any = object()


def _shape(field: FieldInfo) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


_NAMED_ROWS: dict[str, Any] = {
    name: get_args(File.model_fields[name].annotation)[1] for name in ("providers", "models", "policies", "prices")
}


def _dump(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _dump(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, list):
        return [_dump(item) for item in value]
    if isinstance(value, dict):
        return {key: _dump(item) for key, item in value.items()}
    return value


_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


def _adapter(shape: Any) -> TypeAdapter[Any]:
    key = repr(shape)
    if key not in _ADAPTERS:
        config = None if isinstance(shape, type) and issubclass(shape, BaseModel) else ConfigDict(strict=True)
        _ADAPTERS[key] = TypeAdapter(shape, config=config)
    return _ADAPTERS[key]


def _problem(detail: Any, shape: Any, root: Node, path: tuple[str | int, ...]) -> Problem:
    """A complaint of pydantic in our words, at its place in the file."""
    steps = _steps(root, (*path, *detail["loc"]))
    last = steps[-1] if steps else ""
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = set().union(*(model.model_fields for model in _models_at(shape, detail["loc"][:-1])))
        line, column = root.place(*steps, key=True)
        return Problem(line, column, _written(steps[:-1]) + _unknown_key(str(last), known))
    line, column = root.place(*steps)
    if kind == "missing":
        missing = detail["loc"][-1]
        return Problem(line, column, f"{_written(steps)}'{missing}' is missing")
    found = "" if last in _NOT_SHOWN or path[-1] in _NOT_SHOWN else f", found {describe(detail['input'])}"
    return Problem(line, column, _written(steps) + _complaint(detail, found))


def _complaint(detail: Any, found: str) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}{found}"
    if kind == "literal_error":
        hint = near(str(detail["input"]), re.findall(r"'([^']*)'", context["expected"]))
        return f"expected {context['expected'].replace(chr(39), '')}{found}{hint}"
    if kind == "string_pattern_mismatch":
        return f"expected {_PATTERNS[context['pattern']]}"
    if kind in ("too_short", "string_too_short"):
        return "expected at least one, found nothing"
    return str(detail["msg"]).replace("Input should be", "expected") + found


def _steps(root: Node, path: tuple[Any, ...]) -> tuple[str | int, ...]:
    """A path of pydantic without the steps that are not in the file (tags of unions, missing keys)."""
    steps: list[str | int] = []
    node = root
    for step in path:
        if (isinstance(node.value, dict) and step in node.value) or (
            isinstance(node.value, list) and isinstance(step, int)
        ):
            steps.append(step)
            node = node.at(step)
    return tuple(steps)


def _written(steps: tuple[str | int, ...]) -> str:
    """`routes[2].to[0]: `"""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return f"{text[1:]}: " if text else ""


def _models_at(shape: Any, steps: tuple[Any, ...]) -> set[type[BaseModel]]:
    """Which models a value at a path below `shape` may be read by."""
    models = models_in(shape)
    for step in steps:
        inner = [model.model_fields[step].annotation for model in models if step in model.model_fields]
        if inner:
            models = set().union(*(models_in(annotation) for annotation in inner))
    return models


def _unknown_key(key: str, known: set[str]) -> str:
    if (meant := _OTHER_WORDS.get(key)) in known:
        return f"unknown key '{key}', did you mean {meant}?"
    return f"unknown key '{key}'{near(key, known)}"


# ── what the models say of themselves ──────────────────────────────────────────────────────────


def schema() -> dict[str, Any]:
    """JSON Schema of routes.yaml."""
    made = File.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "routes.yaml of Isthmus", **made}


def reference() -> str:
    """docs/routes.md: every key with its type, default and meaning."""
    return write(File)
