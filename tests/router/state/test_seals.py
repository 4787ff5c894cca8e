"""Signatures that come back although the caller dropped them."""

from __future__ import annotations

import time

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
from providers.canonical.stream import ReasoningDelta, SealDelta, TextDelta, ToolCallStart, unfold
from router.state.seals import LARGEST, SealMemory, SealWatch

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
    memory = SealMemory()
    watch = SealWatch(memory, "me")
    for index, text in ((0, "a"), (1, "x"), (0, "b"), (1, "y"), (1, "z")):
        watch.see(TextDelta(index=index, text=text))
    watch.see(SealDelta(index=1, seal=SEAL))
    restored = memory.restore("me", history(Text(text="axbyz"))).messages[1].parts

    assert (Text(text="ax"), Text(text="byz", seal=SEAL)) == restored


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
    """A client that shows thinking as text sends that text, or its last piece; other words are its own, and stay."""
    memory = remembered(ChatResponse(choices=(Choice(parts=(THOUGHT, FIRST)),)), stream=False)
    same = memory.restore("me", history(Reasoning(text="The weather, then."), FIRST)).messages[1].parts
    piece = memory.restore("me", history(Reasoning(text=", then."), FIRST)).messages[1].parts
    edited = history(Reasoning(text="Something else."), FIRST)

    assert (KEPT, FIRST) == same == piece
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


def test_a_turn_in_pieces_is_one_turn() -> None:
    """Clients of Gemini send a stream back as it came, a message for each piece: thinking stays before its text."""
    memory = remembered(ChatResponse(choices=(Choice(parts=(THOUGHT, Text(text="I look."), FIRST)),)), stream=True)
    pieces = (Reasoning(text="The weather,"), Reasoning(text=" then."), Text(text="I "), Text(text="look."), FIRST)
    messages = tuple(Message(role="assistant", parts=(piece,)) for piece in pieces)
    restored = memory.restore("me", ChatRequest(dialect="x", model="m", messages=messages))

    assert [(KEPT, Text(text="I "), Text(text="look."), FIRST)] == [message.parts for message in restored.messages]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("spelling", ['{"a":1,"b":"ü"}', '{ "b": "\\u00fc", "a": 1 }'])
def test_a_call_whose_id_was_dropped_is_known_by_what_it_says(stream: bool, spelling: str) -> None:
    """Ollama's clients drop ids: name and arguments tell the call, however they are spelled by then."""
    call = ToolCall(id="call_1", name="f", arguments='{"a":1,"b":"ü"}', seal=SEAL)
    memory = remembered(ChatResponse(choices=(Choice(parts=(THOUGHT, call)),)), stream=stream)
    bare = ToolCall(id="call_7", name="f", arguments=spelling, invented_id=True)
    other = ToolCall(id="call_7", name="f", arguments='{"a":2,"b":"ü"}', invented_id=True)
    named = ToolCall(id="call_7", name="f", arguments=spelling)

    assert [None, KEPT.seal, SEAL] == seals(memory.restore("me", history(bare)))
    assert [None, None] == seals(memory.restore("me", history(other)))
    assert [None, None] == seals(memory.restore("me", history(named)))


def test_a_call_that_is_no_json_is_known_by_its_letters() -> None:
    """A model may have been cut short."""
    call = ToolCall(id="call_1", name="f", arguments='{"a', seal=SEAL)
    memory = remembered(ChatResponse(choices=(Choice(parts=(call,)),)), stream=False)

    assert [None, SEAL] == seals(
        memory.restore("me", history(ToolCall(id="x", name="f", arguments='{"a', invented_id=True)))
    )


# ── what a hostile history may cost ────────────────────────────────────────────────────


def test_a_memory_goes_back_once_per_request() -> None:
    """A history that names one call again and again does not multiply the thinking before it."""
    memory = SealMemory()
    memory.keep_call("me", "call_1", seal=SEAL, thoughts=(Reasoning(text="x" * 1000, seal=SEAL),))
    calls = [ToolCall(id="call_1", name="f", arguments="{}")] * 50
    restored = memory.restore("me", history(*calls, *calls))

    assert 1 == sum(isinstance(part, Reasoning) for part in restored.messages[1].parts)
    assert 1 == sum(part.seal == SEAL for part in restored.messages[1].parts if isinstance(part, ToolCall))


def test_a_history_of_many_parts_costs_what_it_weighs() -> None:
    """20,000 texts and as many calls: linear, not their product."""
    memory = SealMemory()
    memory.keep_all("me", ANSWER)
    for number in range(20_000):
        memory.keep_call("me", f"call_{number}", seal=None, thoughts=(Reasoning(text="t", seal=SEAL),))
    texts = [Text(text="x" * 100)] * 20_000
    calls = [ToolCall(id=f"call_{number}", name="f", arguments="{}") for number in range(20_000)]
    began = time.process_time()
    memory.restore("me", history(*texts, *calls))

    assert time.process_time() - began < 2.0


def test_a_stream_that_signs_every_piece_costs_what_it_weighs() -> None:
    """And it is not held: only its digest is."""
    watch = SealWatch(SealMemory(), "me")
    began = time.process_time()
    for number in range(20_000):
        watch.see(TextDelta(index=number, text="x" * 200))
        watch.see(SealDelta(index=number, seal=SEAL))

    assert time.process_time() - began < 2.0


def test_what_is_too_large_pushes_nothing_out() -> None:
    """One answer with endless thinking must not cost others what they need."""
    memory = SealMemory()
    memory.keep_all("me", ANSWER)
    before = len(memory)
    endless = (Reasoning(text="é" * LARGEST, seal=SEAL),)
    memory.keep_call("you", "call_2", seal=SEAL, thoughts=endless)
    watch = SealWatch(memory, "you")
    for _ in range(LARGEST // 1000 + 2):
        watch.see(ReasoningDelta(text="x" * 1000))
    watch.see(SealDelta(seal=SEAL))
    watch.see(ToolCallStart(index=1, id="call_3", name="f"))

    assert [None, SEAL, SEAL] == seals(memory.restore("me", BARE))
    assert before == len(memory)


def test_wide_characters_are_weighed_as_they_are_held() -> None:
    """The limit is in bytes of memory: an emoji holds four."""
    memory = SealMemory(limit=100_000)
    for number in range(10):
        thoughts = (Reasoning(text="😀" * 5_000, seal=SEAL),)
        memory.keep_call("me", f"call_{number}", seal=None, thoughts=thoughts)

    assert 4 == len(memory)
