#!/usr/bin/env bash
# Installs what the tests need beside Rust: a C compiler (SQLite is built from source), curl, and a
# Python virtual environment with the official client, in target/e2e/python.
#
# Does nothing, and does it at once, when all of that is there. System packages are installed with
# apt-get when this runs as root or sudo exists; otherwise it says what to install and stops.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

requirements=e2e/clients/python/requirements.txt
environment=target/e2e/python
# Names the requirements that the environment was made from; written last, so a half-made one has none.
stamp="$environment/requirements.sha256"

say() { printf 'test-tools: %s\n' "$*"; }
fail() {
    printf 'test-tools: %s\n' "$*" >&2
    exit 1
}

is_apt_fresh=
# install_package PACKAGE REASON
install_package() {
    local package=$1 reason=$2 as_root=()
    if ! command -v apt-get >/dev/null; then
        fail "$reason. Install what Debian calls '$package', then run this again."
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            fail "$reason. Run as root: apt-get install $package"
        fi
        as_root=(sudo)
    fi
    say "installing the system package $package: $reason"
    if [ -z "$is_apt_fresh" ]; then
        "${as_root[@]}" apt-get update -qq
        is_apt_fresh=yes
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --no-install-recommends "$package"
}

command -v gcc >/dev/null || command -v cc >/dev/null ||
    install_package build-essential "SQLite is built from source and needs a C compiler"
command -v curl >/dev/null ||
    install_package curl "the README's commands are tried with curl"

wanted=$(sha256sum "$requirements" | cut -d ' ' -f 1)
if [ -f "$stamp" ] && [ "$(<"$stamp")" = "$wanted" ] &&
    "$environment/bin/python" -c 'import sent_dm' 2>/dev/null; then
    say "everything is there: C compiler, curl, and the official Python client in $environment"
    exit 0
fi

# Debian keeps both modules in python3-venv; without ensurepip an environment has no pip.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    install_package python3-venv "the official Python client runs in a virtual environment"
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    fail "the official Python client needs Python 3.9 or newer; found $(python3 --version)"

say "making $environment with the official Python client ($(grep -v '^#' "$requirements" | xargs)): the tests drive the server with it"
rm -rf "$environment"
python3 -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
"$environment/bin/python" -c 'import sent_dm'
printf '%s\n' "$wanted" >"$stamp"
say "done"
