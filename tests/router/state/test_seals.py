"""Signatures that come back although the caller dropped them."""

from __future__ import annotations

from providers.canonical.chat import ChatRequest, ChatResponse, Choice, Finish, Message, Seal, Text, ToolCall
from providers.canonical.stream import unfold
from router.state.seals import SealMemory, SealWatch

SEAL = Seal(value="signed", origin="gemini")
CALL = ToolCall(id="call_1", name="f", arguments="{}", seal=SEAL)
SAID = Text(text="Hello", seal=SEAL)
ANSWER = ChatResponse(choices=(Choice(parts=(CALL, SAID), finish=Finish(reason="tool_calls")),))


def history(*parts: ToolCall | Text) -> ChatRequest:
    messages = (Message(role="user", parts=(Text(text="Hello"),)), Message(role="assistant", parts=parts))
    return ChatRequest(dialect="x", model="m", messages=messages)


BARE = history(ToolCall(id="call_1", name="f", arguments='{"other": "spelling"}'), Text(text="Hello"))


def seals(request: ChatRequest) -> list[Seal | None]:
    return [part.seal for message in request.messages for part in message.parts]


def test_a_remembered_seal_is_put_back() -> None:
    """By the call's id, and by the text itself; only in the assistant's own turns."""
    memory = SealMemory()
    memory.keep_all("me", ANSWER)

    assert [None, SEAL, SEAL] == seals(memory.restore("me", BARE))


def test_a_stream_is_remembered_like_the_answer_it_spells() -> None:
    """The watcher keeps what passes."""
    memory = SealMemory()
    watch = SealWatch(memory, "me")
    for event in unfold(ANSWER):
        watch.see(event)

    assert [None, SEAL, SEAL] == seals(memory.restore("me", BARE))


def test_an_empty_signed_end_comes_back_after_its_text() -> None:
    """Gemini signs with an empty text at the end: it is known by what was said before it, and stands alone again."""
    memory = SealMemory()
    memory.keep_all("me", ChatResponse(choices=(Choice(parts=(Text(text="Hello"), Text(text="", seal=SEAL))),)))
    restored = memory.restore("me", history(Text(text="Hello"))).messages[1].parts

    assert (Text(text="Hello"), Text(text="", seal=SEAL)) == restored


def test_a_text_signed_in_its_last_piece_is_taken_apart_there() -> None:
    """A client joins what came in two parts; only the second was signed."""
    memory = SealMemory()
    watch = SealWatch(memory, "me")
    for event in unfold(ChatResponse(choices=(Choice(parts=(Text(text="Hel"), Text(text="lo", seal=SEAL))),))):
        watch.see(event)
    restored = memory.restore("me", history(Text(text="Hello"))).messages[1].parts

    assert (Text(text="Hel"), Text(text="lo", seal=SEAL)) == restored


def test_an_answer_that_says_nothing_is_not_remembered() -> None:
    """An empty text tells nobody whose it was: it must not sign another conversation's empty text."""
    memory = SealMemory()
    memory.keep_all("me", ChatResponse(choices=(Choice(parts=(Text(text="", seal=SEAL),)),)))
    other = history(Text(text=""), ToolCall(id="call_2", name="f", arguments="{}"))

    assert 0 == len(memory)
    assert other is memory.restore("me", other)


def test_nobody_gets_anothers_seals() -> None:
    """Keyed by the caller."""
    memory = SealMemory()
    memory.keep_all("me", ANSWER)

    assert BARE is memory.restore("you", BARE)


def test_what_the_caller_brought_is_not_overwritten() -> None:
    """A seal that came back stands."""
    memory = SealMemory()
    memory.keep_all("me", ANSWER)
    own = Seal(value="his own", origin="gemini")

    assert [None, own] == seals(
        memory.restore("me", history(ToolCall(id="call_1", name="f", arguments="{}", seal=own)))
    )


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    """In bytes, however many callers there are."""
    memory = SealMemory(limit=10_000)
    for number in range(100):
        memory.keep("me", ToolCall(id=f"call_{number}", name="f", arguments=""), Seal(value="x" * 700, origin="g"))
        memory.keep("me", ToolCall(id="again", name="f", arguments=""), SEAL)

    assert len(memory) <= 11
    assert [None, SEAL] == seals(memory.restore("me", history(ToolCall(id="again", name="f", arguments=""))))
    assert [None, None] == seals(memory.restore("me", history(ToolCall(id="call_0", name="f", arguments=""))))
