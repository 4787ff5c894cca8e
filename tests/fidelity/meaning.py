"""Did a request arrive? What the caller said against what the upstream was sent, by the project's definition.

A difference is allowed only when a declared loss names it, by its path in the caller's own body. A loss names what
stands at its path and everything below; a loss of a mark (`…image_url.detail`) does not excuse that the image is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .neutral import Fact, Function, Json, Request, Said, frozen
from .schemas import Normal, differences, normal

#: What an approximation may leave unsaid, and why. Everything else that is gone must be declared as dropped.
_MAY_CHANGE = {
    "json": "an instruction asks for it (canonical.md, response format)",
    "validated": "arguments are checked in one dialect only; the choice of tools itself arrives",
    "presence_penalty": "clamped to the target's least, 0, which is its default (others.md, Cohere)",
    "frequency_penalty": "as presence_penalty",
    "temperature": "clamped to 1, the target's most and its default (canonical.md, temperature)",
}
#: What an approximation adds to the conversation: an instruction for the form of the answer, media of a result that
#: follow it with a line that says so.
_SAYS_MORE = re.compile(r"response_format|text\.format|responseMimeType|responseJsonSchema|responseSchema|format$")


#: Where conversations stand.
TURNS = ("messages", "contents", "input")
#: A parameter that has another word in the losses.
_ALSO = {"max_tokens": ("max_tokens", "max_output_tokens", "max_completion_tokens", "num_predict")}


class Lost(NamedTuple):
    """A declared loss: path in the caller's body, dropped | approximated | invented, one sentence."""

    field: str
    kind: str
    reason: str = ""


def below(path: str, ancestor: str) -> bool:
    """Is `path` the same place as `ancestor`, or inside it?"""
    return path == ancestor or (path.startswith(ancestor) and path[len(ancestor)] in ".[")


def stands(body: Json, path: str) -> bool:
    """Is there such a path in the body?"""
    value = body
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        if index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        elif name and isinstance(value, dict) and name in value:
            value = value[name]
        else:  # a place inside what a schema refers to stands, too
            return isinstance(value, dict) and bool(value.keys() & {"$ref", "allOf"})
    return True


class Comparing:
    """Collects complaints; `problems` is empty when the request arrived."""

    def __init__(self, asked: Request, sent: Request, losses: Sequence[Lost]) -> None:
        self.asked = asked
        self.sent = sent
        self.losses = losses
        self.problems: list[str] = []

    def run(self) -> list[str]:
        self.compare_said(apart=False)
        if self.problems:  # where a blank turn is left out, something may stand in its place, or its neighbours join
            joined_, self.problems = self.problems, []
            self.compare_said(apart=True)
            self.problems = min(joined_, self.problems, key=len)
        self.compare_functions()
        self.compare_facts()
        self.compare_schema(self.asked.schema, self.sent.schema, "the schema of the answer")
        return self.problems

    def complain(self, text: str) -> None:
        self.problems.append(text)

    # ── is it named? ───────────────────────────────────────────────────────────────

    def named(self, at: str, *, gone: bool = False) -> bool:
        """Is what stands at this path, or something in it, declared as a loss? What is `gone` is not approximated."""
        return any(
            below(at, loss.field)
            for loss in self.losses
            if self.may_cover(loss) and not (gone and loss.kind == "approximated")
        )

    def gone(self, one: Said, *, replaced: bool) -> bool:
        """Is it declared that this is lost, or changed where something stands in its place?"""
        return any(
            below(one.at, loss.field) or (replaced and one.kind == "result" and below(loss.field, one.at))
            for loss in self.losses
            if self.may_cover(loss) and (replaced or loss.kind != "approximated")
        )

    def may_cover(self, loss: Lost) -> bool:
        """The whole conversation may be named only where its turns were repaired."""
        return loss.field not in TURNS or loss.kind != "dropped"

    def additions(self) -> int:
        """How many things may stand in the conversation that the caller did not say. A loss of the same place is named
        once: one of the whole conversation may stand for several.
        """
        if any(loss.kind == "invented" and loss.field in TURNS for loss in self.losses):
            return len(self.sent.said)
        return sum(
            1
            for loss in self.losses
            if loss.kind == "invented"
            or (loss.kind == "approximated" and (_SAYS_MORE.search(loss.field) or self.of_result(loss.field)))
        )

    def of_result(self, field: str) -> bool:
        """Does it name media of a tool's result?"""
        return any(
            below(field, mark.at)
            for one in self.asked.said
            if one.kind == "result"
            for name, mark in one.marks.items()
            if name.startswith("media")
        )

    # ── the conversation ───────────────────────────────────────────────────────────

    def compare_said(self, *, apart: bool) -> None:
        there = {_squeezed(one) for one in self.sent.said if one.kind in ("block", "reasoning")}
        left = []
        for one in self.asked.said:
            if _squeezed(one) in there or not (_small(one) and self.lost(one)):
                left.append(one)
            elif self.replaced(one, apart=apart):
                left.append(Said(one.role, "nothing", None, one.at))
        said = self.beside(left)
        ours = in_turns([self.retold(one) for one in left])
        theirs = in_turns([self.unprompted(one) for one in said])
        if any(one.kind == "media" and one.value.get("type") == "image/*" for one in [*ours, *theirs]):
            ours, theirs = [_untyped(one) for one in ours], [_untyped(one) for one in theirs]
        if self.sent.heaped or self.asked.heaped:
            ours, theirs = _heaped(ours), _heaped(theirs)
        mine = [one for one in ours if one.kind != "nothing"]
        for one in ours:
            if one.kind == "nothing":
                self.compare_marks(one, None)
        arrived = [one for one in theirs if one.kind != "nothing"]
        added = 0
        for tag, i1, i2, j1, j2 in aligned([one.core for one in mine], [one.core for one in arrived]):
            if tag == "equal":
                for a, b in zip(mine[i1:i2], arrived[j1:j2]):
                    self.compare_marks(a, b)
                continue
            for a in mine[i1:i2]:
                if not self.gone(a, replaced=tag == "replace"):
                    self.complain(
                        f"{a.at}: {a.core[:120]} did not arrive; instead {[b.core[:120] for b in arrived[j1:j2]]}"
                    )
            added += max(0, (j2 - j1) - (i2 - i1))
        if added > self.additions():
            self.complain(
                f"{added} things in the conversation that the caller did not say: {[b.core[:80] for b in arrived]}"
            )

    def beside(self, left: list[Said]) -> list[Said]:
        """What was sent in the conversation. Documents that are declared to stand beside it (Cohere's) are taken out,
        also of `left`.
        """
        stand = {one.core for one in self.sent.said if one.at.startswith("documents[")}
        told = [one for one in left if one.kind == "media" and one.core in stand and self.approximated(one.at)]
        left[:] = [one for one in left if one not in told]
        cores = {one.core for one in told}
        said = [one for one in self.sent.said if not (one.at.startswith("documents[") and one.core in cores)]
        return said

    def unprompted(self, one: Said) -> Said:
        """Without the sentence about JSON that OpenAI insists on in JSON mode, where that is declared as invented."""
        told = any(loss.kind == "invented" and _SAYS_MORE.search(loss.field) for loss in self.losses)
        if not told or one.kind != "text" or not one.value.endswith(f"\n{PROMPT}"):
            return one
        return Said(one.role, one.kind, one.value.removesuffix(f"\n{PROMPT}"), one.at, one.marks)

    def lost(self, one: Said) -> bool:
        """Is it declared that this was left out? Then what stood around it may have come together."""
        return any(below(one.at, loss.field) and loss.kind == "dropped" for loss in self.losses)

    def replaced(self, one: Said, *, apart: bool) -> bool:
        """Is something invented where it stood, which keeps its neighbours apart? `apart`: also if that is said of the
        conversation as a whole.
        """
        fields = [loss.field for loss in self.losses if loss.kind == "invented"]
        return any(below(one.at, field) or (apart and field in TURNS) for field in fields)

    def retold(self, one: Said) -> Said:
        """A refusal that is declared to go as text is text, a system text that goes as the user's is the user's."""
        if one.kind == "refusal" and self.approximated(one.at):
            return Said(one.role, "text", one.value, one.at, one.marks)
        if one.role == "system" and self.approximated(one.at):
            return Said("user", one.kind, one.value, one.at, one.marks)
        return one

    def approximated(self, at: str) -> bool:
        return any(below(at, loss.field) for loss in self.losses if loss.kind == "approximated")

    def compare_marks(self, one: Said, other: Said | None) -> None:
        theirs = other.marks if other is not None else {}
        for name, mark in one.marks.items():
            if name in theirs and frozen(_bare(theirs[name].value)) == frozen(_bare(mark.value)):
                continue
            if not self.named(mark.at):
                self.complain(f"{mark.at}: {name} did not arrive and is not named")
        for name in theirs.keys() - one.marks.keys():
            if not any(below(loss.field, one.at) for loss in self.losses if loss.kind == "invented"):
                self.complain(f"{one.at}: {name} was added and not named")

    # ── tools ──────────────────────────────────────────────────────────────────────

    def compare_functions(self) -> None:
        names = [one.name for one in self.asked.functions if not self.named_all(one.at) and self.may_use(one.name)]
        arrived = [one.name for one in self.sent.functions]
        added = len(arrived) - len(self.asked.functions)
        if names != [name for name in arrived if name in names] or (
            added > 0 and not any(loss.kind == "invented" for loss in self.losses)
        ):
            self.complain(f"functions: {names} arrived as {arrived}")
        theirs = {one.name: one for one in self.sent.functions}
        for one in self.asked.functions:
            if one.name in theirs:
                self.compare_function(one, theirs[one.name])

    def may_use(self, name: str) -> bool:
        """What may not be used this time need not be shown: some targets have no such choice."""
        choice = self.asked.facts.get("tool_choice")
        if choice is None:
            return True
        return choice.value["mode"] != "none" and (not choice.value["names"] or name in choice.value["names"])

    def named_all(self, at: str) -> bool:
        return any(below(at, loss.field) and loss.kind == "dropped" for loss in self.losses)

    def compare_function(self, one: Function, other: Function) -> None:
        if (one.description or "") != (other.description or "") and not self.named(f"{one.at}.description"):
            self.complain(f"{one.at}.description: {one.description!r} arrived as {other.description!r}")
        for name, mark in one.marks.items():
            same = name in other.marks and frozen(other.marks[name].value) == frozen(mark.value)
            checked = name == "strict" and self.sent.checks
            if not same and not checked and not self.named(mark.at):
                self.complain(f"{mark.at} did not arrive and is not named")
        for name in other.marks.keys() - one.marks.keys():
            self.complain(f"{one.at}.{name} was added")
        ours = Fact(one.parameters, one.schema_at or f"{one.at}.parameters")
        self.compare_schema(ours, Fact(other.parameters, ""), f"parameters of {one.name}")

    def compare_schema(self, one: Fact | None, other: Fact | None, what: str) -> None:
        if one is None:
            if other is not None:
                self.complain(f"{what}: added")
            return
        ours, theirs = normal(one.value), normal(other.value if other else None)
        wanted = self.asked.facts.get("json_schema.description")
        if one is self.asked.schema and wanted and ours is not None and self.described(str(wanted.value)):
            ours.setdefault("description", wanted.value)
        inside = [
            loss.field
            for loss in self.losses
            if below(loss.field, one.at) or below(one.at, loss.field) or _sibling(loss.field, one.at)
        ]
        for path, keyword in differences(ours, theirs):
            if keyword == "additionalProperties" and self.closed(one, what, ours, theirs, path):
                continue
            node = one.at + path
            if any(_says(field, node, keyword) for field in inside):
                continue
            self.complain(f"{what}{path}: {keyword} did not arrive and is not named (named: {inside})")

    def closed(self, one: Fact, what: str, ours: Normal | None, theirs: Normal | None, path: str) -> bool:
        """Targets that constrain what the model writes want objects that say so (schemas.md: "forced"). What fits then
        fits the caller's schema, too, unless that said what else there may be.
        """
        strict = one is self.asked.schema or any("strict" in f.marks for f in self.sent.functions if f.name in what)
        mine, other = _node(ours, path), _node(theirs, path)
        return strict and "additionalProperties" not in mine and other.get("additionalProperties") is False

    # ── everything else ────────────────────────────────────────────────────────────

    def compare_facts(self) -> None:
        theirs = dict(self.sent.facts)
        for name, fact in self.asked.facts.items():
            other = theirs.pop(name, None)
            if name == "reasoning" and other is None and self.unsaid(fact.value):
                continue
            if name == "parallel_tool_calls" and other is None and self.calls_nothing():
                continue  # one call at a time of none
            if name == "tool_choice" and self.chosen(fact, other):
                continue
            if name == "show_reasoning" and self.thoughtless():
                continue
            if name == "show_reasoning" and self.sent.shows:
                continue
            if name == "tool_choice" and fact.value["mode"] == "none" and not self.sent.functions:
                continue  # nothing to choose from
            if name == "json_schema.description" and self.described(str(fact.value)):
                continue
            if other is not None and same(name, self.without_named(fact), other.value):
                continue
            if not self.named(fact.at, gone=other is None and not self.may_change(name, fact)):
                self.complain(
                    f"{fact.at}: {frozen(fact.value)[:120]} arrived as {other and frozen(other.value)[:120]}, not named"
                )
        for name, fact in theirs.items():
            if not self.explained(name):
                self.complain(f"{name} = {frozen(fact.value)[:120]} was added and is not named")

    def may_change(self, name: str, fact: Fact) -> bool:
        """May an approximation leave it unsaid? One of some tools must be called: fewer tools say so, too."""
        return name in _MAY_CHANGE or (name == "tool_choice" and bool(fact.value["names"]))

    def without_named(self, fact: Fact) -> Json:
        """A fact without the keys of it that are declared as lost."""
        if not isinstance(fact.value, dict):
            return fact.value
        lost = {loss.field for loss in self.losses if loss.kind == "dropped"}
        return {key: value for key, value in fact.value.items() if f"{fact.at}.{key}" not in lost}

    def unsaid(self, wanted: Json) -> bool:
        """Is it what the target does when nothing is said: not think, or as much as it likes?"""
        return bool(wanted == ({"effort": "none"} if self.sent.asleep else {"budget": -1}))

    def calls_nothing(self) -> bool:
        """Did the caller say that no tool is called?"""
        choice = self.asked.facts.get("tool_choice")
        return choice is not None and choice.value["mode"] == "none"

    def chosen(self, fact: Fact, other: Fact | None) -> bool:
        """Is it about some of the tools, and were these alone sent?"""
        names = sorted(one.name for one in self.sent.functions)
        said = other.value if other is not None else {"mode": "auto", "names": []}
        return said == {"mode": fact.value["mode"], "names": []} and names == sorted(fact.value["names"])

    def thoughtless(self) -> bool:
        """Does the model not think, as asked or as declared? Then there is nothing to show."""
        asked = self.asked.facts.get("reasoning")
        if asked is not None and asked.value in ({"effort": "none"}, {"budget": 0}):
            return True
        return asked is not None and "reasoning" not in self.sent.facts and self.named(asked.at, gone=True)

    def described(self, text: str) -> bool:
        """Did the description of the wanted answer become that of its schema?"""
        schema = self.sent.schema.value if self.sent.schema is not None else None
        return isinstance(schema, dict) and schema.get("description") == text

    def explained(self, name: str) -> bool:
        strict = any("strict" in one.marks for one in self.asked.functions)
        if name == "show_reasoning":
            return "reasoning" in self.asked.facts
        if name == "logprobs":
            return "top_logprobs" in self.asked.facts  # elsewhere these are told only to who asks for the others
        if name == "reasoning" and self.sent.facts[name].value == {"budget": -1}:
            return "show_reasoning" in self.asked.facts
        if name == "validated":
            choice = self.asked.facts.get("tool_choice")
            return strict or (choice is not None and choice.value["mode"] == "auto")
        if name == "tool_choice" and self.sent.facts[name].value["mode"] == "none" and not self.asked.functions:
            return True  # tools that are described for the history alone are called by nobody
        words = tuple(map(_word, _ALSO.get(name, (name,))))
        return any(
            loss.kind in ("invented", "approximated") and _word(loss.field).endswith(words) for loss in self.losses
        )


#: What OpenAI's JSON mode wants a message to say.
PROMPT = "Answer in JSON."


def _small(one: Said) -> bool:
    """Is it a block of the provider's own, a thought, or nothing but blanks? What stands around it comes together
    without it.
    """
    return one.kind in ("block", "reasoning") or (one.kind in ("text", "refusal") and not one.value.strip())


def _squeezed(one: Said) -> str:
    """What it is, without the blanks of thoughts."""
    return f"{one.role} {one.kind} {''.join(one.value.split())}" if one.kind == "reasoning" else one.core


def _word(path: str) -> str:
    """A parameter by its letters: `generationConfig.topP` ends as `top_p` does."""
    return re.sub(r"[^a-z0-9]", "", path.lower())


def _bare(value: Json) -> Json:
    """A medium that hangs on a result: by its bytes, where they stand."""
    return {"bytes": value["bytes"]} if isinstance(value, dict) and value.keys() == {"type", "bytes"} else value


def _heaped(said: Sequence[Said]) -> list[Said]:
    """What a user says in a row with its pictures first: Ollama's messages do not tell where among the texts."""
    out: list[Said] = []
    run: list[Said] = []
    for one in said:
        if one.role == "user" and one.kind in ("text", "media"):
            run.append(one)
            continue
        out += sorted(run, key=lambda two: two.kind == "text")
        run.clear()
        out.append(one)
    return [*out, *sorted(run, key=lambda two: two.kind == "text")]


def _untyped(one: Said) -> Said:
    """Pictures by their bytes alone, where one side does not say their type."""
    if one.kind == "media" and str(one.value.get("type")).startswith("image/"):
        return Said(one.role, one.kind, {**one.value, "type": "image/*"}, one.at, one.marks)
    return one


def _says(field: str, node: str, keyword: str) -> bool:
    """Does a loss name this keyword, or all of the node? A constraint that moved into the description of its node is
    named under its own keyword.
    """
    parent, _, last = _one_or_null(field, node).rpartition(".")
    stands_for = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum", "enum": "type"}  # of texts alone
    return below(node, field) or (parent == node and keyword in ("description", last, stands_for.get(last)))


def _one_or_null(field: str, node: str) -> str:
    """The normal form of a union of one and null is the one: a path in it has a step less."""
    return node + re.sub(r"^\.(anyOf|oneOf|allOf)\[\d+\]", "", field[len(node) :]) if field.startswith(node) else field


def _node(schema: Normal | None, path: str) -> Normal:
    """What stands at a path of a schema in its normal form; nothing where there is no such place."""
    node: Json = schema
    for name, key, listed, index in re.findall(
        r"\.properties\.([^.\[]+)|\.(items|additionalProperties)|\.(\w+)\[(\d+)\]", path
    ):
        if not isinstance(node, dict):
            return {}
        node = dict(node.get("properties") or ()).get(name) if name else node.get(key or listed)
        node = node[int(index)] if index and isinstance(node, list) else node
    return node if isinstance(node, dict) else {}


def _sibling(field: str, at: str) -> bool:
    """`parametersJsonSchema` and `parameters` name the same schema."""
    return field.replace("parametersJsonSchema", "parameters").startswith(
        at.replace("parametersJsonSchema", "parameters")
    )


def aligned(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """Longest common subsequence, as difflib's opcodes (whose own search is not exact)."""
    lengths = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i in range(len(ours) - 1, -1, -1):
        for j in range(len(theirs) - 1, -1, -1):
            same_here = ours[i] == theirs[j]
            lengths[i][j] = lengths[i + 1][j + 1] + 1 if same_here else max(lengths[i + 1][j], lengths[i][j + 1])
    i = j = i1 = j1 = 0
    while i < len(ours) or j < len(theirs):
        if i < len(ours) and j < len(theirs) and ours[i] == theirs[j]:
            if (i1, j1) != (i, j):
                yield ("replace" if i1 < i and j1 < j else "changed", i1, i, j1, j)
            yield ("equal", i, i + 1, j, j + 1)
            i, j = i + 1, j + 1
            i1, j1 = i, j
        elif j == len(theirs) or (i < len(ours) and lengths[i + 1][j] >= lengths[i][j + 1]):
            i += 1
        else:
            j += 1
    if (i1, j1) != (i, j):
        yield ("replace" if i1 < i and j1 < j else "changed", i1, i, j1, j)


def joined(turn: Sequence[Said]) -> Iterator[Said]:
    """The pieces of one text as one: a client of a stream may keep each on its own. Thoughts come in pieces or in
    paragraphs: blanks in them are nobody's words.
    """
    open_: Said | None = None
    for one in turn:
        if one.kind == "reasoning":
            one = Said(one.role, one.kind, "".join(one.value.split()), one.at, one.marks)
        if open_ is not None and one.kind == open_.kind:
            marks = {
                f"{name} {len(open_.marks)}" if name in open_.marks else name: mark for name, mark in one.marks.items()
            }
            open_ = Said(open_.role, open_.kind, open_.value + one.value, open_.at, {**open_.marks, **marks})
            continue
        if open_ is not None:
            yield open_
        open_ = one if one.kind in ("text", "reasoning") else None
        if open_ is None:
            yield one
    if open_ is not None:
        yield open_


def in_turns(said: Sequence[Said]) -> list[Said]:
    """One turn of the model as chat can say it: thinking, texts and media, then calls. Order within each is kept."""
    out: list[Said] = []
    run: list[Said] = []

    def flush() -> Iterator[Said]:
        yield from joined(sorted(run, key=lambda one: ("call" in one.kind, one.kind != "reasoning")))
        run.clear()

    for one in said:
        if one.role == "assistant":
            run.append(one)
        else:
            out += flush()
            out.append(one)
    return [*out, *flush()]


#: Tokens of thought that a word stands for, by the project's tables (anthropic.md and gemini.md, reasoning_effort).
EFFORTS = {
    "none": (0,),
    "minimal": (512, 1024),
    "low": (1024, 2048),
    "medium": (8192,),
    "high": (16384, 24576),
    "xhigh": (24576, 32768),
    "max": (24576, 32768),
}


def same(name: str, one: Json, other: Json) -> bool:
    if name == "reasoning":
        return _same_reasoning(one, other)
    if name == "tool_choice":
        return bool(one["mode"] == other["mode"] and sorted(map(str, one["names"])) == sorted(map(str, other["names"])))
    return frozen(one) == frozen(other)


def _same_reasoning(one: Json, other: Json) -> bool:
    if one == other:
        return True
    if "effort" in one and "budget" in other:
        return int(other["budget"]) in EFFORTS.get(one["effort"], ())
    return False
