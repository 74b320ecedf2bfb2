#!/usr/bin/env bash
# Counts the instructions of the pieces of the hot path with callgrind, per call: the difference between
# many calls and half as many. The numbers are the same in every run of the same program.
#
# Installs Debian's valgrind when it is missing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

command -v valgrind >/dev/null ||
    install_package valgrind "it counts instructions"

built=$("${CARGO:-cargo}" bench --locked -p keyward-core --bench instructions --no-run --message-format json 2>/dev/null |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$built" ] || fail "the program to be measured was not built: try cargo bench -p keyward-core --no-run"

# collected PIECE TIMES
collected() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$built" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# per_call PIECE
per_call() {
    local many half
    many=$(collected "$1" 4000)
    half=$(collected "$1" 2000)
    printf '%d' $(((many - half) / 2000))
}

digest=$(per_call digest)
printf 'instructions a call\n'
for piece in parse find window; do
    printf '  %-28s %6d\n' "$piece" "$(per_call "$piece")"
done
for piece in verify verify-and-count refuse; do
    printf '  %-28s %6d\n' "$piece, without digest" $(($(per_call "$piece") - digest))
done
printf '  %-28s %6d\n' 'digest, portable' "$digest"
