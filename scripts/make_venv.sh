#!/bin/sh
# make_venv.sh DIR: a virtual environment made by the first Python >= 3.11 on the path.
# PYTHON=/path/to/python chooses one.
set -eu

directory=$1
for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        "$python" -m venv --clear "$directory" && exit 0
        # Debian packs venv and ensurepip apart from Python.
        echo "isthmus: '$python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2
        rm -rf "$directory"
        exit 1
    fi
done
echo "isthmus: no Python >= 3.11 found (tried: ${PYTHON:-python3, python3.11 to python3.14, python})" >&2
exit 1
