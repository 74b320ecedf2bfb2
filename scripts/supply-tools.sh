#!/usr/bin/env bash
# Installs what looks at the dependencies, into target/tools: cargo-deny and cargo-cyclonedx, from crates.io,
# each at one version. Takes about two minutes the first time and no time afterwards.
# scripts/supply-tools.sh deny|cyclonedx
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

tool=${1:-}
case $tool in
deny) version=0.20.2 ;;
cyclonedx) version=0.5.9 ;;
*) fail "which one: deny or cyclonedx" ;;
esac
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools
if [ ! -x "$tools/bin/cargo-$tool" ]; then
    say "installing cargo-$tool $version into $tools"
    # Not optimized: it runs for seconds, and would take minutes to build.
    CARGO_TARGET_DIR="$tools/build" CARGO_PROFILE_DEV_DEBUG=0 \
        "${CARGO:-cargo}" install "cargo-$tool" --version "$version" --locked --debug --root "$tools"
    rm -rf "$tools/build"
fi
