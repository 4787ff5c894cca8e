"""Upstreams that play a loop of tools in three steps, each in its vendor's language, and refuse what a vendor refuses.

A model calls one tool, then two at once, then says what it thinks. It signs what it made where its language has
signatures, and takes a history only if all of it is there again: its own parts exactly as it made them, in their
order, and a result for every call, under its id. Anything else is a 400 in the vendor's own form, and a line in
`problems`, which the test reads first.

    upstream.always(player := Gemini(number=7))
    …
    assert ([], [1, 2, 3]) == (player.problems, player.steps)

The readers in here share no code with the gateway. `number` makes ids and signatures which no other test has seen.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from tests import corpus
from tests.clients.talkers.world import QUESTION, TOOLS, result_of
from tests.fakes import Answer, Received, status

Json = Any

KEY = "key-of-the-upstream"
HELLO = "Hello – «wörld» 👋\n\t\u2028fin"
CITY = {"name": "Zürich", "country": "Switzerland"}
COMPLAINT = "The prompt is not to my taste."
LAST = "Take an umbrella – ☔."
CALLS = {  # by name: with what the model calls it
    "get_weather": {"city": "Zürich «Ölberg» 👋"},
    "get_time": {"zone": 'Europe/"Zurich"\n'},
    "count_stock": {"item": "umbrella", "least": 2},
}


class Thought(NamedTuple):
    """`seal`: the signature, or the encrypted state."""

    text: str
    seal: str


class Said(NamedTuple):
    text: str


class Called(NamedTuple):
    id: str | None
    name: str
    arguments: Json
    seal: str | None = None


Part = Thought | Said | Called


class Step(NamedTuple):
    """A turn of the model, and what it got for its calls, in the order in which that came."""

    parts: list[Part]
    results: list[tuple[str | None, str]]


class Wrong(Exception):
    """What the vendor would refuse, in its words."""


class Scripted:
    """An upstream of one language. As a handler of `FakeUpstream.always` it answers every request.

    `case`: "loop"; or "plain", "structured", "failing", which take one question.
    """

    speaks: ClassVar[str]
    model: ClassVar[str]
    row: ClassVar[Json] = {}  # of routes.yaml, beside `speaks`
    schema: ClassVar[tuple[str, str]]
    signs: ClassVar[bool] = False

    def __init__(
        self, number: int = 0, case: str = "loop", *, foreign: bool = True, ids: bool = True, prefix: str = ""
    ) -> None:
        self.number = number
        self.case = case
        self.prefix = prefix  # of the names of tools: some agents write one before them
        self.ids = ids  # the client keeps the ids of calls; else any will do, if calls and results agree
        self.foreign = foreign  # the gateway wrote the request, not an SDK, whose own fields no schema knows
        self.answer_id = f"{number:04}0"  # of answers, each its own: clients take two with one id for the same
        self.steps: list[int] = []
        self.streamed: list[bool] = []
        self.problems: list[str] = []

    # ── the model ──────────────────────────────────────────────────────────────────────
    def plot(self) -> list[list[Part]]:
        """The model's three turns, as it makes them."""
        first, second, third = (self._called(name, n) for n, name in enumerate(CALLS))
        return [
            [Thought("The weather\n first.", self._seal("one")), Said("I look at the sky. 👀"), first],
            [Thought("Time, and what we have.", self._seal("two")), second, third],
            [Said(LAST)],
        ]

    def _called(self, name: str, n: int) -> Called:
        return Called(self._id(n), self.prefix + name, CALLS[name])

    def _id(self, n: int) -> str | None:
        return f"call_{self.number:04}{'ABC'[n]}x9"

    def _seal(self, word: str) -> str:
        """Base64 with both odd characters of its alphabet, and padding."""
        return base64.b64encode(b"\xfb\xef\xff" + f"{self.speaks}-{self.number}-{word}!".encode()).decode()

    def must_return(self, parts: Sequence[Part]) -> list[Part]:
        """What of a turn has to come back with the history."""
        return [part for part in parts if not isinstance(part, Thought)]

    def __call__(self, request: Received) -> Answer:
        body = request.json()
        streams = self.wants_stream(request, body)
        try:
            self.hear(request, body)
            if self.case == "failing":
                return status(400, self.complain(COMPLAINT))
            parts = self._next(body)
        except Wrong as wrong:
            self.problems.append(str(wrong))
            return status(400, self.complain(str(wrong)))
        self.streamed.append(streams)
        self.answer_id = f"{self.number:04}{len(self.streamed)}"
        return self.stream(parts) if streams else self.whole(parts)

    def _next(self, body: Json) -> list[Part]:
        steps = self.read(body)
        if self.case != "loop":
            if steps:
                raise Wrong("one question, and already a history")
            return [Said(HELLO if self.case == "plain" else self._city(body))]
        self._check(steps)
        names = self.tools(body)
        missing = [self.prefix + name for name in TOOLS if self.prefix + name not in names]
        if missing:
            raise Wrong(f"the tools are {names}, without {missing}")
        self.steps.append(len(steps) + 1)
        return self.plot()[len(steps)]

    def _city(self, body: Json) -> str:
        schema = self.answer_schema(body)
        wanted = sorted((schema or {}).get("properties", {}))
        if wanted != ["country", "name"]:
            raise Wrong(f"the schema of the answer is {schema}")
        return json.dumps(CITY, ensure_ascii=False)

    def _check(self, steps: Sequence[Step]) -> None:
        plot = self.plot()
        if len(steps) >= len(plot):
            raise Wrong(f"the conversation was over, and there are {len(steps)} turns of mine")
        for number, (step, made) in enumerate(zip(steps, plot, strict=False)):
            expected = self._comparable(made)
            found = self._comparable(joined(step.parts))
            if expected != found:
                raise Wrong(f"turn {number} was {expected}, and comes back as {found}")
            results = self.paired(calls_in(step.parts), step.results)
            wanted = {call.name: result_of(call.name.removeprefix(self.prefix)) for call in calls_in(made)}
            if wanted != results:
                raise Wrong(f"the results of turn {number} are {results}")

    def _comparable(self, parts: Sequence[Part]) -> list[Part]:
        kept = self.must_return(parts)
        return kept if self.ids else [one._replace(id=None) if isinstance(one, Called) else one for one in kept]

    def paired(self, calls: Sequence[Called], results: Sequence[tuple[str | None, str]]) -> dict[str, str]:
        """Results by the name of their tool; ids and order are the vendor's."""
        names = {call.id or call.name: call.name for call in calls}
        unknown = [found for found, _ in results if found not in names]
        if unknown or len(results) != len(calls):
            raise Wrong(f"calls {sorted(map(str, names))} have results {[found for found, _ in results]}")
        return {names[found]: text for found, text in results}

    # ── the vendor ─────────────────────────────────────────────────────────────────────
    def hear(self, request: Received, body: Json) -> None:
        """The address, the key, and a body that fits the schema."""
        self.authenticate(request)
        if self.foreign:
            for error in corpus.schema(*self.schema).iter_errors(body):
                raise Wrong(f"{error.json_path}: {error.message[-200:]}")
        if self.case == "loop" and QUESTION not in json.dumps(body, ensure_ascii=False):
            raise Wrong("the question is gone")

    def authenticate(self, request: Received) -> None:
        if request.header("authorization") != f"Bearer {KEY}":
            raise Wrong("the key is not mine")

    def wants_stream(self, request: Received, body: Json) -> bool:
        return bool(body.get("stream"))

    def read(self, body: Json) -> list[Step]:
        raise NotImplementedError

    def tools(self, body: Json) -> list[str]:
        return [tool["function"]["name"] for tool in body.get("tools", ())]

    def answer_schema(self, body: Json) -> Json:
        raise NotImplementedError

    def whole(self, parts: Sequence[Part]) -> Answer:
        raise NotImplementedError

    def stream(self, parts: Sequence[Part]) -> Answer:
        raise NotImplementedError

    def complain(self, message: str) -> Json:
        raise NotImplementedError


def escaped(text: str) -> str:
    """As vendors escape a line end that some clients break lines at."""
    return text.replace("\u2028", "\\u2028")


def compact(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def halves(text: str) -> list[str]:
    """In two pieces: the client has to put them together."""
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def calls_in(parts: Sequence[Part]) -> list[Called]:
    return [part for part in parts if isinstance(part, Called)]


def joined(parts: Sequence[Part]) -> list[Part]:
    """Texts that follow each other say the same as one; an empty one says nothing."""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, Said) and found and isinstance(found[-1], Said):
            found[-1] = Said(found[-1].text + part.text)
        elif part != Said(""):
            found.append(part)
    return found


def result_text(value: Json) -> str:
    """A result as the tool said it: clients wrap it, as a string of JSON or under one name, and vendors do not mind."""
    if isinstance(value, str):
        try:
            inner = json.loads(value)
        except ValueError:
            return value
        return result_text(inner)
    if isinstance(value, dict):
        for name in ("result", "output", "content", "return_value"):
            if name in value:
                return result_text(value[name])
    if isinstance(value, list):
        return "".join(result_text(one["text"] if isinstance(one, dict) else one) for one in value)
    return json.dumps(value)


def text_in(content: Json) -> str:
    """A string, or text parts."""
    if content is None:
        return ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
