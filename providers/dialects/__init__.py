"""The wire languages that the gateway speaks, by name."""

from __future__ import annotations

from providers.dialect import Dialect

from .bedrock import BedrockConverse
from .cohere import Cohere
from .gemini import Gemini
from .ollama import Ollama
from .openai_chat import OpenAIChat
from .openai_embeddings import OpenAIEmbeddings

_ALL: tuple[Dialect, ...] = (
    *(OpenAIChat(), OpenAIEmbeddings(), Gemini(), Ollama()),
    *(Cohere(), BedrockConverse()),  # spoken to upstreams only
)

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
