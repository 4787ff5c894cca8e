"""Strict fakes of the given systems: each refuses what its document refuses, and then fails the test that sent it.

    async with AlephAlpha() as upstream:
        upstream.plays(fail(503), ok(order="reversed"))
        …
        assert upstream.seen[0].body == {…}

A fake is a small aiohttp application on a free port of loopback. What it answers is chosen by the test (`plays`, one
scenario a request, then plain good answers), never by what is asked. What the rules call wrong is answered as the
system would and noted in `refused`; leaving the `async with` block fails unless the test expected that (`tolerant`). A
caller's credential that reaches an upstream fails the test in any case.

The fake of Alchemyst is in alchemyst.py, those of OpenAI, Gemini and Anthropic are in vendors.py.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from aiohttp import web

Json: TypeAlias = Any

KEY = "upstream-key"  # the only bearer that a fake takes
GATEWAY_SECRET = "callers-secret"  # must never be seen by an upstream


@dataclass(frozen=True)
class Seen:
    """One request as it came. `target` is the raw path with its query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Json


@dataclass(frozen=True)
class Scenario:
    """How one request is answered. `options` are what the system itself may do differently."""

    status: int = 200
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    pause: float = 0.0
    cut: int | None = None  # events of a stream after which it just ends
    reset: bool = False  # the connection is dropped at that point, or at once
    split: bool = False
    done: bool = True
    huge: bool = False
    bad_json: bool = False
    options: Mapping[str, Json] = field(default_factory=dict)


def ok(**options: Json) -> Scenario:
    return Scenario(options=options)


def fail(status: int, body: Json = None, **headers: str) -> Scenario:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return Scenario(status=status, body=body, headers=said)


def fail_then_ok(times: int, status: int, body: Json = None) -> list[Scenario]:
    return [*[fail(status, body)] * times, ok()]


def delay(seconds: float) -> Scenario:
    return Scenario(delay=seconds)


def slow_tokens(pause: float) -> Scenario:
    return Scenario(pause=pause)


def cut_after(events: int, **options: Json) -> Scenario:
    return Scenario(cut=events, options=options)


def reset(events: int = 0) -> Scenario:
    return Scenario(cut=events, reset=True)


def split_every_byte(**options: Json) -> Scenario:
    return Scenario(split=True, options=options)


def no_done(**options: Json) -> Scenario:
    return Scenario(done=False, options=options)


def huge_line() -> Scenario:
    return Scenario(huge=True)


def bad_json() -> Scenario:
    return Scenario(bad_json=True)


def redirect(location: str) -> Scenario:
    return Scenario(status=302, headers={"location": location})


class Fake:
    """What all of them do: record, ask for the bearer, play scenarios, write streams."""

    base = ""  # what a base URL of it ends with
    paths: tuple[str, ...] = ()
    done = b"data: [DONE]\n\n"

    def __init__(self, *, tolerant: bool = False) -> None:
        self.seen: list[Seen] = []
        self.refused: list[str] = []
        self.leaked: list[str] = []  # targets of requests that held the caller's credential
        self.text: Sequence[str] = ("Hel", "lo")
        self._tolerant = tolerant
        self._scenarios: list[Scenario] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Any:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._serve)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        if kind is None:
            assert self.leaked == []
            assert self._tolerant or self.refused == []
            assert not self._scenarios, f"never played: {self._scenarios}"

    def plays(self, *scenarios: Scenario) -> None:
        """One scenario for each of the next requests."""
        self._scenarios += scenarios

    # ── what a system says for itself ──────────────────────────────────────────────
    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        """What is wrong with a request, None when nothing is."""
        raise NotImplementedError

    def refusal(self, problem: str, request: web.Request) -> tuple[int, Json]:
        return 400, {"error": {"message": problem, "type": "invalid_request_error", "param": None, "code": None}}

    def stranger(self, headers: Mapping[str, str], request: web.Request) -> str | None:
        """What is wrong with a request's credential, None when nothing is."""
        return None if headers.get("authorization") == f"Bearer {KEY}" else "a wrong bearer"

    def unauthorized(self, request: web.Request) -> Json:
        return {"error": {"message": "Unauthorized"}}

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        raise NotImplementedError

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        """A stream without its end mark."""
        raise NotImplementedError

    def streams(self, body: dict[str, Json], request: web.Request) -> bool:
        return body.get("stream") is True

    def good_status(self, request: web.Request) -> int:
        return 200

    def serves(self, request: web.Request) -> bool:
        """Whether this is a call that scenarios are played for."""
        return request.method == "POST" and request.path in self.paths

    def aside(self, body: Json, request: web.Request) -> web.Response | None:
        """The answer to a call that no scenario is for, None where there is no such call."""
        return None

    # ── serving ────────────────────────────────────────────────────────────────────
    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.raw_path, headers, body))
        if GATEWAY_SECRET in repr(headers) + request.raw_path:
            self.leaked.append(request.raw_path)
        if problem := self.stranger(headers, request):
            self.refused.append(problem)
            return web.json_response(self.unauthorized(request), status=401)
        if not self.serves(request):
            return self.aside(body, request) or self._unknown(request)
        if not isinstance(body, dict):
            return self.refuses("the body is not a JSON object", request, 400)
        if problem := self.problem(body, request):
            return self.refuses(problem, request)
        scenario = self._scenarios.pop(0) if self._scenarios else ok()
        return await self._play(scenario, body, request)

    def refuses(self, problem: str, request: web.Request, status: int | None = None) -> web.Response:
        """Notes what is wrong and says it in the system's words."""
        self.refused.append(problem)
        usual, said = self.refusal(problem, request)
        return web.json_response(said, status=status or usual)

    def _unknown(self, request: web.Request) -> web.Response:
        self.refused.append(f"no such path: {request.method} {request.path}")
        return web.json_response({"message": "Not found"}, status=404)

    async def _play(self, scenario: Scenario, body: dict[str, Json], request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(scenario.delay)
        if scenario.status != 200:
            said = {} if scenario.body is None else scenario.body
            return web.json_response(said, status=scenario.status, headers=dict(scenario.headers))
        self.accepted(body)
        if self.streams(body, request):
            return await self._stream(scenario, body, request)
        data = b'{"id": "x", "choices": [' if scenario.bad_json else to_json(self.whole(body, scenario.options))
        status = self.good_status(request)
        return web.Response(body=data, status=status, content_type="application/json")

    def accepted(self, body: dict[str, Json]) -> None:
        """A request was found good."""

    async def _stream(self, scenario: Scenario, body: dict[str, Json], request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        pieces = list(self.events(body, scenario.options))
        if scenario.huge:
            pieces.insert(1, b"data: " + b" " * (17 << 20) + b"\n\n")
        if scenario.bad_json:
            pieces.insert(1, b'data: {"choices": [\n\n')
        if scenario.cut is not None:
            pieces = pieces[: scenario.cut]
        elif scenario.done:
            pieces.append(self.done)
        for piece in pieces:
            for one in (piece[i : i + 1] for i in range(len(piece))) if scenario.split else (piece,):
                await response.write(one)
            await asyncio.sleep(scenario.pause)
        if scenario.reset:
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write_eof()
        return response


def to_json(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def to_event(value: Json) -> bytes:
    return b"data: " + to_json(value) + b"\n\n"


def is_number(value: Json, low: float | None, high: float | None, *, whole: bool = False) -> bool:
    if type(value) is not int and (whole or type(value) is not float):
        return False
    return (low is None or value >= low) and (high is None or value <= high)


# ── Aleph Alpha ────────────────────────────────────────────────────────────────────────

QUEUE_FULL = {
    "error": "The request was rejected because we could not guarantee to finish it in a reasonable timeframe. "
    "This specific model is very busy at this moment. Try again later or use another model.",
    "code": "QUEUE_FULL",
}
_AA_FIELDS = {
    *("messages", "model", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"),
    *("max_tokens", "n", "stop", "stream", "stream_options", "temperature", "top_p", "steering_concepts"),
    *("seed", "service_tier", "user"),
}
_AA_REJECTED = ("response_format", "tools", "tool_choice", "parallel_tool_calls")
_AA_RANGES: Mapping[str, tuple[float | None, float | None]] = {
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_logprobs": (0, 20),
    "max_tokens": (1, None),
    "n": (1, None),
}
_STEERING = re.compile(r"_worker/[a-zA-Z0-9-_]{1,64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_DATA_URL = re.compile(r"data:image/[a-z+.-]+;base64,")


_AA_WHOLE = {"top_logprobs", "max_tokens", "n"}
_MOST_TOOLS = 128


class AlephAlpha(Fake):
    """`POST /chat/completions`. `profile` "4.7": a newer installation with tools, JSON schemas and images.

    Options of a scenario: `texts` (pieces for each choice), `order` (round, reversed, random), `last` (`{}` or
    `{"content": None}`), `finish`, `unknown_logprobs`, `in_list`.
    """

    paths = ("/chat/completions",)

    def __init__(self, *, profile: Literal["default", "4.7"] = "default", tolerant: bool = False) -> None:
        super().__init__(tolerant=tolerant)
        self.new = profile == "4.7"
        self.ignored: list[str] = []  # accepted and without effect: nobody should send them

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        if any(pair not in (("nice", "true"), ("nice", "false")) for pair in request.query.items()):
            return f"a query that is not known: {request.query_string}"
        self.ignored += [key for key in ("seed", "service_tier", "user") if key in body]
        allowed = _AA_FIELDS | ({"response_format", "tools", "tool_choice"} if self.new else set())
        for key in _AA_REJECTED:
            if key in body and key not in allowed:
                return f"{key} is unsupported"
        if unknown := sorted(body.keys() - allowed):
            return f"unknown fields: {unknown}"
        if type(body.get("model")) is not str or type(body.get("messages")) is not list or not body["messages"]:
            return "model and messages are required"
        return self._parameters(body) or self._turns(body["messages"])

    def _parameters(self, body: dict[str, Json]) -> str | None:
        for key, (low, high) in _AA_RANGES.items():
            if key in body and not is_number(body[key], low, high, whole=key in _AA_WHOLE):
                return f"{key} is out of range"
        for key in ("logprobs", "stream"):
            if type(body.get(key, False)) is not bool:
                return f"{key} is not a boolean"
        options = body.get("stream_options", {})
        if type(options) is not dict or any((key, type(options[key])) != ("include_usage", bool) for key in options):
            return "stream_options: include_usage only"
        if "top_logprobs" in body and body.get("logprobs") is not True:
            return "top_logprobs without logprobs"
        return self._texts_of(body) or (self._newer(body) if self.new else None)

    def _texts_of(self, body: dict[str, Json]) -> str | None:
        bias = body.get("logit_bias", {})
        if type(bias) is not dict or not all(key.isdigit() and is_number(bias[key], -100, 100) for key in bias):
            return "logit_bias is out of range"
        stop = body.get("stop", "")
        if type(stop) is not str and not (type(stop) is list and len(stop) > 1 and all(type(s) is str for s in stop)):
            return "stop is a string, or several"
        concepts = body.get("steering_concepts", [])
        if type(concepts) is not list:
            return "steering_concepts is not an array"
        if not all(type(one) is str and (_STEERING.fullmatch(one) or _HEX.fullmatch(one)) for one in concepts):
            return "a steering concept that does not exist"
        return None

    def _newer(self, body: dict[str, Json]) -> str | None:
        """What the newer profile says of the fields that only it takes."""
        form, tools = body.get("response_format"), body.get("tools", [])
        if "response_format" in body and (type(form) is not dict or form.get("type") != "json_schema"):
            return "response_format: json_schema only"
        if type(tools) is not list or len(tools) > _MOST_TOOLS:
            return f"tools: at most {_MOST_TOOLS}"
        return "steering_concepts: one at a time" if len(body.get("steering_concepts", [])) > 1 else None

    def _turns(self, messages: list[Json]) -> str | None:
        before = "assistant"
        for number, message in enumerate(messages):
            if type(message) is not dict:
                return f"messages[{number}] is not an object"
            if "name" in message:
                self.ignored.append("name")
            calls = self.new and message.get("tool_calls")
            if problem := self._tool_turn(message) if self.new else None:
                return f"messages[{number}]: {problem}"
            role, content = message.get("role"), message.get("content")
            if message.keys() - {"role", "content", "name"} and not (calls or (self.new and role == "tool")):
                return f"messages[{number}]: unknown fields"
            vision = self.new and role == "user" and _is_vision(content)
            if type(content) is not str and not vision and not (calls and content is None):
                return f"messages[{number}]: content is not a string"
            if role == "system" and number == 0:
                continue
            if role not in self._next(before):
                return f"messages[{number}]: turns must alternate between user and assistant"
            before = "calls" if calls else role
        return None if before in ("user", "tool") else "the last message must be of the user"

    def _next(self, before: str) -> tuple[str, ...]:
        """Who may speak after whom. Results of tools stand where a user's turn stands."""
        turns = {"assistant": ("user",), "user": ("assistant",), "calls": ("tool",), "tool": ("tool", "assistant")}
        return turns[before]

    def _tool_turn(self, message: dict[str, Json]) -> str | None:
        if message.get("role") == "tool":
            good = message.keys() == {"role", "content", "tool_call_id"} and type(message["tool_call_id"]) is str
            return None if good else "a result of a tool has its call's id and a content"
        if "tool_calls" in message and (message.get("role") != "assistant" or not message["tool_calls"]):
            return "tool_calls are of the assistant"
        return None

    def refusal(self, problem: str, request: web.Request) -> tuple[int, Json]:
        return 400, {"error": problem, "code": "INVALID_REQUEST"}

    def _texts(self, body: dict[str, Json], options: Mapping[str, Json]) -> list[list[str]]:
        texts = options.get("texts")
        return texts if texts is not None else [list(self.text) for _ in range(body.get("n", 1))]

    def _finish(self, body: dict[str, Json], options: Mapping[str, Json], pieces: list[str]) -> tuple[list[str], str]:
        """What a choice says, and why it ends: cut at its limit, or before a stop text."""
        stops = body.get("stop") or []
        most = body.get("max_tokens", len(pieces) + 1)
        said = "".join(pieces[:most])
        ends = [at for stop in ([stops] if type(stops) is str else stops) if (at := said.find(stop)) >= 0]
        if ends:
            return [piece for piece in (said[: min(ends)],) if piece], "stop"
        return pieces[:most], options.get("finish") or ("length" if most <= len(pieces) else "stop")

    def _logprobs(self, body: dict[str, Json], options: Mapping[str, Json], piece: str) -> Json:
        if not body.get("logprobs"):
            return None
        unknown = options.get("unknown_logprobs")
        token = {"token": piece, "logprob": -9999.0 if unknown else -0.5, "bytes": list(piece.encode())}
        return {"content": [{**token, "top_logprobs": [] if unknown else [token] * body.get("top_logprobs", 0)}]}

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        choices, count = [], 0
        for index, pieces in enumerate(self._texts(body, options)):
            said, finish = self._finish(body, options, pieces)
            count += len(said)
            message = {"role": "assistant", "content": "".join(said)}
            logprobs = self._logprobs(body, options, "".join(said))
            choices.append({"finish_reason": finish, "index": index, "message": message, "logprobs": logprobs})
        usage = {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count}
        answer = {**self._head(body, "chat.completion"), "choices": choices, "usage": usage}
        answer["system_fingerprint"] = ".unknown."
        return [answer] if options.get("in_list") else answer

    def _head(self, body: dict[str, Json], kind: str) -> dict[str, Json]:
        return {"id": f"aa-{len(self.seen)}", "object": kind, "created": 1719000000, "model": body["model"]}

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        tracks, count = [], 0
        for index, pieces in enumerate(self._texts(body, options)):
            said, finish = self._finish(body, options, pieces)
            count += len(said)
            tracks.append([*self._chunks(body, options, index, said), (options.get("last", {}), finish, None, index)])
        for delta, finish, logprobs, index in _interleaved(tracks, options.get("order", "round")):
            choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
            fingerprint = ".unknown." if finish else None
            yield to_event(
                {
                    **self._head(body, "chat.completion.chunk"),
                    "choices": [choice],
                    "system_fingerprint": fingerprint,
                    "usage": None,
                }
            )
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count}
            yield to_event({**self._head(body, "chat.completion.chunk"), "choices": [], "usage": usage})

    def _chunks(self, body: dict[str, Json], options: Mapping[str, Json], index: int, said: list[str]) -> list[Json]:
        first: Json = ({"role": "assistant", "content": ""}, None, None, index)
        return [first, *(({"content": piece}, None, self._logprobs(body, options, piece), index) for piece in said)]


def _is_vision(content: Json) -> bool:
    """Texts and images by data URL in base64, without a wish for detail other than auto."""
    return type(content) is list and bool(content) and all(map(_is_part, content))


def _is_part(part: Json) -> bool:
    if type(part) is not dict:
        return False
    if part.get("type") == "text":
        return part.keys() == {"type", "text"} and type(part["text"]) is str
    image = part.get("image_url")
    if part.get("type") != "image_url" or type(image) is not dict or image.keys() - {"url", "detail"}:
        return False
    url = image.get("url")
    return type(url) is str and bool(_DATA_URL.match(url)) and image.get("detail", "auto") == "auto"


def _interleaved(tracks: list[list[Json]], order: str) -> Iterator[Json]:
    dice = random.Random(7)
    left = [list(track) for track in tracks]
    while any(left):
        ready = [track for track in left if track]
        if order == "random":
            yield dice.choice(ready).pop(0)
        elif order == "reversed":
            yield ready[-1].pop(0)  # the last choice is told first, to its end
        else:
            for track in ready:
                yield track.pop(0)


# ── AlphaKEK ───────────────────────────────────────────────────────────────────────────

_KEK_FIELDS = {"model", "messages", "stream", "persona", "json_schema", "temperature", "top_p"}
_KEK_FIELDS |= {"frequency_penalty", "top_k"}
_KEK_KINDS: Mapping[str, tuple[type, ...]] = {
    "stream": (bool,),
    "persona": (str, type(None)),
    "json_schema": (dict,),
    "temperature": (int, float),
    "top_p": (int, float),
    "frequency_penalty": (int, float),
    "top_k": (int,),
}
_CREDITS = {"versa": 1, "nexus": 2, "eclipse": 3}


class AlphaKek(Fake):
    """`POST /v1/chat/completions`, `GET /account`; `spent` counts credits.

    `credits` is what the caller's tier has, `over` the status of a call that would cost more than is left of it.
    Options: `text` (the answer), `own_calls`, `null_deltas`, `no_usage`, `full` (every optional field).
    """

    base = "/v1"
    paths = ("/v1/chat/completions",)

    def __init__(self, *, tolerant: bool = False, credits: int = 250, over: Literal[402, 429] = 402) -> None:
        super().__init__(tolerant=tolerant)
        self.spent = 0
        self._credits = credits
        self._over = over

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        """The path of the field, a colon, and what is wrong with it."""
        if request.query_string:
            return "query: unknown"
        if unknown := sorted(body.keys() - _KEK_FIELDS):
            return f"{unknown[0]}: unknown field"
        if type(body.get("model")) is not str or body["model"] not in _CREDITS:
            return "model: unknown"
        for key, kind in _KEK_KINDS.items():
            if key in body and type(body[key]) not in kind:
                return f"{key}: not of its type"
        return self._messages(body.get("messages"))

    def _messages(self, messages: Json) -> str | None:
        if type(messages) is not list or not messages:
            return "messages: a list of at least one"
        for message in messages:
            if type(message) is not dict or message.keys() != {"role", "content"}:
                return "messages: role and content"
            if message["role"] not in ("system", "user", "assistant") or type(message["content"]) is not str:
                return "messages: a role or content that is not known"
        return None

    def refusal(self, problem: str, request: web.Request) -> tuple[int, Json]:
        return 422, {"detail": [{"loc": ["body", problem.partition(":")[0]], "msg": problem, "type": "value_error"}]}

    async def _play(self, scenario: Scenario, body: dict[str, Json], request: web.Request) -> web.StreamResponse:
        if self.spent + _CREDITS[body["model"]] > self._credits:
            scenario = fail(self._over, {"detail": "The credits of this tier are used up"})
        return await super()._play(scenario, body, request)

    def accepted(self, body: dict[str, Json]) -> None:
        self.spent += _CREDITS[body["model"]]

    def aside(self, body: Json, request: web.Request) -> web.Response | None:
        if (request.method, request.raw_path) != ("GET", "/account"):
            return None
        return web.json_response({"credits": self._credits - self.spent, "tier": "PREMIUM"})

    def _text(self, body: dict[str, Json], options: Mapping[str, Json]) -> list[str]:
        if "text" in options:
            return [options["text"]] if type(options["text"]) is str else list(options["text"])
        if "json_schema" in body:
            return [json.dumps(dict.fromkeys(body["json_schema"].get("properties", {}), "x"))]
        return list(self.text)

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        message: dict[str, Json] = {
            "content": "".join(self._text(body, options)),
            "refusal": None,
            "role": "assistant",
            "audio": None,
            "function_call": None,
            "tool_calls": None,
        }
        finish = "stop"
        if options.get("own_calls"):
            function = {"arguments": '{"token": "ETH"}', "name": "create_alert"}
            message["tool_calls"] = [{"id": "call_own", "function": function, "type": "function"}]
            finish = "tool_calls"
        if options.get("full"):
            message |= {
                "refusal": "text",
                "audio": {"id": "a", "data": "AAAA", "expires_at": 0, "transcript": "text"},
            }
        answer: dict[str, Json] = {
            **self._head(body, "chat.completion"),
            "choices": [{"finish_reason": finish, "index": 0, "logprobs": None, "message": message}],
            "service_tier": "scale",
            "system_fingerprint": "fp_1",
            "usage": {
                "completion_tokens": 2,
                "prompt_tokens": 3,
                "total_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 0},
                "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
            },
        }
        if options.get("no_usage"):
            del answer["usage"]
        return answer

    def _head(self, body: dict[str, Json], kind: str) -> dict[str, Json]:
        return {"id": f"kek-{len(self.seen)}", "object": kind, "created": 1719000000, "model": body["model"]}

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        def chunk(delta: Json, finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
            return to_event({**self._head(body, "chat.completion.chunk"), "choices": [choice]})

        yield chunk({"role": "assistant", "content": ""})
        if options.get("null_deltas"):
            yield chunk({"content": None})
        for piece in self._text(body, options):
            yield chunk({"content": piece})
        if options.get("own_calls"):
            function = {"name": "create_alert", "arguments": '{"token": "ETH"}'}
            yield chunk({"tool_calls": [{"index": 0, "id": "call_own", "type": "function", "function": function}]})
        yield chunk({}, "tool_calls" if options.get("own_calls") else "stop")


# ── AlphaEdge ──────────────────────────────────────────────────────────────────────────

EDGE_ANSWER: dict[str, Json] = {
    "id": "chat-abc123",
    "object": "chat.completion",
    "model": "alphaedge-large-3-2512",
    "created": 1234567890,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello! How can I help you today?"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 15},
}


class AlphaEdge(Fake):
    """`POST /v1/chat/completions` with five fields. Options: `usage` (in a stream), `finish`, `text`."""

    base = "/v1"
    paths = ("/v1/chat/completions",)

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        if request.query_string:
            return "a query"
        if unknown := sorted(body.keys() - {"model", "messages", "max_tokens", "temperature", "stream"}):
            return f"unknown fields: {unknown}"
        if type(body.get("model")) is not str:
            return "model is required"
        if "temperature" in body and not is_number(body["temperature"], 0, 2):
            return "temperature must be between 0 and 2"
        if "max_tokens" in body and not is_number(body["max_tokens"], 1, None, whole=True):
            return "max_tokens must be a positive integer"
        if type(body.get("stream", False)) is not bool:
            return "stream must be a boolean"
        messages = body.get("messages")
        return None if type(messages) is list and messages else "messages must not be empty"

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        if "text" not in options:
            return EDGE_ANSWER
        message = {"role": "assistant", "content": options["text"]}
        return {**EDGE_ANSWER, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        head = {**EDGE_ANSWER, "object": "chat.completion.chunk"}
        del head["choices"], head["usage"]
        for piece in options.get("text", self.text):
            yield to_event({**head, "choices": [{"index": 0, "delta": {"content": piece}}]})
        if options.get("finish", True):
            last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            yield to_event({**head, **last, **({"usage": EDGE_ANSWER["usage"]} if options.get("usage") else {})})
