#!/usr/bin/env bash
# Writes the bill of materials of the binary, CycloneDX 1.5: scripts/sbom.sh [BINARY]. The library tool
# cargo-cyclonedx lists what Cargo has resolved; scripts/sbom.py makes of it what is really in the binary,
# adds the C code within, and checks it against `cargo tree` and, if a binary is named, against that.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

binary=${1:-}
command -v python3 >/dev/null || install_package python3 "it completes the bill of materials"
scripts/supply-tools.sh cyclonedx
target=${CARGO_TARGET_DIR:-$PWD/target}
host=$(rustc -vV | sed -n 's/^host: //p')
cargo=${CARGO:-cargo}
work=$(mktemp -d)
trap 'rm -rf "$work" crates/*/sbom-raw.json' EXIT
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

"$target/tools/bin/cargo-cyclonedx" cyclonedx --quiet --manifest-path crates/keyward/Cargo.toml \
    --format json --spec-version 1.5 --target "$host" --no-build-deps --override-filename sbom-raw
tree() {
    "$cargo" tree --locked -p keyward --target "$host" --prefix none --no-dedupe --format '{p}' --edges "$1"
}
tree normal >"$work/tree"
tree normal,no-proc-macro >"$work/linked"
"$cargo" metadata --locked --format-version 1 --filter-platform "$host" >"$work/metadata"
mkdir -p "$target/sbom"
python3 scripts/sbom.py crates/keyward/sbom-raw.json "$target/sbom/keyward.cdx.json" \
    --tree "$work/tree" --linked "$work/linked" --metadata "$work/metadata" --rustc "$(rustc -vV)" \
    ${binary:+--binary "$binary"}
