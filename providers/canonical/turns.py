"""Messages as encoders look at them: a model's turn as one, and the usual message, which is one text."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from providers.canonical.chat import Message, Text


def plain_text(message: Message) -> str | None:
    """The text of a message that is one text and no more; None where there is anything else in it or on it.

    `extra` does not count: it is declared as lost before (`lose_extras`), wherever it stands.
    """
    parts = message.parts
    if len(parts) != 1 or message.name is not None:
        return None
    part = parts[0]
    if type(part) is not Text or part.cache is not None or part.seal is not None or part.citations:
        return None
    return part.text


def has_neighbours(messages: Sequence[Message]) -> bool:
    """Do two messages of the model stand side by side?"""
    before = ""
    for message in messages:
        role = message.role
        if role == before == "assistant":
            return True
        before = role
    return False


def whole_turns(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages, with neighbouring ones of the model as one.

    Clients of Gemini keep a stream as they got it, in pieces, and Anthropic joins neighbours itself; elsewhere two of
    them are refused where the first has calls, for their results do not follow at once. Nothing is lost: the parts
    keep their order.
    """
    if not has_neighbours(messages):
        return messages
    out: list[Message] = []
    for message in messages:
        last = out[-1] if out else None
        if last is not None and last.role == message.role == "assistant" and last.name == message.name:
            out[-1] = msgspec.structs.replace(last, parts=last.parts + message.parts)
        else:
            out.append(message)
    return out
