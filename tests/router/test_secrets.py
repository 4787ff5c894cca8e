"""Secrets are found where they are, and are not seen where they should not be."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from router.secrets import MOST_BYTES, BadReference, Secret, Secrets, Unresolved, check_reference


def test_a_secret_is_never_shown() -> None:
    """Whatever prints, formats or copies a secret gets three stars."""
    secret = Secret("sk-canary")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>20}", f"{[secret]}", "{}".format(*[secret])]

    assert "canary" not in "".join(shown)
    assert secret.reveal() == "sk-canary"


@pytest.mark.parametrize("leak", [pickle.dumps, copy.deepcopy, copy.copy])
def test_a_secret_is_not_written_anywhere(leak: object) -> None:
    """Nothing that serialises takes a secret along."""
    with pytest.raises(TypeError, match="not written"):
        leak(Secret("sk-canary"))  # type: ignore[operator]


def test_secrets_are_compared_by_value() -> None:
    """Two secrets of the same text are the same; nothing else is a secret."""
    assert Secret("é") == Secret("é")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [("env:NAME", "env"), ("file:/run/secrets/key", "file"), ("sk-123", "literal"), ("sk:with:colons", "literal")],
)
def test_references_have_a_kind(text: str, kind: str) -> None:
    """Two prefixes are references; everything else is a secret that is written out."""
    assert check_reference(text) == kind


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("env:", "env:NAME"),
        ("env:a b", "env:NAME"),
        ("file:", "file:PATH"),
        ("$KEY", "env:KEY"),
        ("${KEY}", "env:KEY"),
        ("os.environ/KEY", "env:KEY"),
        ("ENV:KEY", "env:KEY"),
        ("env: KEY", "env:NAME"),
        ("  ", "env:NAME"),
    ],
)
def test_spellings_of_other_tools_are_no_secrets(text: str, hint: str) -> None:
    """What looks like a reference, and is none, is refused with the right spelling."""
    with pytest.raises(BadReference, match=hint):
        check_reference(text)


def test_variables_and_files_are_resolved(tmp_path: Path) -> None:
    """The end of a file's last line is not part of the key."""
    (tmp_path / "key").write_text("from-file\n")
    secrets = Secrets({"KEY": "from-env"}, tmp_path)

    assert secrets.resolve("env:KEY").reveal() == "from-env"
    assert secrets.resolve("file:key").reveal() == "from-file"
    assert secrets.resolve(secrets.literal("written-out")).reveal() == "written-out"
    assert secrets.resolve(secrets.literal("another")).reveal() == "another"


def test_files_are_read_once(tmp_path: Path) -> None:
    """A key that changes takes effect with the next table, not in the middle of this one."""
    (tmp_path / "key").write_text("old")
    secrets = Secrets({}, tmp_path)
    secrets.resolve("file:key")
    (tmp_path / "key").write_text("new")

    assert secrets.resolve("file:key") == Secret("old")
    assert Secrets({}, tmp_path).resolve("file:key") == Secret("new")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("env:UNSET", "the environment variable UNSET is not set"),
        ("env:EMPTY", "the environment variable EMPTY is not set"),
        ("env:ODD", "the environment variable ODD holds control characters"),
        ("file:none", "the file none cannot be read: No such file or directory"),
        ("file:.", "the file . cannot be read: Is a directory"),
        ("file:empty", "the file empty is empty"),
        ("file:binary", "the file binary is not text"),
        ("file:big", f"the file big has more than {MOST_BYTES} bytes"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, reference: str, message: str) -> None:
    """The complaint names the variable or file, and never a value."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "big").write_text("x" * (MOST_BYTES + 1))
    secrets = Secrets({"EMPTY": " ", "ODD": "canary\x00canary"}, tmp_path)

    with pytest.raises(Unresolved) as raised:
        secrets.resolve(reference)
    assert str(raised.value) == message
    assert secrets.get(reference) is None


def test_the_resolver_shows_nothing(tmp_path: Path) -> None:
    """Neither do the settings that hold it."""
    secrets = Secrets({"KEY": "sk-canary"}, tmp_path)
    secrets.resolve("env:KEY")

    assert "canary" not in repr(secrets)
