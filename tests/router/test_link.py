"""What a supervisor and its workers say to one another."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.link import (
    Count,
    Counted,
    Crew,
    Failed,
    Frames,
    Message,
    Others,
    Ready,
    Refused,
    Reload,
    Scrape,
    Stop,
    Tell,
    frame,
)

ALL: list[Message] = [
    Ready("http://127.0.0.1:8080", None),
    Failed("cannot listen"),
    Counted(b"\x00\xff", ["up/m"], 3),
    Scrape(1, b""),
    Count(1),
    Others(1, [b"a", b""]),
    Crew(True, ["workers"]),
    Reload(2, "routes: [] # ü".encode()),
    Refused("2026-11-28T12:00:00.000+00:00"),
    Stop(hurry=True),
    Tell("error", "worker_ended", {"pid": 7, "how": "a worker was ended by SIGKILL", "again_in": 0.5}),
]


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_what_is_sent_is_what_comes(message: Message) -> None:
    """Each message, whole."""
    assert [message] == Frames().feed(frame(message))


@given(st.lists(st.integers(0, 400), max_size=20))
def test_any_split_of_the_bytes_gives_the_same_messages(cuts: list[int]) -> None:
    """Messages come one by one, each when its last byte has come."""
    data = b"".join(map(frame, ALL))
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    frames = Frames()
    found = [message for a, b in pairwise(places) for message in frames.feed(data[a:b])]

    assert ALL == found
