#!/usr/bin/env bash
# Checks what the dependencies are: licences, sources, banned and doubled crates, as deny.toml says. Of the
# fuzz targets and the benchmark's peers as well, for their locks are committed too.
# scripts/deny.sh [check WHICH...]; without words: check licenses bans sources.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/supply-tools.sh deny
deny=${CARGO_TARGET_DIR:-target}/tools/bin/cargo-deny
[ $# -gt 0 ] || set -- check licenses bans sources
"$deny" --locked --log-level error "$@"
# What is not in a release may have what it likes twice, but not licences or sources that we do not know.
for manifest in fuzz/Cargo.toml bench/peers/Cargo.toml; do
    "$deny" --locked --log-level error --manifest-path "$manifest" --config deny.toml check \
        --allow unnecessary-skip --allow unmatched-skip --allow duplicate --allow license-not-encountered \
        licenses bans sources
done
