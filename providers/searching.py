"""The web search that an upstream runs itself, in the words of each dialect that has one.

Sources: the vendors' pages on grounding with Google Search, the web search tool of the Messages API (version
20250305) and that of the Responses API.
"""

from __future__ import annotations

from providers.canonical.chat import ServerTool

_TOOLS = {
    "gemini": ServerTool(dialect="gemini", kind="googleSearch", raw={"googleSearch": {}}),
    "anthropic.messages": ServerTool(
        dialect="anthropic.messages",
        kind="web_search_20250305",
        raw={"type": "web_search_20250305", "name": "web_search"},
    ),
    "openai.responses": ServerTool(dialect="openai.responses", kind="web_search", raw={"type": "web_search"}),
}


def web_search(dialect: str) -> ServerTool | None:
    """The tool for an upstream that speaks a dialect; None where that has none."""
    return _TOOLS.get(dialect)
