#!/bin/sh
# setup_clients.sh python LIST DIR | node DIR | engine DIR | system PACKAGE...: one environment that tests use
# besides .venv.
# A machine that cannot have it (no npm, no registry, no root) still runs all other tests: this script then
# says why and succeeds, the mark DIR/.ready is missing, and the tests that need it are skipped with a reason.
set -eu

what=$1
shift
skip() {
    echo "isthmus: $1; the tests that need it will be skipped" >&2
    exit 0
}

case $what in
python)
    scripts/make_venv.sh "$2" || skip "no environment for tests/clients/$1"
    "$2/bin/python" -m pip --disable-pip-version-check --no-input -qq install --require-hashes --no-deps \
        -r "tests/clients/$1/constraints.txt" || skip "tests/clients/$1 could not be installed"
    touch "$2/.ready"
    ;;
engine)
    command -v c++ >/dev/null || skip "no C++ compiler here"
    scripts/make_venv.sh "$1" || skip "no environment for the engine"
    # Small, and the same on every processor; only the library is wanted. Not optimised: its model is tiny, and the
    # compiler would take three times as long.
    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_CUDA=OFF -DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF -DLLAMA_CURL=OFF"
    CMAKE_ARGS="$CMAKE_ARGS -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF"
    CMAKE_ARGS="$CMAKE_ARGS -DCMAKE_C_FLAGS_RELEASE=-O0 -DCMAKE_CXX_FLAGS_RELEASE=-O0"
    export CMAKE_ARGS
    "$1/bin/python" -m pip --disable-pip-version-check --no-input -qq install --require-hashes --no-deps \
        -r tests/engine/constraints.txt || skip "the engine could not be compiled"
    touch "$1/.ready"
    ;;
node)
    command -v node >/dev/null && command -v npm >/dev/null || skip "node and npm are not here"
    (cd "$1" && npm ci --silent) || skip "npm could not install the JavaScript clients"
    touch "$1/node_modules/.ready"
    ;;
system)
    missing=
    for package in "$@"; do
        dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || exit 0
    command -v apt-get >/dev/null || skip "not a Debian system, not looking for$missing"
    [ "$(id -u)" = 0 ] || skip "not root, not installing$missing"
    echo "installing$missing (make test APT= installs none)"
    # Tests start these programs themselves on free ports; the packages must not start them as services.
    guard=/usr/sbin/policy-rc.d
    if [ ! -e $guard ]; then
        trap 'rm -f $guard' EXIT
        printf '#!/bin/sh\nexit 101\n' >$guard
        chmod +x $guard
    fi
    export DEBIAN_FRONTEND=noninteractive
    install() {
        # shellcheck disable=SC2086
        apt-get install -qq --no-install-recommends $missing >/dev/null 2>&1
    }
    # A machine whose package lists are new enough is spared the update.
    install || { apt-get update -qq && install; } || skip "apt-get could not install$missing"
    ;;
*)
    echo "usage: setup_clients.sh python LIST DIR | node DIR | engine DIR | system PACKAGE..." >&2
    exit 2
    ;;
esac
