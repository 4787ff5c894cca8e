"""Documents that are generated from code: compares them with what the code says, or writes them (--write).

A reference that is written by hand is wrong by the second release. `make check` runs this, `make fix` writes.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the tests are no installed package


def routes() -> str | None:
    """Every key of routes.yaml, from the models that read it; None while there are none."""
    if find_spec("router.config") is None:
        return None
    from router import config

    return config.reference()


def fidelity() -> str | None:
    """What became of recorded traffic, and which feature goes where; None without the tests and what they need."""
    if find_spec("jsonschema") is None:
        return None
    from tests.fidelity import document

    return document.document()


def rosetta() -> str | None:
    """The stone of tests/rosetta. Writing makes its files anew, too."""
    if find_spec("jsonschema") is None:
        return None
    from tests.rosetta import document, stone

    if "--write" in sys.argv:
        for name in stone.write():
            print(f"tests/rosetta/{name}: written")
    return document.document()


DOCUMENTS: dict[str, Callable[[], str | None]] = {
    "docs/routes.md": routes,
    "docs/rosetta.md": rosetta,  # before the page that is made of the stone, too
    "docs/fidelity.md": fidelity,
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--write", action="store_true", help="write the documents instead of comparing")
    write = arguments.parse_args().write
    stale = 0
    for name, generate in DOCUMENTS.items():
        path = ROOT / name
        wanted = generate()
        if wanted is None:
            print(f"{name}: nothing to generate it from yet")
            continue
        wanted = wanted.rstrip("\n") + "\n"
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if found == wanted:
            continue
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
            print(f"{name}: written")
            continue
        stale += 1
        difference = difflib.unified_diff(found.splitlines(), wanted.splitlines(), name, "generated", lineterm="")
        print(*list(difference)[:40], f"{name} is not what the code says: make fix", sep="\n", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
