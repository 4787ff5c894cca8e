"""One gateway before upstreams of every language, and the libraries that talk to it.

A `Talker` is a library and what it speaks; `Matrix.talk` has it ask one upstream's model, and gives what it told and
the model that played.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from tests.clients.conftest import Client
from tests.clients.scripted import SCRIPTED, Scripted
from tests.clients.scripted.play import KEY
from tests.fakes import FakeUpstream
from tests.running import Running, running

Json = Any

GATEWAY_KEY = "key-of-the-application"
TABLE = """
access:
  keys:
    - {name: app, hash: "sha256:$digest"}
providers: {$providers}
models: {$models}
policies:
  default: {attempts: 1}
routes:
  - {path: /v1/chat/completions, speaks: openai.chat, to: models}
  - {path: /v1/responses, speaks: openai.responses, to: models}
  - {path: /v1/messages, speaks: anthropic.messages, to: models}
  - {path: "/v1beta/models/{model}:{task}", speaks: gemini, to: models}
  - {path: "/ollama/api/{task}", speaks: ollama.chat, to: models}
"""


class Talker(NamedTuple):
    """`library` is the fixture that runs it, `kind` what it is told to use, `speaks` what then goes over the wire.

    `ids`: it sends the ids of calls back. Those who do not make their own, or leave them out. `prefix`: what it writes
    before the names of tools.
    """

    library: str
    kind: str
    speaks: str
    ids: bool = True
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.library}-{self.kind}"


class Talk(NamedTuple):
    told: Json
    played: Scripted


class Matrix:
    def __init__(self, gateway: Running, upstreams: dict[str, FakeUpstream]) -> None:
        self.gateway = gateway
        self._upstreams = upstreams
        self._numbers = itertools.count(1)

    @property
    def door(self) -> Json:
        return {"url": self.gateway.url, "key": GATEWAY_KEY}

    async def talk(
        self,
        client: Client,
        talker: Talker,
        upstream: str,
        case: str,
        *,
        stream: bool = False,
        echo: str = "whole",
        refused: bool = False,
    ) -> Talk:
        """`refused`: the upstream has something against it, and the test says what becomes of that."""
        foreign = talker.speaks != upstream
        played = SCRIPTED[upstream](next(self._numbers), case, foreign=foreign, ids=talker.ids, prefix=talker.prefix)
        self._upstreams[upstream].always(played)
        told = await client.ask(
            self.door,
            "talk",
            model=name_of(upstream),
            kind=talker.kind,
            stream=stream,
            tools=case == "loop",
            schema=case == "structured",
            echo=echo,
        )
        assert refused or not played.problems, played.problems
        return Talk(told, played)


def name_of(upstream: str) -> str:
    """The model that callers name; it is the upstream's that answers."""
    return "model-" + upstream.partition(".")[0] + "-" + upstream.rpartition(".")[2]


@contextlib.asynccontextmanager
async def matrix() -> AsyncIterator[Matrix]:
    async with contextlib.AsyncExitStack() as stack:
        upstreams = {name: await stack.enter_async_context(FakeUpstream()) for name in SCRIPTED}
        rows, models = [], []
        for name, scripted in SCRIPTED.items():
            auth = scripted.row.get("auth", "bearer")
            base = upstreams[name].url + scripted.row.get("base", "")
            secret = "" if auth == "none" else ', secret: "env:KEY"'
            rows.append(f'"{name_of(name)}": {{base_url: "{base}", speaks: [{name}], auth: {auth}{secret}}}')
            models.append(f'"{name_of(name)}": [{{provider: "{name_of(name)}", model: "{scripted.model}"}}]')
        digest = hashlib.sha256(GATEWAY_KEY.encode()).hexdigest()
        given = {"digest": digest, "providers": ", ".join(rows), "models": ", ".join(models)}
        gateway = await stack.enter_async_context(running(TABLE, {"KEY": KEY}, **given))
        yield Matrix(gateway, upstreams)
