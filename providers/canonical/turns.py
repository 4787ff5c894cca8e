"""Messages as encoders look at them: a model's turn as one, the usual message, which is one text, and the usual
conversation, which is made of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TypeAlias

import msgspec

from providers.canonical.chat import ChatRequest, Message, Object, Role, Text

Turn: TypeAlias = dict[str, str]

SPEAKERS: tuple[Role, Role] = ("user", "assistant")
MOST_TURNS = 256
_IN_TURN = list(SPEAKERS) * (MOST_TURNS // 2)


class Talk(tuple[Message, ...]):
    """What most conversations are: a system text or none, then the user and the model in turn, the user first and last.

    Each is one text that is not blank, with nothing else in it or on it that another language would have to say. A
    writer that meets one need not look at its messages. What is made of one (a slice, a sum) is a plain tuple.
    """

    system: str | None
    texts: Sequence[str]  # of the user and the model in turn, no more than MOST_TURNS

    def turns(self) -> list[Turn]:
        """Role and content of each but the system text, as most languages write them."""
        return [{"role": role, "content": text} for role, text in zip(_IN_TURN, self.texts)]

    def whole(self) -> list[Turn]:
        """The same, with the system text as the first message."""
        turns = self.turns()
        if self.system is not None:
            turns.insert(0, {"role": "system", "content": self.system})
        return turns


def as_talk(
    messages: list[Message], roles: list[Role], texts: list[str], system: Message | None = None
) -> tuple[Message, ...]:
    """Messages that are one text each, and no more (see Talk): as a Talk, where they are one, else as they are.

    `system`: the system text, where it stands apart from them; of that anything may be said.
    """
    first = 0
    before = _bare_text(system) if system is not None else None
    if system is not None:
        messages.insert(0, system)
    elif roles[0] == "system":
        first, before = 1, texts[0]
    if not take_turns(roles, first) or before == "":
        return tuple(messages)
    for text in texts:
        if not text or text.isspace():
            return tuple(messages)
    talk = Talk(messages)
    talk.system = before
    talk.texts = texts[first:] if first else texts
    return talk


def take_turns(roles: list[Role], first: int = 0) -> bool:
    """Do user and model speak in turn, the user first and last, from the message `first` on?"""
    count = len(roles) - first
    return count % 2 == 1 and roles[first:] == _IN_TURN[:count]


def _bare_text(message: Message) -> str:
    """The text of a message that is one text, not blank, with nothing more to it; "" of any other."""
    text = plain_text(message)
    if not text or text.isspace() or message.extra or message.parts[0].extra:
        return ""
    return text


class Places:
    """Where the messages of a dialect's requests stand, and the one part of each: `messages[0].content`."""

    def __init__(self, name: str, inside: str) -> None:
        self._name, self._inside = name, inside
        self._first = self._made(MOST_TURNS)

    def _made(self, count: int) -> list[tuple[str, str]]:
        return [(f"{self._name}[{i}]", f"{self._name}[{i}].{self._inside}") for i in range(count)]

    def first(self, count: int) -> list[tuple[str, str]]:
        """Those of so many messages, or of more."""
        return self._first if count <= MOST_TURNS else self._made(count)

    def of(self, number: int) -> tuple[str, str]:
        """Where the message of this number stands, and its part."""
        if number < MOST_TURNS:
            return self._first[number]
        return f"{self._name}[{number}]", f"{self._name}[{number}].{self._inside}"

    def messages(self, roles: list[Role], texts: list[str], form: Object | None = None) -> list[Message]:
        """Messages of one text each. `form`: that of each."""
        return [
            Message(role=role, parts=(Text(text=text, at=inside),), form=form, at=at)
            for role, text, (at, inside) in zip(roles, texts, self.first(len(roles)))
        ]


#: Parameters that most requests bring.
COMMON = ("max_output_tokens", "temperature", "store")
_PLAIN_FIELDS = frozenset(
    {*COMMON, "dialect", "model", "messages", "tools", "stream", "include_usage", "paths", "form", "extra", "at"}
)
_others = attrgetter(*(name for name in ChatRequest.__struct_fields__ if name not in _PLAIN_FIELDS))
_UNSAID = _others(ChatRequest(dialect="", model="", messages=()))


def says_more(request: ChatRequest) -> bool:
    """Does a request say more than most do: beside its messages and tools how long, how free, whether in pieces, and
    that it is not to be stored?"""
    return request.store is True or bool(_others(request) != _UNSAID)


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
