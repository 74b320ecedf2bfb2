#!/usr/bin/env bash
# Installs what the tests need beside Rust: a C compiler (SQLite is built from source), curl, a Python
# virtual environment with the official client and Schemathesis in target/e2e/python, Chromium with
# what drives it in target/e2e/browser, the official TypeScript client in target/e2e/typescript, and Pebble, the
# ACME server with which Let's Encrypt has clients tested.
#
# Does nothing, and does it at once, when all of that is there. System packages are installed with
# apt-get when this runs as root or sudo exists; otherwise it says what to install and stops.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

. scripts/packages.sh

# sum_of FILE...: names their content.
sum_of() {
    cat "$@" | sha256sum | cut -d ' ' -f 1
}

# A folder's stamp names what it was made from. It is written last, so a half-made one has none.
# is_made_from FOLDER SUM
is_made_from() {
    [ -f "$1/stamp.sha256" ] && [ "$(<"$1/stamp.sha256")" = "$2" ]
}

make_python_environment() {
    local requirements=e2e/clients/python/requirements.txt environment=target/e2e/python wanted
    wanted=$(sum_of "$requirements")
    if is_made_from "$environment" "$wanted" &&
        "$environment/bin/python" -c 'import sent_dm' 2>/dev/null; then
        say "$environment is there: the official Python client, and Schemathesis"
        return
    fi
    # Debian keeps both modules in python3-venv; without ensurepip an environment has no pip.
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        install_package python3-venv "the official Python client runs in a virtual environment"
    fi
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Schemathesis needs Python 3.11 or newer; found $(python3 --version)"
    say "making $environment with what drives the server from Python ($(grep -v '^#' "$requirements" | xargs)): the tests drive the server with it"
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
    "$environment/bin/python" -c 'import sent_dm'
    printf '%s\n' "$wanted" >"$environment/stamp.sha256"
}

need_node() {
    command -v node >/dev/null ||
        install_package nodejs "the browser and the TypeScript client are driven by scripts for Node.js"
    node -e 'process.exitCode = parseInt(process.versions.node) < 18 ? 1 : 0' ||
        fail "the browser's driver needs Node.js 18 or newer; found $(node --version)"
}

# make_node_folder FROM NAME WHAT: installs what FROM/package-lock.json names into target/e2e/NAME.
make_node_folder() {
    local from=$1 folder=target/e2e/$2 what=$3 wanted
    wanted=$(sum_of "$from/package.json" "$from/package-lock.json")
    if is_made_from "$folder" "$wanted" && [ -d "$folder/node_modules" ]; then
        say "$folder is there: $what"
        return
    fi
    command -v npm >/dev/null ||
        install_package npm "it installs $what"
    say "making $folder: $what"
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$from/package.json" "$from/package-lock.json" "$folder"
    (cd "$folder" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 \
        npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error)
    printf '%s\n' "$wanted" >"$folder/stamp.sha256"
}

command -v gcc >/dev/null || command -v cc >/dev/null ||
    install_package build-essential "SQLite is built from source and needs a C compiler"
command -v curl >/dev/null ||
    install_package curl "the README's commands are tried with curl"
{ command -v pebble && command -v pebble-challtestsrv; } >/dev/null ||
    install_package pebble "certificates are ordered by ACME from a real server, Let's Encrypt's for tests"
make_python_environment
[ -x /usr/bin/chromium ] ||
    install_package chromium "the pages are tested in a real browser"
need_node
make_node_folder e2e/browser browser "what drives Chromium (playwright-core), and the rules for accessible pages (axe-core)"
make_node_folder e2e/clients/typescript typescript "the official TypeScript client"
say "everything is there"
