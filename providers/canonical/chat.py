"""Canonical chat values: what a request and an answer mean, independent of any wire language.

Every value is a frozen `msgspec.Struct`. Four fields are common to all of them:

    extra   what only the dialect that decoded the value understands. The same dialect writes it back
            untouched; any other declares each key as a `Loss`.
    form    how that dialect spelled a thing that it can spell in several ways (a string or a list of
            parts, `developer` or `system`). Only that dialect reads it, and it is never a loss. One key is common:
            `outer` lists keys of `extra` that stood one level above `at` (beside `function` in a tool). So is `schema`
            of a format: the key under which the schema stood on its own, at `at`; and `name_at` of media: the path of
            their name, where that is not `filename` below `at`.
    at      where the value stood in the caller's own body (`messages[3].content[0]`), so that a loss can
            be named in the caller's words. Empty for values that no caller wrote. Not part of the meaning.
    seal    (parts) a signature or encrypted state of the model that made the part: opaque, echoed to the
            same origin, a loss elsewhere.

None always means "not said"; 0, "" and () mean what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Json: TypeAlias = Any
Object: TypeAlias = Mapping[str, Json]


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Every canonical value: immutable, comparable, writable as JSON.

    What is made of JSON holds no cycles, so the garbage collector need not look for them (`gc=False`).
    """

    extra: Object | None = None
    form: Object | None = None
    at: str = ""


# ── parts ──────────────────────────────────────────────────────────────────────────────


class Seal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Opaque state of the model that made a part: signature, thoughtSignature, encrypted_content.

    `origin` says who can read it again: the dialect family that wrote it (`gemini`, `anthropic`, …).
    `at`: where it stood in the caller's body.
    """

    value: str
    origin: str
    at: str = ""


class CacheMark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ask the upstream to cache everything up to and with this part. `ttl` as the caller wrote it: `5m`, `1h`, `30m`.

    `at`: where the mark stood in the caller's body. `beside`: what else it said there.
    """

    ttl: str | None = None
    at: str = ""
    beside: tuple[str, ...] = ()


class Citation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One source of a text part. Offsets count Unicode characters within the part. `at`: where the list of them stood
    in the caller's body.
    """

    url: str | None = None
    title: str | None = None
    start: int | None = None
    end: int | None = None
    extra: Object | None = None
    at: str = ""


class Part(Value, frozen=True, kw_only=True):
    seal: Seal | None = None
    cache: CacheMark | None = None


class Text(Part, frozen=True, kw_only=True, tag="text"):
    text: str
    citations: tuple[Citation, ...] = ()


class Media(Part, frozen=True, kw_only=True, tag="media"):
    """An image, a sound, a film or a document, by exactly one of `base64`, `url`, `file_id`."""

    kind: Literal["image", "audio", "video", "file"]
    mime_type: str | None = None
    base64: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    detail: str | None = None  # auto, low, high, original
    transcript: str | None = None  # of a sound that the model made


class Reasoning(Part, frozen=True, kw_only=True, tag="reasoning"):
    """Thinking that the model shows. `redacted`: only `seal` is there."""

    text: str = ""
    redacted: bool = False


class ToolCall(Part, frozen=True, kw_only=True, tag="tool_call"):
    """The model asks the caller to run a tool.

    `arguments` is the text as the model wrote it, never re-serialised: it may be malformed JSON.
    `invented_id`: the upstream gave no id and we made this one; it is not sent back to it.
    """

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    invented_id: bool = False


class ToolResult(Part, frozen=True, kw_only=True, tag="tool_result"):
    """The caller's answer to a tool call. `name` where the caller's dialect gives it."""

    call_id: str
    parts: tuple[Text | Media | Opaque, ...] = ()
    name: str | None = None
    is_error: bool = False
    invented_id: bool = False


class Refusal(Part, frozen=True, kw_only=True, tag="refusal"):
    """The model declines, in its own words."""

    text: str


class Opaque(Part, frozen=True, kw_only=True, tag="opaque"):
    """A block that only `dialect` understands: replayed unchanged to it, a loss elsewhere."""

    dialect: str
    kind: str  # what it is, for the loss: "executableCode", "server_tool_use"
    raw: Json


AnyPart: TypeAlias = Text | Media | Reasoning | ToolCall | ToolResult | Refusal | Opaque

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class Message(Value, frozen=True, kw_only=True):
    """One turn. Part order is kept: thinking, text and calls interleave and some upstreams check it."""

    role: Role
    parts: tuple[AnyPart, ...]
    name: str | None = None


# ── tools and output ───────────────────────────────────────────────────────────────────


class Tool(Value, frozen=True, kw_only=True):
    """A function that the model may ask for. `parameters` is JSON Schema; None means no parameters."""

    name: str
    description: str | None = None
    parameters: Object | None = None
    strict: bool | None = None
    response: Object | None = None  # JSON Schema of the result, where the dialect has a place for it
    kind: Literal["function", "custom"] = "function"
    cache: CacheMark | None = None


class ServerTool(Value, frozen=True, kw_only=True):
    """A tool that the provider runs itself (search, code). Known only to the dialect that wrote it."""

    dialect: str
    kind: str
    raw: Json


class ToolChoice(Value, frozen=True, kw_only=True):
    """`mode` auto: free; none: never; required: at least one. `names`: only these (one with required: that one)."""

    mode: Literal["auto", "none", "required"]
    names: tuple[str, ...] = ()
    validated: bool = False  # auto, but arguments are checked against the schema (Gemini's VALIDATED)


class ResponseFormat(Value, frozen=True, kw_only=True):
    """What the answer must look like. `schema` is JSON Schema, only with kind `json_schema`."""

    kind: Literal["text", "json_object", "json_schema"]
    schema: Object | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class ReasoningConfig(Value, frozen=True, kw_only=True):
    """How much to think: by word or by tokens (0 off, -1 the model decides); and whether to show it."""

    effort: str | None = None  # none, minimal, low, medium, high, xhigh, max
    budget: int | None = None
    show: bool | None = None


class SafetySetting(Value, frozen=True, kw_only=True):
    category: str
    threshold: str | None = None


class AudioConfig(Value, frozen=True, kw_only=True):
    """How a spoken answer should sound. `voice` is a name or the dialect's own object."""

    voice: Json = None
    format: str | None = None


# ── the request ────────────────────────────────────────────────────────────────────────


class ChatRequest(Value, frozen=True, kw_only=True):
    """One chat call. `dialect` is the one that decoded it: it alone may read `extra` and `form` back.

    `paths` names, for parameters that the caller wrote in another than the dialect's usual place,
    where they stood (`max_output_tokens` -> `max_tokens`).
    """

    dialect: str
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool | ServerTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[str, float] | None = None
    response_format: ResponseFormat | None = None
    reasoning: ReasoningConfig | None = None
    modalities: tuple[str, ...] = ()  # lower case: text, image, audio
    audio: AudioConfig | None = None
    service_tier: str | None = None
    end_user: str | None = None
    metadata: Mapping[str, str] | None = None
    safety: tuple[SafetySetting, ...] = ()
    store: bool | None = None
    verbosity: str | None = None
    prediction: Json = None
    cache_key: str | None = None
    cached_content: str | None = None
    stream: bool = False
    include_usage: bool = False  # the caller asked to see usage in a stream
    count: bool = False  # the caller only asks how many tokens this would be
    paths: Mapping[str, str] | None = None


# ── the answer ─────────────────────────────────────────────────────────────────────────

FinishReason: TypeAlias = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "pause", "error", "other"
]


class Finish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why the model stopped, in our word and in the provider's.

    `failed`: it failed after it had called tools, of which `reason` tells; after words alone `reason` is `error`.
    """

    reason: FinishReason
    raw: str | None = None
    message: str | None = None  # the provider's explanation, when it gives one
    stop_sequence: str | None = None
    failed: bool = False


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One token and its alternatives. `bytes` are its UTF-8 bytes; None where the provider does not say."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    id: int | None = None
    top: tuple[TokenLogprob, ...] = ()
    extra: Object | None = None


class Logprobs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    content: tuple[TokenLogprob, ...] | None = None
    refusal: tuple[TokenLogprob, ...] | None = None
    extra: Object | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Token counts of one answer. None: the provider did not say; 0: it said zero.

    `input_tokens` and `output_tokens` are inclusive totals; the others are parts of them:
    input = uncached + cache_read + cache_write (+ tool_prompt), output = text + reasoning + audio + image.
    `raw` is the provider's own object, for the same dialect and for the log.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None  # part of cache_write_tokens
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    output_image_tokens: int | None = None
    tool_prompt_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    estimated: bool = False  # ours, not the provider's
    raw: Object | None = None


class Choice(Value, frozen=True, kw_only=True):
    """One of n answers. `finish` None only in an answer that the upstream left without a reason."""

    index: int = 0
    parts: tuple[AnyPart, ...] = ()
    finish: Finish | None = None
    logprobs: Logprobs | None = None


class ChatResponse(Value, frozen=True, kw_only=True):
    """A whole answer. `created` is in Unix seconds. `blocked`: the prompt was refused before any answer."""

    dialect: str = ""
    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    blocked: Finish | None = None


class TokenCount(Value, frozen=True, kw_only=True):
    """The answer to "how many tokens would this be?". `estimated`: counted by us, not by the model's tokenizer."""

    total_tokens: int
    cached_tokens: int | None = None
    estimated: bool = False
