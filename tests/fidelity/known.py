"""What is not faithful yet, and why: every entry is a recorded case that fails, by what fails and its id.

An entry whose case no longer fails makes the tests fail: it must go.
"""

from __future__ import annotations

#: (row of the report, case) -> reason
_JOINED = "the recorder wrote several streams into one: what follows the end is not read"
KNOWN: dict[tuple[str, str], str] = {
    ("relay stream whole anthropic", "vai-anthropic-messages-92c0db9b29"): _JOINED,
    ("relay stream whole anthropic", "vai-anthropic-messages-f674c9fdc3"): _JOINED,
    ("relay stream 3 anthropic", "vai-anthropic-messages-92c0db9b29"): _JOINED,
    ("relay stream 3 anthropic", "vai-anthropic-messages-f674c9fdc3"): _JOINED,
    ("relay stream whole openai-responses", "vai-openai-responses-9a48912a8c"): _JOINED,
    ("relay stream 3 openai-responses", "vai-openai-responses-9a48912a8c"): _JOINED,
}
_CUT = "the recorder cut the picture short: Google's client wants whole base64"
KNOWN |= {
    ("answer openai-responses -> gemini", "vai-openai-responses-a87b2d657a"): _CUT,
    ("stream openai-responses -> gemini", "vai-openai-responses-3a44ca5481"): _CUT,
}

#: How many cases `tests/traffic` has, and how many of them are chats in these languages. The others are embeddings,
#: counts, lists and older or other interfaces, which have tests of their own or none.
RECORDED = (1688, 1560)

#: Differences that are none, and why: what the comparisons let pass without a named loss.
SAME: list[tuple[str, str]] = [
    ("defaults left out (`temperature: 1`, `n: 1`, `tool_choice: auto`)", "they say what is done anyway (fidelity.md)"),
    (
        "`strict` tools towards Gemini as mode VALIDATED, ANY or NONE",
        "there every call is held to its schema (gemini.md)",
    ),
    ("`additionalProperties: false` in schemas that answers are held to", "forced by the target; what fits still fits"),
    ("`const` for `enum`, `oneOf` for `anyOf`, references put in place, ...", "other words for the same constraint"),
    ("a word of effort as the number of tokens in the project's tables", "`minimal` 512 or 1,024 ... `max` 32,768"),
    ("no thinking not said to models that think only when asked", "it is what they do; others are told"),
    ("thinking shown unasked, or asked for to be shown where it is asked for", "more is told, nothing is lost"),
    ("tools that may not be used this time not shown", "the choice of the caller leaves them out"),
    ("a wish for one call at a time dropped where none may be called", "there is none"),
    ("order of results of parallel calls", "they are paired by id or name"),
    (
        "texts and thoughts of one turn as one, calls behind them",
        "what Chat can say of a turn; blanks of thoughts vary",
    ),
    ("a tool's text that is a JSON object as that object, and back", "the same value"),
    ("pictures to Ollama without type, and without place among the texts", "its messages hold bytes beside one text"),
    ("free text around a sentence about JSON, an empty turn filled", "declared as invented or approximated"),
    ("counts that the caller's convention lacks", "Ollama has two totals, Gemini no cache writes, Responses no sound"),
    (
        "a call's id and signature not told to callers of Ollama",
        "remembered by the gateway, put back by name and arguments",
    ),
    (
        "thinking of a turn that ended in words forgotten by callers who cannot carry it",
        "its own provider leaves it out",
    ),
    ("what repeats the request in an answer, ids of items, times, bills", "no part of the answer; the rest is named"),
]
