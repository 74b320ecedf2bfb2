#!/usr/bin/env bash
# Builds what is committed twice, in two folders whose names differ in length, and compares the two binaries
# byte by byte. Takes two release builds. With --first or --second only that one is built, the second of
# the same commit as the first.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

which=${1:-both}
base=${CARGO_TARGET_DIR:-$PWD/target}/reproduce
first=$base/a
second=$base/another-place/with-a-longer-name

# build FOLDER
build() {
    local commit
    commit=$(cat "$base/commit")
    rm -rf "$1"
    mkdir -p "$1/source"
    git archive "$commit" | tar -x -C "$1/source"
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit") "$1/source/scripts/release.sh" "$1/built"
}

if [ "$which" != --second ]; then
    mkdir -p "$base"
    git rev-parse HEAD >"$base/commit"
    build "$first"
fi
[ "$which" != --first ] || exit 0
build "$second"

sha256sum "$first/built/keyward" "$second/built/keyward"
cmp "$first/built/keyward" "$second/built/keyward" || fail "the two binaries differ"
for path in "$base" "${CARGO_HOME:-$HOME/.cargo}" "$(rustc --print sysroot)"; do
    if grep -q -a -F -e "$path" "$second/built/keyward"; then
        fail "a path of this machine is in the binary: $path"
    fi
done
say "the same bytes, and no path of this machine in them"
