"""The wire languages that the gateway speaks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from providers.dialect import Dialect

from .alchemyst import QUIRKS as ALCHEMYST_QUIRKS
from .alchemyst import Alchemyst
from .anthropic import Anthropic
from .bedrock import BedrockConverse
from .cohere import Cohere
from .gemini import Gemini
from .gemini.encode import QUIRKS as GEMINI_QUIRKS
from .ollama import Ollama
from .openai_chat import OpenAIChat
from .openai_chat.quirks import ANSWERS as ANSWERS
from .openai_chat.quirks import QUIRKS as OPENAI_CHAT_QUIRKS
from .openai_embeddings import OpenAIEmbeddings
from .openai_responses import OpenAIResponses

_ALL: tuple[Dialect, ...] = (
    *(OpenAIChat(), OpenAIResponses(), OpenAIEmbeddings(), Anthropic(), Gemini(), Ollama()),
    *(Cohere(), BedrockConverse(), Alchemyst()),  # spoken to upstreams only
)

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}

#: What a row that speaks a dialect may name in its `quirks`.
QUIRKS: Mapping[str, frozenset[str]] = {
    OpenAIChat.name: OPENAI_CHAT_QUIRKS,
    Gemini.name: GEMINI_QUIRKS,
    Alchemyst.name: ALCHEMYST_QUIRKS,
}
