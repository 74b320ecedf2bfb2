#!/usr/bin/env bash
# Builds the one binary so that the same source gives the same bytes, in whatever folder and for whomever:
# scripts/release.sh [FOLDER], which gets the binary as FOLDER/keyward (target/reproducible). Prints its
# SHA-256 and path.
#
# The same takes the same Rust (rust-toolchain.toml), the same C compiler and linker (told at the end), and
# the versions of Cargo.lock. No path of this machine is in what is built: neither in Rust's panics and line
# tables nor in those of the C code, SQLite, AWS-LC and mimalloc.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo=${CARGO:-cargo}
tree=$PWD
folder=${1:-target/reproducible}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
home=${CARGO_HOME:-$HOME/.cargo}
rust=$(rustc --print sysroot)

# The later of two that match counts: the target folder may lie within the tree.
flags=
for pair in "$home=/cargo" "$rust=/rust" "$tree=/keyward" "$folder=/built"; do
    flags+=" --remap-path-prefix=$pair"
    CFLAGS="${CFLAGS:-} -ffile-prefix-map=$pair"
done
# Where sources of a registry lie is named after it; who uses another one gets the same.
for registry in "$home"/registry/src/*/; do
    flags+=" --remap-path-prefix=${registry%/}=/registry"
    CFLAGS+=" -ffile-prefix-map=${registry%/}=/registry"
done
export RUSTFLAGS="${flags# }" CFLAGS CXXFLAGS="$CFLAGS"
export CARGO_INCREMENTAL=0
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
export TZ=UTC LC_ALL=C.UTF-8

"$cargo" build --release --locked -p keyward --target-dir "$folder"
cp "$folder/release/keyward" "$folder/keyward"
printf 'built with %s, %s, %s\n' "$(rustc --version)" "$(cc --version | head -n 1)" \
    "$(ld --version | head -n 1)" >&2
sha256sum "$folder/keyward"
