"""The wire languages that the gateway speaks, by name."""

from __future__ import annotations

from providers.dialect import Dialect

from .anthropic import Anthropic
from .gemini import Gemini
from .ollama import Ollama
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (OpenAIChat(), OpenAIResponses(), Anthropic(), Gemini(), Ollama())
}
