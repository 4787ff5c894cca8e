"""The URL in the path: every spelling of an upstream finds it, all else is refused and says nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.upstream_path import Listed, PathProblem, Unlisted, UpstreamPath, parse, redacted

PREFIX = "/api/v1/proxy/"
CHAT = "/chat/completions"
LISTED = (
    Listed("openai", "https://api.openai.com/v1"),
    Listed("gemini", "https://generativelanguage.googleapis.com"),
    Listed("anthropic", "https://api.anthropic.com"),
    Listed("v6", "http://[::1]:9/v1"),
)


def read(
    rest: str, *, unlisted: Unlisted = False, default: bool = False, listed: tuple[Listed, ...] = LISTED
) -> UpstreamPath:
    return parse(PREFIX + rest, PREFIX, listed, unlisted=unlisted, default=default)


def refused(rest: str, *, unlisted: Unlisted = False) -> tuple[int, str]:
    with pytest.raises(PathProblem) as caught:
        read(rest, unlisted=unlisted)
    return caught.value.status, caught.value.code


BAD_URL = (400, "invalid_proxy_url")
BAD_KEY = (400, "invalid_proxy_key")
NOT_ALLOWED = (403, "upstream_not_allowed")
NOT_FOUND = (404, "not_found")


@pytest.mark.parametrize(
    ("head", "listed", "key"),
    [
        pytest.param("https://api.openai.com/v1/sk-KEY", "openai", "sk-KEY", id="P1"),
        pytest.param("https%3A%2F%2Fapi.openai.com%2Fv1/sk-KEY", "openai", "sk-KEY", id="P2"),
        pytest.param("https:%2F%2Fapi.openai.com%2Fv1/sk-KEY", "openai", "sk-KEY", id="P3"),
        pytest.param("https:/api.openai.com/v1/sk-KEY", "openai", "sk-KEY", id="P4"),
        pytest.param("HTTPS://API.OpenAI.com/v1/sk-KEY", "openai", "sk-KEY", id="P5-case"),
        pytest.param("https://api.openai.com:443/v1/sk-KEY", "openai", "sk-KEY", id="P5-port"),
        pytest.param("api.openai.com/sk-KEY", "openai", "sk-KEY", id="P6-host"),
        pytest.param("api.openai.com/v1/sk-KEY", "openai", "sk-KEY", id="P6-host-and-path"),
        pytest.param("openai/sk-KEY", "openai", "sk-KEY", id="P6-name"),
        pytest.param("openai", "openai", None, id="P7-name"),
        pytest.param("https://api.openai.com/v1", "openai", None, id="P7-no-key"),
        pytest.param("https://api.openai.com/v1/-", "openai", None, id="P7-dash"),
        pytest.param("https://api.openai.com/v1/_", "openai", None, id="P7-underscore"),
        pytest.param("https%253A%252F%252Fapi.openai.com%252Fv1/sk-KEY", "openai", "sk-KEY", id="P8"),
        pytest.param("https%3A%2F%2Fapi.openai.com%2Fv1%2Fsk-KEY", "openai", "sk-KEY", id="P9"),
        pytest.param("https://api.openai.com/v1//sk-KEY", "openai", "sk-KEY", id="P10-double-slash"),
        pytest.param("https://api.openai.com/v1/sk%2FKEY%2Bx", "openai", "sk/KEY+x", id="P11-encoded"),
        pytest.param("https:/api.openai.com/v1/sk/KEY+x", "openai", "sk/KEY+x", id="P11-decoded"),
        pytest.param("http://[::1]:9/v1/k", "v6", "k", id="P12"),
        pytest.param("http://%5B::1%5D:9/v1/k", "v6", "k", id="P12-encoded-brackets"),
        pytest.param("http://[0:0:0::1]:9/v1/k", "v6", "k", id="P12-long-form"),
        pytest.param("[::1]:9/v1/k", "v6", "k", id="P12-no-scheme"),
        pytest.param("https%3A//api.openai.com/v1/sk%2FKEY", "openai", "sk/KEY", id="only-the-colon-encoded"),
        pytest.param("https%3A%2F%2Fapi.openai.com%2Fv1/sk%2FKEY", "openai", "sk/KEY", id="key-encoded-beside"),
        pytest.param("https%3A%2F%2Fapi.openai.com%2Fv1%2Fsk%252FKEY", "openai", "sk/KEY", id="key-encoded-within"),
        pytest.param("openai/sk%2FKEY", "openai", "sk/KEY", id="name-and-encoded-key"),
        pytest.param("api.openai.com:443/v1/sk-KEY", "openai", "sk-KEY", id="host-and-port"),
        pytest.param("https://api.openai.com/v1/sk:KEY@x", "openai", "sk:KEY@x", id="at-sign-in-the-key"),
    ],
)
def test_listed_upstreams_are_found_in_every_spelling(head: str, listed: str, key: str | None) -> None:
    """A listed upstream is found by URL, host or name, in whatever way a client or a proxy wrote it."""
    expected = UpstreamPath(dialect="openai.chat", tail=CHAT, listed=listed, key=key)

    assert expected == read(head + CHAT)


def test_a_trailing_slash_is_nothing() -> None:
    """P10: the path may end with a slash."""
    assert read("openai/sk-KEY" + CHAT) == read("openai/sk-KEY" + CHAT + "/")


def test_default_is_a_target_of_its_own() -> None:
    """P13: the head `default` is the default target where there is one, and not found where there is none."""
    expected = UpstreamPath(dialect="openai.chat", tail=CHAT, default=True)

    assert expected == read("default" + CHAT, default=True)
    assert refused("default" + CHAT) == NOT_FOUND
    assert refused("default/sk-KEY" + CHAT) == NOT_ALLOWED


@pytest.mark.parametrize("head", ["default", "default/v1beta"])
def test_default_takes_gemini_paths(head: str) -> None:
    """The default target is there for Gemini's clients too, whose base URL may hold a version of its own."""
    found = read(head + "/v1/models/g:generateContent", default=True)

    assert (True, "g", "v1") == (found.default, found.model, found.version)


def test_unlisted_upstreams_need_leave() -> None:
    """P14: an upstream that is not listed is refused, unless unlisted ones are allowed."""
    expected = UpstreamPath(dialect="openai.chat", tail=CHAT, base_url="https://other.example/v1", key="k")

    assert refused("https://other.example/v1/k" + CHAT) == NOT_ALLOWED
    assert expected == read("https://other.example/v1/k" + CHAT, unlisted=True)


@pytest.mark.parametrize(
    ("head", "base_url", "key"),
    [
        pytest.param("https%3A%2F%2Fother.example%2Fv1/k", "https://other.example/v1", "k", id="encoded"),
        pytest.param("https%3A%2F%2Fother.example%2Fv1%2Fk", "https://other.example/v1", "k", id="all-encoded"),
        pytest.param("https:/Other.example:443/v1/k", "https://other.example/v1", "k", id="merged-slash-and-port"),
        pytest.param("https://other.example/v1/sk%2FKEY", "https://other.example/v1", "sk/KEY", id="slash-in-key"),
        pytest.param(
            "https%3A%2F%2Fother.example%2Fv1/sk%2FKEY",
            "https://other.example/v1",
            "sk/KEY",
            id="both-encoded",
        ),
        pytest.param("https://other.example/v1//k", "https://other.example/v1", "k", id="double-slash"),
        pytest.param("https://other.example/v1/-", "https://other.example/v1", None, id="no-key"),
        pytest.param("https://other.example", "https://other.example", None, id="host-only"),
        pytest.param("https%3A%2F%2Fother.example", "https://other.example", None, id="host-only-encoded"),
        pytest.param("https:/other.example", "https://other.example", None, id="host-only-merged"),
    ],
)
def test_unlisted_upstreams_end_at_the_last_raw_slash(head: str, base_url: str, key: str | None) -> None:
    """What stands before the last raw slash is the base URL, what follows it the key."""
    found = read(head + CHAT, unlisted=True)

    assert (base_url, key, None) == (found.base_url, found.key, found.listed)


@pytest.mark.parametrize(
    ("patterns", "host", "allowed"),
    [
        (("other.example",), "other.example", True),
        (("other.example",), "x.other.example", False),
        (("*.example",), "other.example", True),
        (("*.other.example",), "other.example", False),
        (("*.other.example",), "a.b.other.example", True),
        (("*.other.example",), "another.example", False),
        (("*.Other.Example",), "x.OTHER.example", True),
        ((), "other.example", False),
        (("127.0.0.1", "localhost", "*.internal"), "a.internal", False),
    ],
)
def test_unlisted_hosts_may_be_narrowed(patterns: tuple[str, ...], host: str, allowed: bool) -> None:
    """A pattern is a whole host, or `*.` and a suffix on a label border; no pattern opens a local name."""
    path = f"https://{host}/v1/k{CHAT}"

    if allowed:
        assert read(path, unlisted=patterns).base_url == f"https://{host.lower()}/v1"
    else:
        assert refused(path, unlisted=patterns) == NOT_ALLOWED


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("https://api.openai.com.evil.com/v1/k", id="P15-longer-host"),
        pytest.param("https://api.openai.com/v1x/k", id="P15-no-segment-border"),
        pytest.param("http://api.openai.com/v1/k", id="other-scheme"),
        pytest.param("https://api.openai.com:8443/v1/k", id="other-port"),
        pytest.param("https://api.openai.com/v1%2Fk", id="encoded-border"),
        pytest.param("sk-KEY", id="key-without-upstream"),
        pytest.param("Openai/sk-KEY", id="names-have-their-case"),
    ],
)
def test_a_base_url_matches_whole_segments(head: str) -> None:
    """Only a prefix on a segment border, with the same scheme and port, is the listed upstream."""
    assert refused(head + CHAT) == NOT_ALLOWED


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param("https://api.openai.com/v1/../v2/k", BAD_URL, id="P16-raw"),
        pytest.param("https://api.openai.com/v1/%2E%2E/v2/k", BAD_URL, id="P16-encoded"),
        pytest.param("https://api.openai.com/v1/a%2F..%2Fb", BAD_URL, id="P16-in-the-key"),
        pytest.param("https://api.openai.com/v1/%252e%252e/k", BAD_URL, id="P16-twice-encoded"),
        pytest.param("https://api.openai.com/v1/a%2F%252e%252e%2Fb", BAD_URL, id="P16-mixed"),
        pytest.param("https://api.openai.com/v1/.", BAD_URL, id="P16-single-dot"),
        pytest.param("https://user:pw@api.openai.com/v1/k", BAD_URL, id="P17-user-info"),
        pytest.param("https://api.openai.com%2F@evil.com/v1/k", BAD_URL, id="P17-encoded-slash"),
        pytest.param("https://api.openai.com\\@evil.com/v1/k", BAD_URL, id="P17-backslash"),
        pytest.param("https%3A%2F%2Fx.azure.com%2Fopenai%3Fapi-version%3D1/k", BAD_URL, id="P18"),
        pytest.param("file:///etc/passwd/k", BAD_URL, id="P19-file"),
        pytest.param("//evil.com/v1/k", BAD_URL, id="P19-no-scheme"),
        pytest.param("https://api.openai.com./v1/k", BAD_URL, id="P19-trailing-dot"),
        pytest.param("https://api.openai.com/v1/sk%0d%0aX", BAD_KEY, id="P19-line-break"),
        pytest.param("https://api.openai.com/v1/sk%00X", BAD_KEY, id="nul-in-the-key"),
        pytest.param("https://api.openai.com/v1/sk%252FKEY", BAD_KEY, id="key-encoded-twice"),
        pytest.param("https%3A%2F%2Fapi.openai.com%2Fv1/sk%252FKEY", BAD_KEY, id="key-encoded-twice-beside"),
        pytest.param("https%253A%252F%252Fapi.openai.com%252Fv1/sk%252FKEY", BAD_KEY, id="all-encoded-twice"),
        pytest.param("https://api.openai.com/v1/" + "k" * 513, BAD_KEY, id="key-too-long"),
        pytest.param("https://api.openai.com/v1/k;x", BAD_KEY, id="semicolon"),
        pytest.param("https://api.openai.com/v1/k%c0%afx", BAD_KEY, id="overlong-slash"),
        pytest.param("", BAD_URL, id="nothing"),
        pytest.param("k" * 4096, BAD_URL, id="too-long"),
    ],
)
def test_bad_forms_are_refused_even_for_listed_upstreams(head: str, expected: tuple[int, str]) -> None:
    """A target with two readings, or none, is a 400."""
    assert expected == refused(head + CHAT)
    assert expected == refused(head + CHAT, unlisted=True)


@pytest.mark.parametrize("head", ["https://169.254.169.254/latest/k", "http://2130706433/v1/k"], ids=["link", "int"])
def test_addresses_are_no_unlisted_upstreams(head: str) -> None:
    """P20: an address is refused although unlisted upstreams are allowed."""
    assert refused(head + CHAT, unlisted=True) == NOT_ALLOWED


GOOGLE = "generativelanguage.googleapis.com"


@pytest.mark.parametrize(
    ("path", "version"),
    [
        pytest.param(f"https://{GOOGLE}/v1beta/models/gemini-2.5-flash:generateContent", "v1beta", id="P21"),
        pytest.param(f"https%3A//{GOOGLE}/v1beta/models/gemini-2.5-flash%3AgenerateContent", "v1beta", id="P21-colons"),
        pytest.param(
            f"https%3A%2F%2F{GOOGLE}/v1beta/models/gemini-2.5-flash:generateContent",
            "v1beta",
            id="P21-encoded",
        ),
        pytest.param(f"https:/{GOOGLE}/v1beta/models/gemini-2.5-flash:generateContent", "v1beta", id="P21-merged"),
        pytest.param(f"{GOOGLE}/v1beta/models/gemini-2.5-flash:generateContent", "v1beta", id="P21-host"),
        pytest.param("gemini/v1beta/models/gemini-2.5-flash:generateContent", "v1beta", id="P21-name"),
        pytest.param(f"https://{GOOGLE}/v1/models/gemini-2.5-flash:generateContent", "v1", id="P21-v1"),
        pytest.param("gemini/v1alpha/models/gemini-2.5-flash:generateContent", "v1alpha", id="P21-v1alpha"),
        pytest.param(f"https://{GOOGLE}/v1beta/v1/models/gemini-2.5-flash:generateContent", "v1", id="P21-doubled"),
    ],
)
def test_gemini_paths_name_model_and_task(path: str, version: str) -> None:
    """The last version of a Gemini path counts, and its segment is model and task."""
    expected = UpstreamPath(
        tail=f"/{version}/models/gemini-2.5-flash:generateContent",
        listed="gemini",
        model="gemini-2.5-flash",
        task="generateContent",
        version=version,
    )

    assert expected == read(path)
    assert expected == read(f"{path}?alt=sse&key=AIzaKEY")


@pytest.mark.parametrize(
    ("segment", "model", "task"),
    [
        ("g:streamGenerateContent", "g", "streamGenerateContent"),
        ("a:b:countTokens", "a:b", "countTokens"),
        ("google%2Fg:generateContent", "google/g", "generateContent"),
        ("g", "g", None),
    ],
)
def test_the_last_colon_divides_model_and_task(segment: str, model: str, task: str | None) -> None:
    """A model may hold colons and an encoded slash, and may stand without a task."""
    found = read(f"gemini/v1beta/models/{segment}")

    assert (model, task) == (found.model, found.task)


def test_tuned_models_keep_their_collection() -> None:
    """A tuned model is asked for where tuned models are."""
    assert read("gemini/v1beta/tunedModels/t:generateContent").tail == "/v1beta/tunedModels/t:generateContent"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"https://{GOOGLE}/extra/v1beta/models/g:generateContent", id="P22"),
        pytest.param("gemini/AIzaKEY/v1beta/models/g:generateContent", id="key-in-the-path"),
        pytest.param("gemini/v1beta/models/:generateContent", id="no-model"),
        pytest.param("gemini/v1beta/models/g:", id="no-task"),
        pytest.param("gemini/v1beta/models/g%0d%0aX:generateContent", id="line-break"),
        pytest.param("gemini/v1beta/models/..%2Fx:generateContent", id="dots"),
        pytest.param("gemini/v1beta/models/%252e%252e%252fx:generateContent", id="dots-twice-encoded"),
        pytest.param("gemini/v1beta/models/g%3Fkey=1:generateContent", id="query-in-the-model"),
        pytest.param("gemini/v1beta/models/g:generate%2FContent", id="slash-in-the-task"),
    ],
)
def test_bad_gemini_paths_are_refused(path: str) -> None:
    """Gemini heads carry no key, and the segment is a model and a word."""
    assert refused(path) == BAD_URL


def test_unlisted_gemini_upstreams_have_a_base_url_and_no_key() -> None:
    """The whole head, but for a version at its end, is the base URL."""
    found = read("https://other.example/g/v1beta/v1/models/m:countTokens", unlisted=True)

    assert ("https://other.example/g", None, "v1") == (found.base_url, found.key, found.version)


@pytest.mark.parametrize(
    ("path", "key", "tail"),
    [
        pytest.param("https://api.anthropic.com/sk-ant-KEY/v1/messages", "sk-ant-KEY", "/v1/messages", id="P23"),
        pytest.param("anthropic/v1/messages", None, "/v1/messages", id="P23-name"),
        pytest.param("anthropic/k/v1/messages/count_tokens", "k", "/v1/messages/count_tokens", id="P23-count"),
    ],
)
def test_anthropic_paths(path: str, key: str | None, tail: str) -> None:
    """Anthropic's clients put the whole `/v1/messages` behind their base URL."""
    assert UpstreamPath(dialect="anthropic.messages", tail=tail, listed="anthropic", key=key) == read(path)


@pytest.mark.parametrize(
    ("tail", "dialect"),
    [
        ("/chat/completions", "openai.chat"),
        ("/completions", None),
        ("/embeddings", "openai.embeddings"),
        ("/responses", "openai.responses"),
        ("/api/chat", "ollama.chat"),
        ("/api/generate", "ollama.chat"),
        ("/models", None),
    ],
)
def test_the_tail_says_the_dialect(tail: str, dialect: str | None) -> None:
    """The task is found from the right, the longest name first."""
    found = read(f"https://api.openai.com/v1/sk-KEY{tail}")

    assert (dialect, tail, "sk-KEY") == (found.dialect, found.tail, found.key)


def test_a_list_of_gemini_models_is_no_key() -> None:
    """The version before `/models` is Gemini's own, not a key of an OpenAI caller."""
    found = read(f"https://{GOOGLE}/v1beta/models")

    assert (None, "/v1beta/models", None) == (found.dialect, found.tail, found.key)


@pytest.mark.parametrize("path", ["openai/sk-KEY", "openai/sk-KEY/chat", "", "https%3A%2F%2Fx%2Fchat%2Fcompletions"])
def test_without_a_task_there_is_nothing(path: str) -> None:
    """A path that ends in no known task is not found."""
    assert refused(path) == NOT_FOUND


def test_the_longest_base_url_wins() -> None:
    """Of the rows that fit the longest base URL is meant; of equals the first; a name before all."""
    rows = (
        Listed("host", "https://a.example"),
        Listed("deep", "https://a.example/v1/deep"),
        Listed("flat", "https://a.example/v1/"),
        Listed("again", "https://a.example/v1"),
        Listed("a.example", "https://b.example"),
    )

    def find(path: str) -> tuple[str | None, str | None]:
        found = read(path + CHAT, listed=rows)
        return found.listed, found.key

    assert ("deep", "k") == find("https://a.example/v1/deep/k")
    assert ("flat", "k") == find("https://a.example/v1/k")
    assert ("flat", "deeper/k") == find("https://a.example/v1/deeper/k")
    assert ("host", "v2/k") == find("https://a.example/v2/k")
    assert ("a.example", "v1/k") == find("a.example/v1/k")


def test_the_target_may_be_in_absolute_form() -> None:
    """`POST http://gateway/api/…` is the same as `POST /api/…`; another prefix is not ours."""
    found = parse(f"http://gw:1{PREFIX}openai/k{CHAT}", PREFIX, LISTED, unlisted=False, default=False)

    assert ("openai", "k") == (found.listed, found.key)
    with pytest.raises(PathProblem, match="nothing at this path"):
        parse(f"/other/openai/k{CHAT}", PREFIX, LISTED, unlisted=False, default=False)


LOOPBACK = [
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "127.0.0.2",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "localhost.",
    "①②⑦.0.0.1",
    "127。0。0。1",
    "%E2%91%A0%E2%91%A1%E2%91%A6.0.0.1",
    "foo.localhost",
    "localhost",
    "127.0.0.1",
    "0x7f.1",
    "metadata",
    "metadata.google.internal",
    "gateway.local",
    "169.254.169.254",
    "100.100.100.200",
    "8.8.8.8",
]
CHANGES: list[Callable[[str], str]] = [str, str.upper]


@pytest.mark.parametrize("host", LOOPBACK)
def test_r01_no_spelling_of_a_local_address_passes(host: str) -> None:
    """R01: with unlisted upstreams allowed, every spelling of an address or a local name is refused."""
    for scheme in ("https://", "http://", "https:/", "https%3A%2F%2F", ""):
        for change in CHANGES:
            status, code = refused(f"{scheme}{change(host)}/v1/k{CHAT}", unlisted=True)

            assert (status, code) in (BAD_URL, NOT_ALLOWED)


@pytest.mark.parametrize(
    "head",
    [
        "https://u@evil.example/v1/k",
        "https://evil.example#@api.openai.com/v1/k",
        "https://api.openai.com%3F@evil/k",
        "https://api.openai.com%23@evil.example/k",
        "https%3A%2F%2Fapi.openai.com%23@evil.example/v1/k",
        "https:\\\\evil.example/v1/k",
        "http:/evil.example/v1/k",
        "//evil.example/v1/k",
        "evil.example/v1/k",
        "https://api.openai.com%2f@evil.example/v1/k",
        "https://evil.example%00/v1/k",
        "https://evil%09.example/v1/k",
        "https://[127.0.0.1]/v1/k",
        "https://[::1%25lo]/v1/k",
        "%20https://evil.example/v1/k",
        "ht%09tps://evil.example/v1/k",
        "https://[::1/v1/k",
        "https://::1/v1/k",
        "https:///v1/k",
        "https://",
        "https:",
        "https:evil.example/v1/k",
        "https://-evil.example/v1/k",
        "https://evil..example/v1/k",
        "https://%5B::1/v1/k",
    ],
)
def test_r03_confusing_authorities_are_refused(head: str) -> None:
    """R03: whatever could be read as two hosts, or as none, is refused."""
    assert refused(head + CHAT, unlisted=True) in (BAD_URL, NOT_ALLOWED)


@pytest.mark.parametrize(
    "head",
    [
        "file:///etc/passwd",
        "gopher://evil.example/k",
        "ftp://evil.example/k",
        "dict://evil.example/k",
        "ldap://evil.example/k",
        "ws://evil.example/k",
        "wss://evil.example/k",
        "unix:/run/x.sock",
        "http+unix://%2Frun%2Fx.sock/k",
        "data:text/plain,x",
        "javascript:alert(1)",
        "://evil.example/k",
        "file%3A%2F%2F%2Fetc%2Fpasswd/k",
    ],
)
def test_r04_other_schemes_are_refused(head: str) -> None:
    """R04: only http and https are schemes."""
    assert refused(head + CHAT, unlisted=True) == BAD_URL


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("0", BAD_URL),
        ("-1", BAD_URL),
        ("99999", BAD_URL),
        ("8o80", BAD_URL),
        ("1e3", BAD_URL),
        ("\uff14\uff14\uff13", BAD_URL),
        ("", BAD_URL),
        ("+443", BAD_URL),
        ("%34%34%33", BAD_URL),
        ("000443", BAD_URL),
        ("22", NOT_ALLOWED),
        ("25", NOT_ALLOWED),
        ("6379", NOT_ALLOWED),
        ("80", NOT_ALLOWED),
        ("8443", NOT_ALLOWED),
    ],
)
def test_r05_ports_are_checked(port: str, expected: tuple[int, str]) -> None:
    """R05: a port is one to five ASCII digits up to 65535, and an unlisted upstream has 443."""
    assert expected == refused(f"https://other.example:{port}/v1/k{CHAT}", unlisted=True)


@pytest.mark.parametrize(
    "head",
    [
        "https%25253A%25252F%25252Fapi.openai.com%25252Fv1/k",
        "https%3A%2F%2Fapi.openai.com%5Cv1/k",
        "https%3A%2F%2Fapi.openai.com%0d%0a/k",
        "https%3A%2F%2Fapi.openai.com%00/k",
        "https://api.openai.com/v1/k%5cx",
        "https%3A%2F%2Fapi.openai.com%c0%afv1/k",
        "https%3A%2F%2Fapi.openai.com%2F..%2Fv1/k",
        "https://api.openai.com/%2e%2e%2fv1/k",
        "https://api.openai.com/v1/k%zz",
        "https://api.openai.com/v1/k%",
        "https://other.example/a%2Fb/k",
        "https://other.example/a;b/k",
        "https://other.example/a//b/k",
    ],
)
def test_r06_only_honest_encodings_pass(head: str) -> None:
    """R06: three layers, mixed layers, bad bytes and dot segments are refused."""
    assert refused(head + CHAT, unlisted=True) in (BAD_URL, BAD_KEY, NOT_ALLOWED)


def test_problems_echo_nothing() -> None:
    """The text of a problem is the same whatever was sent."""
    with pytest.raises(PathProblem) as caught:
        read("https://user:sk-CANARY-123@api.openai.com/v1/sk-CANARY-123" + CHAT)

    assert "CANARY" not in f"{caught.value!r} {caught.value.message}"
    assert caught.value.__cause__ is None


def test_the_key_is_not_shown() -> None:
    """A key is masked in what a debugger or a log would print; that it is there is shown."""
    found = read("openai/sk-CANARY-123" + CHAT)

    assert "CANARY" not in f"{found} {found!r} {[found]}"
    assert "key='***'" in repr(found)
    assert "key=None" in repr(read("openai" + CHAT))


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("https://api.openai.com/v1/sk-KEY/chat/completions", "api.openai.com/***/chat/completions"),
        (
            "https%3A%2F%2Fapi.openai.com%2Fv1%2Fsk-KEY/chat/completions?key=K",
            "api.openai.com/***/chat/completions",
        ),
        ("openai/sk-KEY/chat/completions", "***/chat/completions"),
        ("sk-KEY/chat/completions", "***/chat/completions"),
        ("default/chat/completions", "default/chat/completions"),
        (f"https://{GOOGLE}/v1beta/models/m:generateContent?key=K", f"{GOOGLE}/v1beta/models/***"),
        ("gemini/v1beta/models/m:generateContent", "***/v1beta/models/***"),
        ("https://u:sk-KEY@api.openai.com/v1/models", "***/models"),
        ("https://sk-KEY/chat/completions", "***/chat/completions"),
        ("https://api.openai.com/v1/sk-KEY", "***"),
        ("sk-KEY", "***"),
    ],
)
def test_logs_show_template_and_host(rest: str, expected: str) -> None:
    """A log line says where a call went and for what, and nothing else of the path."""
    assert PREFIX + expected == redacted(PREFIX + rest, PREFIX)


def test_a_target_of_another_route_is_masked_whole() -> None:
    """What does not start with the prefix is not shown at all."""
    assert redacted("/elsewhere/sk-KEY", PREFIX) == "***"


# ── for every input ──────────────────────────────────────────────────────────────────

PIECES = st.sampled_from(
    [
        "https://",
        "https:/",
        "http://",
        "HTTPS://",
        "https%3A%2F%2F",
        "https%253A%252F%252F",
        "%2F",
        "%2f",
        "/",
        "//",
        "api.openai.com",
        "other.example",
        "127.0.0.1",
        "[::1]",
        "%5B::1%5D:9",
        "localhost",
        "openai",
        "default",
        "/v1",
        "%2Fv1",
        "/..",
        "/.",
        "%2e%2e",
        "%252e%252e",
        "..",
        "/v1beta",
        "/models/g:generateContent",
        "@",
        ":443",
        ":",
        "#",
        "?",
        "%3F",
        "%",
        "%00",
        "%0d%0a",
        "\\",
        "%5c",
        "-",
        "_",
        "sk-KEY",
        "%C0%AF",
        "é",
        " ",
        "\x00",
        "/chat/completions",
        "/v1/messages",
        "/models",
        ";",
        "%25",
        "+",
        "~",
        "=",
    ]
)
PATHS = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=60))


@given(
    PATHS,
    st.sampled_from(["", CHAT, "/v1/messages", "/v1beta/models/g:countTokens"]),
    st.sampled_from([True, False, ("*.example",)]),
    st.booleans(),
)
@example("https%253A%252F%252Fapi.openai.com%252Fv1/%25252e%25252e", CHAT, True, False)
def test_any_input_is_read_or_refused(head: str, tail: str, unlisted: Unlisted, default: bool) -> None:
    """Whatever is sent, the result is sound or a `PathProblem`."""
    try:
        found = read(head + tail, unlisted=unlisted, default=default)
    except PathProblem as problem:
        assert problem.status in (400, 403, 404)
        return

    assert sum([found.listed is not None, found.default, found.base_url is not None]) == 1
    assert found.listed is None or found.listed in [row.name for row in LISTED]
    assert found.base_url is None or re.fullmatch(r"https://[a-z0-9._-]+(/[^/%?#\\\s]+)*", found.base_url)
    if found.key is not None:
        assert re.fullmatch(r"[A-Za-z0-9._~:+=/|@!$*,-]{1,512}", found.key)
    for text in (found.key, found.model, found.base_url):
        assert not {".", ".."} & set((text or "").split("/"))


KEYS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=6, max_size=60)
ENCODINGS: list[Callable[[str], str]] = [
    str,
    lambda text: "".join(f"%{ord(letter):02X}" for letter in text),
    lambda text: "".join(f"%25{ord(letter):02x}" for letter in text),
]


TAILS = st.sampled_from(["", CHAT, "/v1/messages", "/v1beta/models/g:x"])


def pieces_shown(key: str, shown: str) -> bool:
    return any(key[i : i + 6] in shown for i in range(len(key) - 5))


@given(KEYS, PATHS, PATHS, TAILS, st.sampled_from(ENCODINGS))
@example("ABCDEF", "https://", "/v1/k", CHAT, str)
@example("ABCDEF", "https://", "other.example/v1/k", CHAT, str)
@example("ABCDEF", "https://u:", "@api.openai.com", CHAT, str)
@example("ABCDEF", "", "", CHAT, str)
def test_no_piece_of_a_key_is_ever_shown(
    key: str, before: str, after: str, tail: str, encode: Callable[[str], str]
) -> None:
    """With the rows given, no six characters of a key are shown, wherever it stands and however encoded."""
    shown = redacted(f"{PREFIX}{before}{encode(key)}{after}{tail}", PREFIX, LISTED)

    for form in (key, key.lower(), encode(key)):
        assert not pieces_shown(form, shown)


@given(KEYS, PATHS, PATHS, TAILS, st.sampled_from(ENCODINGS))
@example("ABCDEF", "v1/", "", CHAT, str)
@example("ABCDEF", "v1beta/models/", ":x", "", str)
@example("ABCDEF", "k", "?key=ABCDEF", CHAT, str)
def test_no_piece_of_a_key_behind_a_host_is_ever_shown(
    key: str, before: str, after: str, tail: str, encode: Callable[[str], str]
) -> None:
    """Without the rows any host is shown, and nothing of what follows it."""
    for start in ("https://other.example/", "https%3A%2F%2Fother.example%2F", "https:/other.example/"):
        shown = redacted(f"{PREFIX}{start}{before}{encode(key)}{after}{tail}", PREFIX)

        for form in (key, key.lower(), encode(key)):
            assert not pieces_shown(form, shown)


@pytest.mark.parametrize("host", ["sk-proj.example", "AIzaSyA.example", "eyJhbGci.eyJzdWIi.c2ln", "a" * 20 + ".com"])
def test_a_host_that_looks_like_a_key_is_masked(host: str) -> None:
    """A key in the host's place is not shown, though the rows be unknown."""
    assert redacted(f"{PREFIX}https://{host}/v1/k{CHAT}", PREFIX) == f"{PREFIX}***{CHAT}"


def test_with_the_rows_names_and_bare_hosts_are_shown_by_host() -> None:
    """A listed host is shown however the path names it, an unlisted one is not."""
    assert redacted(f"{PREFIX}api.openai.com/k{CHAT}", PREFIX, LISTED) == f"{PREFIX}api.openai.com/***{CHAT}"
    assert redacted(f"{PREFIX}https://other.example/k{CHAT}", PREFIX, LISTED) == f"{PREFIX}***{CHAT}"


@given(KEYS, st.sampled_from(["https://api.openai.com/v1/", "https%3A%2F%2Fapi.openai.com%2Fv1/", "openai/"]))
def test_no_piece_of_a_key_is_in_a_repr(key: str, before: str) -> None:
    """The parsed key is kept whole, and never printed."""
    found = read(before + key + CHAT)

    assert key == found.key
    assert key[:6] not in repr(found)
