"""Upstreams of every language that play the same loop of tools (`play.py`)."""

from __future__ import annotations

from tests.clients.scripted.anthropic import Anthropic
from tests.clients.scripted.bedrock import Bedrock
from tests.clients.scripted.chat import Chat
from tests.clients.scripted.cohere import Cohere
from tests.clients.scripted.gemini import Gemini
from tests.clients.scripted.ollama import Ollama
from tests.clients.scripted.play import Scripted
from tests.clients.scripted.responses import Responses

SCRIPTED: dict[str, type[Scripted]] = {
    one.speaks: one for one in (Chat, Responses, Anthropic, Gemini, Ollama, Cohere, Bedrock)
}
