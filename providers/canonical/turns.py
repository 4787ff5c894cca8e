"""A model's turn as one message: what stands apart in one language must often stand together in another."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from providers.canonical.chat import Message


def whole_turns(messages: Sequence[Message]) -> list[Message]:
    """The messages, with neighbouring ones of the model as one.

    Clients of Gemini keep a stream as they got it, in pieces, and Anthropic joins neighbours itself; elsewhere two of
    them are refused where the first has calls, for their results do not follow at once. Nothing is lost: the parts
    keep their order.
    """
    out: list[Message] = []
    for message in messages:
        last = out[-1] if out else None
        if last is not None and last.role == message.role == "assistant" and last.name == message.name:
            out[-1] = msgspec.structs.replace(last, parts=last.parts + message.parts)
        else:
            out.append(message)
    return out
