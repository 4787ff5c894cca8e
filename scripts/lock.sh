#!/bin/sh
# lock.sh TOOLS [--upgrade]: writes every lock file from pyproject.toml, tests/clients and tests/engine.
# Pins that still fit stay as they are, unless --upgrade is given. Lock files hold hashes and no addresses:
# whoever installs takes them from their own index, and gets the same bytes or an error.
set -eu

tools=$1
shift
cd "$(dirname "$0")/.."

[ -x "$tools/bin/python" ] || scripts/make_venv.sh "$tools"
"$tools/bin/python" -m pip --disable-pip-version-check --no-input -qq install 'uv>=0.9'

lock() {
    "$tools/bin/uv" --quiet --no-config pip compile --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-header "$@"
}

# Development first: the runtime lock takes its versions, so that what is tested is what is served.
lock pyproject.toml --group dev --output-file constraints-dev.txt "$@"
lock pyproject.toml --group build --group chats --constraints constraints-dev.txt --output-file constraints.txt "$@"
lock --group fuzz --output-file tests/fuzz/constraints.txt "$@"
lock tests/engine/requirements.in --output-file tests/engine/constraints.txt "$@"
for list in older agents; do
    lock "tests/clients/$list/requirements.in" --output-file "tests/clients/$list/constraints.txt" "$@"
done

if command -v npm >/dev/null; then
    for list in node gemini_cli; do
        case " $* " in
            *" --upgrade "*) rm -f "tests/clients/$list/package-lock.json" ;;
        esac
        (cd "tests/clients/$list" && npm install --package-lock-only --silent)
    done
else
    echo "isthmus: npm is not here; the package-lock.json files are left as they are" >&2
fi
