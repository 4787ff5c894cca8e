"""A path has one meaning, whatever its spelling; a model's name leads where the file says."""

from __future__ import annotations

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.errors import MalformedRequest, MethodNotAllowed, RouteNotFound, RouterError, UnknownModel
from providers.provider import Provider
from router.table import (
    OPAQUE,
    BadPattern,
    Egress,
    Match,
    Model,
    Route,
    Table,
    Target,
    compile_pattern,
    covers,
    fits_star,
    overlap,
)

A, B = Target(provider="a", model="one"), Target(provider="b")
ROW = {name: Provider(name=name, base_url="http://x", speaks=("d",)) for name in ("a", "b")}


def table(*paths: str, models: tuple[Model, ...] = ()) -> Table:
    routes = [Route(path=path, speaks="d", to="named" if ":url}" in path else "models") for path in paths]
    return Table(tuple(routes), models, ROW)


PROXY = "/api/v1/proxy/{proxyUrl:url}/{key:secret}/chat/completions"
MODELS = "/v1beta/models/{model}:{task}"
PROXY_MODELS = "/api/v1/proxy/{geminiUrl:url}/v1beta/models/{modelNameAndTask}"
ALL = table("/v1/chat/completions", MODELS, PROXY, PROXY_MODELS, "/teams/{team}/chat", "/teams/{team}/{k:secret}/x")


def meaning(target: str, routes: Table = ALL) -> tuple[str, dict[str, str]] | type[RouterError]:
    try:
        found = routes.match("POST", target)
    except RouterError as error:
        return type(error)
    return found.route.path, dict(found.params)


# ── paths ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    [
        "/v1/chat/completions",
        "/v1/chat/completions?x=/v1/models",
        "http://host:1/v1/chat/completions",
        "HTTPS://h/v1/chat/completions?",
    ],
)
def test_literal_paths(target: str) -> None:
    """The query, and the authority of an absolute-form target, are not part of the path."""
    assert meaning(target) == ("/v1/chat/completions", {})


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "/",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions;a=b",
        "/V1/chat/completions",
        "/x/../v1/chat/completions",
        "/v1/./chat/completions",
        "/v1/%63hat/completions",
        "/v1%2fchat/completions",
        "/v1/chat/completions%00",
        "/v1/chat/completions%20",
        "/%2e%2e/v1/chat/completions",
        "/%c0%af/v1/chat/completions",
        "/v1/chat",
        "/" + "a" * 6000,
        "http:/v1/chat/completions",
        "/teams//chat",
        "/v1beta/models/",
        "/v1beta/models/m",
        "/v1beta/models/m:",
        "/v1beta/models/:generateContent",
        "/v2/models/m:generateContent",
        "/v1beta/files/m:generateContent",
    ],
)
def test_other_spellings_are_other_paths(target: str) -> None:
    """A path is compared as it came: no decoding, merging or resolving makes a route of something else."""
    assert meaning(target) is RouteNotFound


@pytest.mark.parametrize(
    "target",
    [
        "/teams/%2e%2e/chat",
        "/teams/../chat",
        "/teams/./chat",
        "/teams/a%2fb/chat",
        "/teams/a%5cb/chat",
        "/teams/a\\b/chat",
        "/teams/a%00/chat",
        "/teams/a%0d%0ab/chat",
        "/teams/a%e2%80%a8/chat",
        "/teams/%c0%af/chat",
        "/teams/%ff/chat",
        "/teams/%/chat",
        "/teams/%zz/chat",
        "/teams/é/chat",
        "/teams/a b/chat",
        "/teams/a\nb/chat",
        "/v1beta/models/..%2f..%2fchat:x",
        "/v1beta/models/../../v1/chat/completions:x",
        "/v1beta/models/a//b:x",
        "/v1beta/models/a%0a:x",
    ],
)
def test_parameters_that_lead_elsewhere_are_refused(target: str) -> None:
    """A parameter is text without slashes, dots alone and control characters, before and after decoding."""
    assert meaning(target) is MalformedRequest


def test_parameters_are_decoded_once() -> None:
    """What was encoded twice stays encoded once."""
    assert meaning("/teams/%C3%A9%2520x/chat") == ("/teams/{team}/chat", {"team": "é%20x"})


def test_secret_parameters_are_named() -> None:
    """Whoever logs a match knows which of its parameters must not be seen."""
    found = ALL.match("POST", "/teams/t/sk-1/x")

    assert (found.params["k"], found.secret_params) == ("sk-1", frozenset({"k"}))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v1beta/models/m:generateContent", ("v1beta", "models", "m", "generateContent")),
        ("/v1/models/m:countTokens?key=k", ("v1", "models", "m", "countTokens")),
        ("/v1alpha/tunedModels/m-1:generateContent", ("v1alpha", "tunedModels", "m-1", "generateContent")),
        ("/v1beta/models/m%3AgenerateContent", ("v1beta", "models", "m", "generateContent")),
        ("/v1beta/models/ft:m:1:generateContent", ("v1beta", "models", "ft:m:1", "generateContent")),
        ("/v1beta/models/models/m:generateContent", ("v1beta", "models", "m", "generateContent")),
        ("/v1beta/models/models%2Fm:generateContent", ("v1beta", "models", "m", "generateContent")),
        ("/v1beta/models/a/org/m:generateContent", ("v1beta", "models", "a/org/m", "generateContent")),
    ],
)
def test_a_model_and_what_to_do_with_it(target: str, expected: tuple[str, ...]) -> None:
    """All versions and collections, the last colon, encoded or not; a model's name may hold slashes."""
    path, params = meaning(target)  # type: ignore[misc]

    assert path == MODELS
    assert tuple(params[key] for key in ("version", "collection", "model", "task")) == expected


def test_a_written_version_comes_first() -> None:
    """`v1beta` stands for the other versions only where no route is written for them."""
    routes = table(MODELS, "/v1/models/{model}:{task}")

    assert meaning("/v1/models/m:t", routes)[0] == "/v1/models/{model}:{task}"  # type: ignore[index]
    assert meaning("/v1alpha/models/m:t", routes)[0] == MODELS  # type: ignore[index]


def test_only_v1beta_stands_for_others() -> None:
    """A pattern for v1 alone takes v1 alone."""
    routes = table("/v1/models/{modelNameAndTask}")

    assert meaning("/v1/models/m:t", routes)[1]["model"] == "m"  # type: ignore[index]
    assert meaning("/v1beta/models/m:t", routes) is RouteNotFound


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/api/v1/proxy/https://api.example.com/v1/sk-1/chat/completions", PROXY),
        ("/api/v1/proxy/https%3A%2F%2Fapi.example.com%2Fv1/sk/chat/completions/?a=b", PROXY),
        ("/api/v1/proxy/a/../b/chat/completions", PROXY),
        ("/api/v1/proxy/chat/completions", PROXY),
        ("/api/v1/proxy/https://h/v1beta/models/m:generateContent?key=k", PROXY_MODELS),
        ("/api/v1/proxy/https://h/v1beta/v1/models/m%3Agen", PROXY_MODELS),
        ("/api/v1/proxy/https://h/v1/tunedModels/m:gen", PROXY_MODELS),
        ("/api/v1/proxy/https://h/v1beta/models/x/chat/completions", PROXY),
    ],
)
def test_upstreams_in_the_path_are_told_by_their_tail(target: str, path: str) -> None:
    """The table says which row it is and where the URL begins; nothing of the URL is read here."""
    found = ALL.match("POST", target)

    assert (found.route.path, found.prefix, found.params) == (path, "/api/v1/proxy/", {})


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/proxy/https://h/k/embeddings",
        "/api/v1/proxy/",
        "/api/v1/proxy",
        "/api/v1/proxy/https://h/k/xchat/completions/y",
    ],
)
def test_a_task_without_a_row_is_not_served(target: str) -> None:
    """No row for the tail: 404."""
    assert meaning(target) is RouteNotFound


BELOW = Table(
    tuple(
        Route(path=path, speaks=speaks, to=(B,), methods=("GET",))
        for path, speaks in {
            "/v1/files*": OPAQUE,
            "/v1/audio/*": OPAQUE,
            "/v1/audio/{x}": "d",
            "/v1/audio/speech/*": OPAQUE,
            "/v1/files/mine": "d",
            "/v1/judge": OPAQUE,
        }.items()
    )
)


@pytest.mark.parametrize(
    ("target", "path", "opaque"),
    [
        ("/v1/files", "/v1/files*", True),
        ("/v1/files?a=/v1/files/mine", "/v1/files*", True),
        ("http://host/v1/files/a/b", "/v1/files*", True),
        ("/v1/files/mine", "/v1/files/mine", False),
        ("/v1/files/mine/x", "/v1/files*", True),
        ("/v1/filesystem", None, False),
        ("/v1/files/", None, False),
        ("/v1/audio", None, False),
        ("/v1/audio/a", "/v1/audio/{x}", False),
        ("/v1/audio/a/b", "/v1/audio/*", True),
        ("/v1/audio/speech/a", "/v1/audio/speech/*", True),
        ("/v1/judge", "/v1/judge", True),
        ("/v1/judge/x", None, False),
        ("/v1/audio/a/../b", None, False),
        ("/v1/audio/a/%2e%2E", None, False),
        ("/v1/audio/a/b%2Fc", None, False),
        ("/v1/audio/a//b", None, False),
        ("/v1/audio/a/b%0d%0a", None, False),
    ],
)
def test_a_star_stands_for_everything_below(target: str, path: str | None, opaque: bool) -> None:
    """`/audio/*` is all below, `/files*` files as well; what says more wins; nothing below leads out of it."""
    try:
        found = BELOW.match("GET", target).route.path
    except (RouteNotFound, MalformedRequest):
        found = None

    assert (path, opaque) == (found, BELOW.is_opaque(target))


def test_longest_literal_beginning_then_end() -> None:
    """The order of the file does not matter where one pattern says more."""
    routes = table("/{a}/{b}/{c}", "/x/{b}/{c}", "/x/{b}/c", "/x/b/{c}", "/x/b/c", "/{a}/b/{c}")
    paths = ["/x/b/c", "/x/b/1", "/x/1/c", "/x/1/2", "/1/b/2", "/1/2/3"]

    assert [meaning(path, routes)[0] for path in paths] == [  # type: ignore[index]
        *("/x/b/c", "/x/b/{c}", "/x/{b}/c", "/x/{b}/{c}", "/{a}/b/{c}", "/{a}/{b}/{c}")
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "post", "BREW"])
@pytest.mark.parametrize("target", ["/v1/chat/completions", "/teams/t/chat", "/v1/models/m:t"])
def test_methods(method: str, target: str) -> None:
    """A path that is there with another method is 405, and says which."""
    with pytest.raises(MethodNotAllowed) as raised:
        ALL.match(method, target)

    assert raised.value.allow == ("POST",)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("v1/chat", "starts with /"),
        ("/v1/", "empty segments"),
        ("/v1//x", "empty segments"),
        ("/v1/../x", ". or .."),
        ("/v1/a b", "literal segment"),
        ("/v1/%41", "literal segment"),
        ("/v1/{a}x", "whole segment"),
        ("/v1/{a", "whole segment"),
        ("/v1/{a:int}", "unknown kind"),
        ("/{a}/{a}", "twice"),
        ("/{model}:{task}/x", "last segment"),
        ("/{u:url}/x", "stand before"),
        ("/a/{b}/{u:url}/x", "stand before"),
        ("/a/{u:url}/{v:url}/x", "stand before"),
        ("/a/{u:url}", "literal path of a task"),
        ("/a/{u:url}/{k:secret}", "literal path of a task"),
        ("/a/{u:url}/{k}/x", "literal path of a task"),
        ("/a/{u:url}/x/{model}:{task}", "v1beta/models"),
        ("/{version}/v1beta/models/{model}:{task}", "twice"),
        ("/a/*/b", "end of the path"),
        ("/a/**", "end of the path"),
        ("/a/b*c", "end of the path"),
        ("/{a}/*", "literal segments alone"),
    ],
)
def test_bad_patterns_say_why(path: str, what: str) -> None:
    """A pattern that cannot mean one thing is refused."""
    with pytest.raises(BadPattern, match=what):
        compile_pattern(path)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/a/{x}", "/a/{y}", True),
        ("/a/{x}", "/a/{y:secret}", True),
        ("/a/{x}", "/b/{x}", False),
        (PROXY, "/api/v1/proxy/{u:url}/chat/completions", True),
        (PROXY, PROXY_MODELS, False),
        (MODELS, "/v1beta/models/{m}", True),
        (MODELS, "/v1/models/{m}", False),
        ("/a/*", "/a/*", True),
        ("/a/*", "/a/b*", False),
        ("/a/*", "/a/{x}", False),
    ],
)
def test_equal_patterns_have_one_shape(one: str, other: str, same: bool) -> None:
    """Names of parameters do not tell patterns apart; a key that may be missing does not either."""
    assert (compile_pattern(one).shape == compile_pattern(other).shape) is same


SEGMENT = st.sampled_from(["a", "b", "c", "{x}", "{y}", "{z}"])
PATTERNS = st.lists(
    st.lists(SEGMENT, min_size=1, max_size=4, unique=True).map(lambda parts: "/" + "/".join(parts)),
    min_size=1,
    max_size=6,
    unique_by=lambda path: compile_pattern(path).shape,
)


def fits(pattern: str, path: str) -> bool:
    left, right = pattern.split("/"), path.split("/")
    return len(left) == len(right) and all(a[:1] == "{" or a == b for a, b in zip(left, right, strict=True))


def best(patterns: list[str], path: str) -> str | None:
    """The rule in its plainest form, for comparison."""
    fitting = [pattern for pattern in patterns if fits(pattern, path)]
    if path in fitting:
        return path

    def rank(pattern: str) -> tuple[int, int, int, int]:
        literal = sum(len(part) for part in pattern.split("/") if part[:1] != "{")
        end = pattern.rpartition("}")[2]
        return len(pattern.partition("{")[0]), len(end), literal, -patterns.index(pattern)

    return max(fitting, key=rank, default=None)


@given(PATTERNS, st.lists(st.sampled_from("abcd"), min_size=1, max_size=4))
def test_the_rule_decides_for_every_table(patterns: list[str], parts: list[str]) -> None:
    """Whatever the table, a path leads to the pattern that the rule names, and to no other."""
    path = "/" + "/".join(parts)
    found = meaning(path, table(*patterns))

    assert best(patterns, path) == (found[0] if isinstance(found, tuple) else None)


@given(PATTERNS, st.permutations(range(6)), st.lists(st.sampled_from("abcd"), min_size=1, max_size=4))
def test_order_only_breaks_ties(patterns: list[str], order: list[int], parts: list[str]) -> None:
    """A path that two orders of a file read differently fits patterns that say equally much."""
    path = "/" + "/".join(parts)
    shuffled = [patterns[i] for i in order if i < len(patterns)]
    one, other = meaning(path, table(*patterns)), meaning(path, table(*shuffled))
    if one == other:
        return

    assert overlap(one[0], other[0])  # type: ignore[index]
    assert not covers(one[0], other[0])  # type: ignore[index]


STEPS = [
    "/",
    "//",
    "..",
    ".",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "\\",
    "%00",
    "%c0%af",
    ";",
    ":",
    "%3A",
    "?",
    "#",
    " ",
    "é",
]
WORDS = ["v1", "chat", "completions", "models", "v1beta", "teams", "x", "api", "proxy", "%", "%25"]
NASTY = st.lists(st.sampled_from([*STEPS, *WORDS]), max_size=12)


@given(NASTY)
def test_no_spelling_reaches_a_literal_route(parts: list[str]) -> None:
    """Only the path itself, byte for byte, is the route; parameters never hold what leads elsewhere."""
    target = "/" + "".join(parts)
    found = meaning(target)
    if not isinstance(found, tuple):
        return
    path, params = found
    for name, value in params.items():
        assert "\\" not in value and "\x00" not in value
        assert name == "model" or "/" not in value
        assert not {"", ".", ".."} & set(value.split("/"))
    if "{" not in path:
        assert target.partition("?")[0] == path


@given(st.text(max_size=60))
def test_no_target_makes_it_raise(target: str) -> None:
    """Whatever comes as a target, the answer is a match or one of the errors that are meant."""
    assert isinstance(meaning(target), tuple) or meaning(target) in (RouteNotFound, MalformedRequest)
    assert isinstance(meaning("/teams/" + target), tuple | type)


def test_matching_is_fast() -> None:
    """A literal path costs about nothing; hundreds of other routes do not change that."""
    routes = table("/v1/chat/completions", *(f"/r{i}/{{x}}/y" for i in range(500)))
    exact = min(timeit.repeat(lambda: routes.match("POST", "/v1/chat/completions"), number=10_000, repeat=5))
    pattern = min(timeit.repeat(lambda: routes.match("POST", "/r250/abc/y"), number=1_000, repeat=5))

    assert exact / 10_000 < 2e-6
    assert pattern / 1_000 < 100e-6


def test_no_path_takes_long() -> None:
    """Long paths made of almost-matches are refused in linear time."""
    for target in ("/v1beta/models/" + ":" * 8000, "/teams/" + "a/" * 4000, "/api/v1/proxy/" + "/v1beta/models" * 600):
        assert min(timeit.repeat(lambda: meaning(target), number=1, repeat=3)) < 0.02  # noqa: B023


# ── models ─────────────────────────────────────────────────────────────────────────────────────

MODEL_TABLE = table(
    "/x",
    models=(
        Model(name="fast", to=(A, B), policy="patient"),
        Model(name="a/special", to=(B,)),
        Model(name="gpt-*", to=(A,)),
        Model(name="gpt-5*", to=(B,)),
        Model(name="*-mini", to=(A, B)),
    ),
)
ROUTE = MODEL_TABLE.routes[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fast", ((A, B), "patient")),
        ("a/special", ((B,), None)),
        ("a/org/model", ((Target(provider="a", model="org/model"),), None)),
        ("gpt-4", ((A,), None)),
        ("gpt-5.1", ((B,), None)),
        ("gpt-5-mini", ((B,), None)),
        ("other-mini", ((A, B), None)),
    ],
)
def test_names_of_models(name: str, expected: object) -> None:
    """The exact name, then `provider/model`, then the pattern that says most."""
    assert MODEL_TABLE.targets(ROUTE, name)[:2] == expected


@pytest.mark.parametrize("name", ["", "FAST", "fast ", "c/model", "a/", "/x", "gpt", "x" * 1000, "gpt-" + "x" * 1000])
def test_unknown_models(name: str) -> None:
    """A name that is nobody's is 404, and is not repeated in the answer."""
    with pytest.raises(UnknownModel) as raised:
        MODEL_TABLE.targets(ROUTE, name)

    assert "x" * 100 not in raised.value.message
    assert raised.value.param == "model"


def test_policies_of_routes_come_second() -> None:
    """The model's policy, else the route's, else none, which is the default one."""
    route = Route(path="/y", speaks="d", to="models", policy="quick")

    assert [MODEL_TABLE.targets(route, name).policy for name in ("fast", "gpt-4")] == ["patient", "quick"]


def test_fixed_targets_ignore_the_name() -> None:
    """A route with its own targets serves whatever model is asked for."""
    route = Route(path="/y", speaks="d", to=(B,), policy="quick")

    assert MODEL_TABLE.targets(route, "no such model") == ((B,), "quick", None, None)


def test_the_head_default_has_targets() -> None:
    """On a route with an upstream's URL, `targets` says where its head `default` leads."""
    named = Route(path=PROXY, speaks="d", to="named", egress=Egress(default=(A,)))

    assert MODEL_TABLE.targets(named, "m") == ((A,), None, None, None)
    assert MODEL_TABLE.targets(Route(path=PROXY, speaks="d", to="named"), "m") == ((), None, None, None)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True),
        ("a*", "a", True),
        ("a*", "ba", False),
        ("*a", "ba", True),
        ("a*a", "a", False),
        ("a*b*c", "axbxc", True),
        ("a*b*c", "acb", False),
        ("a*bb*c", "abc", False),
        ("a", "a", True),
        ("a", "b", False),
        ("**", "x", True),
    ],
)
def test_stars(pattern: str, text: str, expected: bool) -> None:
    """A star is any text, none included."""
    assert fits_star(pattern, text) is expected


def test_stars_are_linear() -> None:
    """Many stars cost no more than few."""
    assert min(timeit.repeat(lambda: fits_star("*a" * 50 + "b", "a" * 256), number=1, repeat=3)) < 0.01


def test_matches_do_not_change() -> None:
    """Everybody gets the same match for a literal path: nobody may write into it."""
    found = ALL.match("POST", "/v1/chat/completions")

    assert isinstance(found, Match)
    with pytest.raises(AttributeError):
        found.prefix = "x"  # type: ignore[misc]
