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
