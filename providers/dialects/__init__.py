"""The wire languages that the gateway speaks, by name."""

from __future__ import annotations

from providers.dialect import Dialect

from .bedrock import BedrockConverse
from .gemini import Gemini
from .openai_chat import OpenAIChat
from .openai_embeddings import OpenAIEmbeddings

_ALL: tuple[Dialect, ...] = (OpenAIChat(), OpenAIEmbeddings(), Gemini(), BedrockConverse())

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
