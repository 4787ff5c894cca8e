"""Provider rows: what they inherit, what is wrong with them, what is only worth a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from providers.catalog import catalog
from router import config
from router.rows import CONCURRENCY, is_public, url_problem
from tests.tables import problems, settings, warnings

#: A row of the catalog with a secret, and one without.
SHIPPED = next(name for name, row in catalog().items() if row.get("secret"))


@pytest.fixture(autouse=True)
def dialects(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests do not depend on which dialects there are."""
    monkeypatch.setattr(config, "DIALECTS", dict.fromkeys(("openai.chat", "openai.responses", "gemini"), object()))


def test_all_of_a_row_arrives(tmp_path: Path) -> None:
    """What is written is what holds; names of headers are lower case."""
    (tmp_path / "ca.pem").write_text("x")
    text = """\
        providers:
          mine:
            base_url: http://10.0.0.5:8000/v1
            speaks: [gemini, openai.chat]
            auth: header:x-key
            secrets: [env:A, env:B]
            headers: {X-Team: search}
            query: {api-version: "2024-10-21"}
            quirks: [max_tokens]
            own: [min_p]
            ignores: [seed]
            rejects: [tools]
            concurrency: 5
            timeouts: {first_byte: 20s}
            attempts: 2
            retry_on: [429, connect, "503"]
            resend_stale: false
            proxy: http://10.0.0.1:3128
            ca_file: ca.pem
        """
    row = settings(tmp_path, text, {"A": "a", "B": "b"}).providers["mine"]

    assert (row.base_url, row.speaks) == ("http://10.0.0.5:8000/v1", ("gemini", "openai.chat"))
    assert (row.auth, row.secrets, row.headers) == ("header:x-key", ("env:A", "env:B"), {"x-team": "search"})
    assert row.query == {"api-version": "2024-10-21"}
    assert (row.quirks, row.own, row.ignores, row.rejects) == (
        *(("max_tokens",), frozenset({"min_p"}), frozenset({"seed"}), frozenset({"tools"})),
    )
    assert (row.concurrency, row.timeouts, row.attempts) == (5, {"first_byte": 20.0}, 2)
    assert (row.retry_on, row.resend_stale) == (frozenset({"429", "connect", "503"}), False)
    assert (row.proxy, row.ca_file) == ("http://10.0.0.1:3128", str(tmp_path / "ca.pem"))


def test_a_name_of_the_catalog_is_merged_over_its_row(tmp_path: Path) -> None:
    """What the file says wins, the rest is the catalog's; another secret takes the place of its own."""
    base = catalog()[SHIPPED]
    row = settings(tmp_path, f"providers: {{{SHIPPED}: {{secrets: [env:A]}}}}\n", {"A": "k"}).providers[SHIPPED]

    assert row.base_url == base["base_url"]
    assert row.speaks == tuple(dialect for dialect in base["speaks"] if dialect in config.DIALECTS)
    assert row.secrets == ("env:A",)
    assert row.concurrency == CONCURRENCY


def test_like_copies_rows_of_both_kinds(tmp_path: Path) -> None:
    """`like` goes through rows of the file to the catalog; headers and timeouts are merged key by key."""
    text = f"""\
        providers:
          one: {{like: {SHIPPED}, headers: {{a: "1", b: "1"}}, timeouts: {{idle: 1s, total: 9s}}, secret: env:A}}
          two: {{like: one, base_url: https://two.example/v1, headers: {{b: "2"}}, timeouts: {{idle: 2s}}}}
          {SHIPPED}: {{like: {SHIPPED}, auth: none}}
        """
    found = settings(tmp_path, text, {"A": "k"}).providers

    assert found["two"].speaks == found[SHIPPED].speaks
    assert (found["two"].headers, found["two"].timeouts) == ({"a": "1", "b": "2"}, {"idle": 2.0, "total": 9.0})
    assert (found["two"].base_url, found["two"].secrets) == ("https://two.example/v1", ("env:A",))
    assert found[SHIPPED].auth == "none"


def test_rows_that_are_named_need_not_be_written(tmp_path: Path) -> None:
    """A target may name a row of the catalog; rows that nobody names are not there."""
    found = settings(tmp_path, f"models: {{m: [{{provider: {SHIPPED}}}]}}\n").providers

    assert list(found) == [SHIPPED]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("{}", ["1:13 provider a: 'base_url' is missing", "1:13 provider a: 'speaks' is missing"]),
        ("", ["1:13 provider a: 'base_url' is missing", "1:13 provider a: 'speaks' is missing"]),
        ("{like: a}", ["1:23 'a' is like itself: a -> a"]),
        ("{like: b}, b: {like: a}", ["1:23 'a' is like itself: b -> a -> b", "1:37 'b' is like itself: a -> b -> a"]),
        ("{like: nobody-here}", ["1:23 there is no provider 'nobody-here'"]),
        ("{like: demo, auth: bearr}", ["bearr"]),
        ("{like: demo, auth: 'header:host'}", ["header"]),
        ("{like: demo, auth: aws_sigv4}", ["needs a region"]),
        ("{like: demo, speaks: [openai.chta]}", ["1:38 there is no dialect 'openai.chta', did you mean openai.chat?"]),
        ("{like: demo, speaks: []}", ["provider a: 'speaks' is missing"]),
        ("{like: demo, quirks: [max_tokns]}", ["there is no quirk 'max_tokns', did you mean max_tokens?"]),
        (
            "{like: azure}",
            [
                "1:16 provider a: write `base_url` with your own {resource}: https://{resource}.openai.azure.com/openai/v1"
            ],
        ),
        (
            "{like: demo, base_url: 'https://{x}.example'}",
            ["1:39 provider a: write `base_url` with your own {x}: https://{x}.example"],
        ),
        ("{like: demo, query: {'a b': x}}", ["'a b' cannot be sent as a query parameter"]),
        ("{like: demo, query: {a: 5}}", ["providers.a.query.a: expected text"]),
        (
            "{like: demo, speaks: [openai.chat], quirks: [vertex]}",
            ["'vertex' is a quirk of gemini, which this row does not speak"],
        ),
        ("{like: demo, retry_on: [200]}", ["retry_on: expected a status from 400 to 599"]),
        ("{like: demo, retry_on: [conect]}", ["did you mean connect?"]),
        ("{like: demo, headers: {Host: x}}", ["the header 'Host' is written by the gateway"]),
        ('{like: demo, headers: {"a b": x}}', ["'a b' cannot be sent as a header"]),
        ('{like: demo, headers: {a: "x\\r\\ny: z"}}', ["'a' cannot be sent as a header"]),
        ("{like: demo, headers: {a: 5}}", ["providers.a.headers.a: expected text"]),
        ("{like: demo, proxy: 'socks5://x'}", ["expected http://HOST:PORT as proxy"]),
        ("{like: demo, proxy: 'http://u:p@x'}", ["expected http://HOST:PORT as proxy"]),
        ("{like: demo, ca_file: none.pem}", ["ca_file: none.pem cannot be read: No such file or directory"]),
        ("{like: demo, own: [x], rejects: [x]}", ["'x' is in `own` and in `rejects`"]),
        ("{like: demo, own: [x], ignores: [x]}", ["'x' is in `own` and in `ignores`"]),
        ("{like: demo, secret: 'env:a b'}", ["providers.a.secret: expected env:NAME"]),
        ("{like: demo, secret: $KEY}", ["providers.a.secret: expected env:KEY"]),
        ("{like: demo, secret: 'file:none'}", ["provider a: the file none cannot be read"]),
        ("{like: demo, secret: env:ODD}", ["provider a: what env:ODD stands for cannot be sent in a header"]),
        ("{like: demo, timeouts: {total: 0s}}", ["expected a duration greater than zero"]),
        ("{like: demo, attempts: 0}", ["expected greater than or equal to 1, found 0"]),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, expected: list[str]) -> None:
    """Each thing that cannot work is a problem of its own."""
    found = problems(tmp_path, f"providers: {{a: {row}}}\n", {"ODD": "schlüssel"})

    assert len(found) == len(expected)
    assert all(part in message for part, message in zip(expected, found, strict=True))


def test_bad_names(tmp_path: Path) -> None:
    """A provider's name is a metric label and a part of `provider/model`."""
    assert problems(tmp_path, "providers: {'a/b': {like: demo}}\n") == [
        "1:13 provider 'a/b': letters, digits and ._- are what a name is made of"
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("{like: demo, secret: env:UNSET}", "the environment variable UNSET is not set: calls to it are not tried"),
        ("{like: demo, secret: sk-canary}", "1:37 providers.a.secret: a secret is written out here"),
        ("{like: demo, headers: {Authorization: Bearer x}}", "the header 'Authorization' holds a secret"),
        ("{like: demo, base_url: 'http://api.example.com/v1'}", "1:39 provider a: http to a public host"),
        ("{like: demo, base_url: 'http://8.8.8.8/v1'}", "1:39 provider a: http to a public host"),
        ("{like: demo, speaks: [cohere.chat]}", "cohere.chat is not available in this version"),
    ],
)
def test_rows_worth_a_word(tmp_path: Path, row: str, expected: str) -> None:
    """What works, and is probably not meant, is a warning."""
    assert [warning for warning in warnings(tmp_path, f"providers: {{a: {row}}}\n") if expected in warning]


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://10.1.2.3", "http://[::1]:9", "http://vllm:8000"])
def test_http_inside_is_nothing_special(tmp_path: Path, url: str) -> None:
    """Private addresses and names of one's own network are where models are served without TLS."""
    assert warnings(tmp_path, f"providers: {{a: {{like: demo, base_url: '{url}'}}}}\n") == []


def test_a_missing_key_is_said_once(tmp_path: Path) -> None:
    """A row of the catalog that is only named: the place is where it is named."""
    text = f"models: {{m: [{{provider: {SHIPPED}}}], n: [{{provider: {SHIPPED}}}]}}\n"
    found = warnings(tmp_path, text)

    assert [warning.partition(" ")[0] for warning in found] == ["1:25"]


def test_written_out_secrets_work_and_are_not_shown(tmp_path: Path) -> None:
    """A literal becomes a reference that can be printed."""
    found = settings(tmp_path, "providers: {a: {like: demo, secret: sk-canary}}\n")
    (reference,) = found.providers["a"].secrets

    assert "canary" not in repr(found)
    assert found.secrets.resolve(reference).reveal() == "sk-canary"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "https://",
        "ftp://x",
        "demo://other",
        "file:///etc/passwd",
        "https://u:p@x",
        "https://u@x",
        "https://x?a=b",
        "https://x/?",
        "https://x#a",
        "https://x:99999",
        "https://x:0",
        "https://x y",
        "https://é.example",
        "https://x\\y",
        "https://[::1",
        "https://x/a b",
    ],
)
def test_what_is_no_base_url(url: str) -> None:
    """Nothing that a URL parser may read in two ways."""
    assert url_problem(url)


@pytest.mark.parametrize("url", ["https://api.example.com/v1", "http://[::1]:9/v1", "https://x:8443"])
def test_what_is_a_base_url(url: str) -> None:
    """Scheme, host, and a port and path where there are any."""
    assert url_problem(url) is None


@pytest.mark.parametrize(
    ("host", "public"),
    [("api.example.com", True), ("1.1.1.1", True), ("localhost", False), ("x.internal", False), ("192.168.0.1", False)],
)
def test_public_hosts(host: str, public: bool) -> None:
    """A guess for a warning: by the address, or by the name's end."""
    assert is_public(host) is public


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("{base_url: https://x.example, speaks: [openai.chat], auth: aws_sigv4}", "needs a region"),
        ("{base_url: https://x.example, speaks: [openai.chat], auth: 'aws_sigv4:mars'}", "needs a region such as"),
    ],
)
def test_a_signature_needs_a_region(tmp_path: Path, row: str, complaint: str) -> None:
    """It comes from the address or from the row; without it nothing could be signed."""
    found = problems(tmp_path, f"providers: {{a: {row}}}\n")

    assert any(complaint in problem for problem in found), found


def test_a_secret_that_cannot_sign_is_said_when_the_file_is_read(tmp_path: Path) -> None:
    """An API key where a key pair belongs would fail every call."""
    row = (
        "{base_url: https://bedrock-runtime.us-east-1.amazonaws.com, speaks: [gemini], auth: aws_sigv4, secret: env:K}"
    )
    found = problems(tmp_path, f"providers: {{a: {row}}}\n", {"K": "bedrock-api-key-1234"})

    assert any("not of the form ACCESS_KEY:SECRET_KEY" in problem for problem in found), found
    assert not any("bedrock-api-key" in problem for problem in found)


# ── rows of narrow upstreams ───────────────────────────────────────────────────────────

BASE = "base_url: http://10.0.0.5/v1, speaks: [openai.chat]"


def test_what_a_narrow_upstream_takes_arrives(tmp_path: Path) -> None:
    """Fields, ranges, abilities, prices and manners."""
    more = (
        "takes: [seed, n], ranges: {n: [1, null], seed: [null, 9.5]}, tools: true, vision: [a, b-*], "
        "response_format: false, on_invalid_json: error, nice: true, quirks: [nice], credits: {small: 1, large: 2.5}"
    )
    row = settings(tmp_path, f"providers: {{mine: {{{BASE}, {more}}}}}\n").providers["mine"]

    assert (frozenset({"seed", "n"}), {"n": (1, None), "seed": (None, 9.5)}) == (row.takes, row.ranges)
    assert {"tools": ("*",), "vision": ("a", "b-*")} == row.abilities
    assert ("error", True, {"small": 1.0, "large": 2.5}) == (row.on_invalid_json, row.nice, row.credits)


@pytest.mark.parametrize(
    ("alternation", "quirks"),
    [("repair", ("max_tokens", "alternate_turns")), ("reject", ("max_tokens", "strict_turns"))],
)
def test_alternation_is_short_for_a_quirk(tmp_path: Path, alternation: str, quirks: tuple[str, ...]) -> None:
    """It takes the place of another of that kind, also of one in the row that this is like."""
    text = f"""\
        providers:
          base: {{{BASE}, quirks: [alternate_turns, max_tokens]}}
          mine: {{like: base, alternation: {alternation}}}
        """
    assert quirks == settings(tmp_path, text).providers["mine"].quirks


def test_ranges_and_credits_are_merged(tmp_path: Path) -> None:
    """A row says what differs."""
    text = f"""\
        providers:
          base: {{{BASE}, ranges: {{n: [1, 2], seed: [0, 1]}}, credits: {{a: 1, b: 2}}}}
          mine: {{like: base, ranges: {{n: [1, 9]}}, credits: {{b: 3}}}}
        """
    row = settings(tmp_path, text).providers["mine"]

    assert ({"n": (1, 9), "seed": (0, 1)}, {"a": 1.0, "b": 3.0}) == (row.ranges, row.credits)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("ranges: {n: [2, 1]}", "the least of n is more than the most"),
        ("ranges: {n: [1]}", "providers.mine.ranges.n"),
        ("ranges: {n: [a, b]}", "providers.mine.ranges.n"),
        ("alternation: merge", "providers.mine.alternation"),
        ("on_invalid_json: ignore", "providers.mine.on_invalid_json"),
        ("credits: {a: -1}", "providers.mine.credits.a"),
        ("tools: 3", "providers.mine.tools"),
        ("quirks: [alternate_turn]", "did you mean alternate_turns?"),
    ],
)
def test_what_is_wrong_with_a_narrow_row(tmp_path: Path, more: str, said: str) -> None:
    """Named by its place."""
    found = problems(tmp_path, f"providers: {{mine: {{{BASE}, {more}}}}}\n")

    assert [message for message in found if said in message]


def test_nice_without_its_quirk_is_worth_a_word(tmp_path: Path) -> None:
    """It has no effect."""
    found = warnings(tmp_path, f"providers: {{mine: {{{BASE}, nice: true}}}}\n")

    assert [message for message in found if "no effect without the quirk `nice`" in message]
