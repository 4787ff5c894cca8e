"""Strict fakes of OpenAI, Gemini and Anthropic behind the proxy paths: each records whom it was called as.

They look at what a gateway may get wrong on the way: the path, the credential's place, headers that are another
vendor's. Bodies are checked for what the vendors require, all other fields pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from aiohttp import web

from tests.answers import (
    anthropic_answer,
    anthropic_closing,
    anthropic_error,
    anthropic_opening,
    chat_answer,
    chat_stream,
    gemini_answer,
    gemini_error,
    gemini_stream,
    openai_error,
)
from tests.given.fakes import Fake, Json, Scenario, to_event, to_json

_CREDENTIALS = {"authorization", "x-api-key", "x-goog-api-key", "x-upstream-api-key"}


class Vendor(Fake):
    """What the three have in common: `credentials` are those of the calls, in order; any is good."""

    place = ""  # the header that the credential stands in
    scheme = ""  # what it begins with there

    def __init__(self, *, tolerant: bool = False) -> None:
        super().__init__(tolerant=tolerant)
        self.credentials: list[str] = []

    def stranger(self, headers: Mapping[str, str], request: web.Request) -> str | None:
        found = headers.get(self.place, "")
        if others := sorted((_CREDENTIALS - {self.place}) & headers.keys()):
            return f"credentials that are not for it: {others}"
        if not found.startswith(self.scheme) or found == self.scheme:
            return f"no credential in {self.place}"
        self.credentials.append(found.removeprefix(self.scheme))
        return None


class OpenAI(Vendor):
    """`POST /v1/chat/completions` with a bearer."""

    base = "/v1"
    paths = ("/v1/chat/completions",)
    place = "authorization"
    scheme = "Bearer "

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        good = type(body.get("model")) is str and type(body.get("messages")) is list and body["messages"]
        return None if good and not request.query_string else "model and messages, and no query"

    def unauthorized(self, request: web.Request) -> Json:
        return openai_error("Incorrect API key provided", "invalid_request_error", "invalid_api_key")

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        return chat_answer("".join(self.text))

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        yield from map(to_event, chat_stream(*self.text)[:-1])


class Gemini(Vendor):
    """`POST /{version}/models/{model}:{task}` with x-goog-api-key, and never an authorization."""

    place = "x-goog-api-key"
    done = b""
    _path = re.compile(r"/(v1|v1alpha|v1beta)/models/[^/:]+:(generateContent|streamGenerateContent)")

    def serves(self, request: web.Request) -> bool:
        return request.method == "POST" and self._path.fullmatch(request.path) is not None

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        if request.query_string not in ("", "alt=sse"):
            return "a query other than alt=sse"
        return None if type(body.get("contents")) is list and body["contents"] else "contents are required"

    def refusal(self, problem: str, request: web.Request) -> tuple[int, Json]:
        return 400, gemini_error(400, problem, "INVALID_ARGUMENT")

    def unauthorized(self, request: web.Request) -> Json:
        return gemini_error(401, "Request had invalid authentication credentials", "UNAUTHENTICATED")

    def streams(self, body: dict[str, Json], request: web.Request) -> bool:
        return request.query_string == "alt=sse"

    async def _play(self, scenario: Scenario, body: dict[str, Json], request: web.Request) -> web.StreamResponse:
        """Without alt=sse a stream is an array, here in one piece."""
        if request.path.endswith(":streamGenerateContent") and not request.query_string and scenario.status == 200:
            return web.Response(body=to_json(gemini_stream(*self.text)), content_type="application/json")
        return await super()._play(scenario, body, request)

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        answer = gemini_answer("".join(self.text), promptFeedback={"safetyRatings": []})
        answer["candidates"][0]["safetyRatings"] = []
        return answer

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        yield from map(to_event, gemini_stream(*self.text))


class Anthropic(Vendor):
    """`POST /v1/messages` with x-api-key and anthropic-version."""

    paths = ("/v1/messages",)
    place = "x-api-key"
    done = b""

    def problem(self, body: dict[str, Json], request: web.Request) -> str | None:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", request.headers.get("anthropic-version", "")):
            return "anthropic-version: header is required"
        good = type(body.get("model")) is str and type(body.get("max_tokens")) is int
        return None if good and type(body.get("messages")) is list and body["messages"] else "a field is missing"

    def refusal(self, problem: str, request: web.Request) -> tuple[int, Json]:
        return 400, anthropic_error(problem, "invalid_request_error")

    def unauthorized(self, request: web.Request) -> Json:
        return anthropic_error("invalid x-api-key", "authentication_error")

    def whole(self, body: dict[str, Json], options: Mapping[str, Json]) -> Json:
        return anthropic_answer("".join(self.text))

    def events(self, body: dict[str, Json], options: Mapping[str, Json]) -> Iterator[bytes]:
        yield from anthropic_opening(*self.text)
        yield from anthropic_closing()
