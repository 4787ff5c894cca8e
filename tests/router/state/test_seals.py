"""Signatures that come back although the caller dropped them."""

from __future__ import annotations

import pytest

from providers.canonical.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Message,
    Reasoning,
    Seal,
    Text,
    ToolCall,
)
from providers.canonical.stream import SealDelta, TextDelta, unfold
from router.state.seals import SealMemory, SealWatch

SEAL = Seal(value="signed", origin="gemini")
CALL = ToolCall(id="call_1", name="f", arguments="{}", seal=SEAL)
SAID = Text(text="Hello", seal=SEAL)
ANSWER = ChatResponse(choices=(Choice(parts=(CALL, SAID), finish=Finish(reason="tool_calls")),))


def history(*parts: ToolCall | Text | Reasoning) -> ChatRequest:
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


def test_texts_that_come_in_turns_are_told_apart() -> None:
    """Pieces of two parts, one after the other: the signed one has its own text, said after all that came before it."""
    memory, watched = SealMemory(), SealMemory()
    watch = SealWatch(watched, "me")
    for index, text in ((0, "a"), (1, "x"), (0, "b"), (1, "y"), (1, "z")):
        watch.see(TextDelta(index=index, text=text))
    watch.see(SealDelta(index=1, seal=SEAL))
    memory.keep_text("me", Text(text="xyz"), SEAL, "axbyz")
    asked = history(Text(text="axbyz"))

    assert memory.restore("me", asked) == watched.restore("me", asked) != asked


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
        memory.keep_call("me", f"call_{number}", seal=Seal(value="x" * 700, origin="g"), thoughts=())
        memory.keep_call("me", "again", seal=SEAL, thoughts=())

    assert len(memory) <= 11
    assert [None, SEAL] == seals(memory.restore("me", history(ToolCall(id="again", name="f", arguments=""))))
    assert [None, None] == seals(memory.restore("me", history(ToolCall(id="call_0", name="f", arguments=""))))


# ── thinking before a call ─────────────────────────────────────────────────────────────

SIGNED = Seal(value="signed thinking", origin="anthropic")
HIDDEN = Reasoning(redacted=True, seal=Seal(value="encrypted", origin="anthropic"))
THOUGHT = Reasoning(text="The weather, then.", seal=SIGNED, extra={"id": "rs_1"}, at="x")
KEPT = Reasoning(text="The weather, then.", seal=SIGNED)
FIRST = ToolCall(id="call_1", name="f", arguments="{}")
SECOND = ToolCall(id="call_2", name="f", arguments="{}")
THINKING = ChatResponse(choices=(Choice(parts=(THOUGHT, HIDDEN, Text(text="Let me see."), FIRST, SECOND)),))


def remembered(answer: ChatResponse, *, stream: bool) -> SealMemory:
    memory = SealMemory()
    if stream:
        watch = SealWatch(memory, "me")
        for event in unfold(answer):
            watch.see(event)
    else:
        memory.keep_all("me", answer)
    return memory


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_thinking_before_a_call_comes_back_where_it_was(stream: bool) -> None:
    """At the beginning of the turn, before what was said, without what only its own dialect can write."""
    memory = remembered(THINKING, stream=stream)
    restored = memory.restore("me", history(Text(text="Let me see."), FIRST, SECOND)).messages[1].parts

    assert (KEPT, HIDDEN, Text(text="Let me see."), FIRST, SECOND) == restored


def test_thinking_between_calls_belongs_to_the_call_behind_it() -> None:
    """Some models think again between two calls of one turn."""
    other = Reasoning(text="And then?", seal=Seal(value="second", origin="anthropic"))
    memory = remembered(ChatResponse(choices=(Choice(parts=(KEPT, FIRST, other, SECOND)),)), stream=False)
    restored = memory.restore("me", history(FIRST, SECOND)).messages[1].parts

    assert (KEPT, FIRST, other, SECOND) == restored


def test_words_that_came_back_without_their_seal_get_it_again() -> None:
    """A client that shows thinking as text sends that text, and no more; other words are its own, and stay."""
    memory = remembered(ChatResponse(choices=(Choice(parts=(THOUGHT, FIRST)),)), stream=False)
    same = memory.restore("me", history(Reasoning(text="The weather, then."), FIRST)).messages[1].parts
    edited = history(Reasoning(text="Something else."), FIRST)

    assert (KEPT, FIRST) == same
    assert edited is memory.restore("me", edited)


def test_sealed_thinking_that_came_back_is_not_put_there_twice() -> None:
    """The caller's own client kept it."""
    memory = remembered(ChatResponse(choices=(Choice(parts=(THOUGHT, FIRST)),)), stream=False)
    whole = history(KEPT, FIRST)

    assert whole is memory.restore("me", whole)


def test_only_what_the_target_can_read_is_put_back() -> None:
    """A signature of another family would be dropped again, and reported to a caller who never sent it."""
    memory = remembered(THINKING, stream=False)
    bare = history(FIRST, SECOND)

    assert bare is memory.restore("me", bare, {"gemini"})
    assert (KEPT, HIDDEN, FIRST, SECOND) == memory.restore("me", bare, {"anthropic"}).messages[1].parts


def test_thinking_without_a_seal_is_not_remembered() -> None:
    """Nobody asks for it back."""
    memory = remembered(ChatResponse(choices=(Choice(parts=(Reasoning(text="Hm."), FIRST)),)), stream=True)

    assert 0 == len(memory)
