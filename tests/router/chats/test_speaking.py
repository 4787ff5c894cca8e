"""What the chat service says; the rest is tested by conversations in test_exchange.py."""

from __future__ import annotations

import pytest

from providers.canonical.chat import ChatResponse, Choice, Finish, Refusal, Text
from providers.canonical.errors import LimitExceeded, LoopDetected, RouterError, UpstreamBusy
from providers.canonical.stream import ChoiceEnd, ReasoningDelta, ResponseStart, TextDelta
from router.chats.speaking import NoResponse, Speech, code_of, moment, words_of
from tests.fakes import FakeClock


def speech(clock: FakeClock, **more: bool) -> Speech:
    return Speech(clock, planning="Plan", deltas=more.get("deltas", False))


def test_thinking_is_gathered() -> None:
    """Pieces of less than 200 ms come together; what is left comes before the answer."""
    clock = FakeClock()
    spoken = speech(clock)
    out = [spoken.feed(ResponseStart())]
    for text in ("a", "b", "c"):
        clock.advance(0.15)
        out.append(spoken.feed(ReasoningDelta(text=text)))
    out.append(spoken.feed(TextDelta(index=1, text="x")))

    assert [1, 0, 1, 0, 1] == [piece.count(b"data: ") for piece in out]
    assert b'"content":"ab"' in out[2] and b'"content":"c"' in out[4] and b"delta" not in b"".join(out)


def test_other_choices_are_nobodys() -> None:
    """An answer is one."""
    spoken = speech(FakeClock(), deltas=True)
    spoken.feed(TextDelta(choice=1, text="no"))
    spoken.feed(TextDelta(text="yes"))

    assert "yes" == spoken.text


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_said_is_no_answer(text: str) -> None:
    """In a stream and whole."""
    spoken = speech(FakeClock())
    spoken.feed(TextDelta(text=text))
    with pytest.raises(NoResponse):
        spoken.feed(ChoiceEnd(finish=Finish(reason="stop")))
    with pytest.raises(NoResponse):
        words_of(ChatResponse(choices=(Choice(parts=(Text(text=text),)),)))
    with pytest.raises(NoResponse):
        words_of(ChatResponse())


def test_a_refusal_is_said() -> None:
    """The model's own words, whatever they are."""
    choice = Choice(parts=(Refusal(text="No."),), finish=Finish(reason="refusal"))

    assert ("No.", "refusal") == words_of(ChatResponse(choices=(choice,)))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LimitExceeded("x"), "rate_limited"),
        (LimitExceeded("x", status=402), "insufficient_credits"),
        (UpstreamBusy("x", upstream_status=429), "rate_limited"),
        (LoopDetected("x"), "loop_detected"),
        (NoResponse(), "no_response"),
    ],
)
def test_codes_are_those_of_this_api(error: RouterError, code: str) -> None:
    """Where it lists one; else the gateway's."""
    assert code == code_of(error)


def test_times_have_milliseconds() -> None:
    """RFC 3339 in UTC."""
    assert "2026-01-31T12:00:00.007Z" == moment(1769860800007)
