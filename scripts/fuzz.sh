#!/usr/bin/env bash
# Feeds made-up input to everything that reads a stranger's bytes, and stops at the first panic, hang or
# leak: scripts/fuzz.sh [OPTIONS] [TARGET...]
#
#   --runs N          executions of each target (10,000,000)
#   --seconds N       but no longer than this for each (120)
#   --sanitizer NAME  none, or address: slower, and told of leaks and of what C code does to memory
#   --list            only list the targets
#
# Without targets all of them run. Each input may take 5 s and 1 GiB. What was found interesting is kept in
# target/fuzz/corpus and built upon the next time; the seeds are in fuzz/seeds. An input that fails is left
# in target/fuzz/artifacts: make a test of it.
#
# Needs a C++ compiler, for libFuzzer is built from source. The toolchain is the pinned stable one: coverage
# is a pass of LLVM's that it knows. AddressSanitizer is not stable, so there RUSTC_BOOTSTRAP is set.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

runs=10000000
seconds=120
sanitizer=none
targets=()
is_list=
while [ $# -gt 0 ]; do
    case $1 in
    --runs) runs=$2 && shift ;;
    --seconds) seconds=$2 && shift ;;
    --sanitizer) sanitizer=$2 && shift ;;
    --list) is_list=yes ;;
    -*) fail "there is no option $1: see the head of scripts/fuzz.sh" ;;
    *) targets+=("$1") ;;
    esac
    shift
done

all=()
for file in fuzz/*/src/bin/*.rs; do
    all+=("$(basename "$file" .rs)")
done
if [ -n "$is_list" ]; then
    printf '%s\n' "${all[@]}"
    exit
fi
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")

command -v c++ >/dev/null || install_package g++ "libFuzzer is written in C++"

host=$(rustc -vV | sed -n 's/^host: //p')
folder=${CARGO_TARGET_DIR:-target}/fuzz
# So that everything is built anew when other crates are counted.
flags="--cfg=fuzz_rules=\"$(cksum <scripts/fuzz-rustc.sh | cut -d' ' -f1)\""
case $sanitizer in
none) built=$folder ;;
address)
    export RUSTC_BOOTSTRAP=1
    flags+=" -Zsanitizer=address"
    built=$folder/address
    ;;
*) fail "there is no sanitizer $sanitizer: none or address" ;;
esac

bins=()
for target in "${targets[@]}"; do
    ls fuzz/*/src/bin/"$target".rs >/dev/null 2>&1 || fail "there is no target $target; --list lists them"
    bins+=(--bin "$target")
done
# Only for the host: what runs while building is not to be instrumented.
FUZZ_TARGETS="${all[*]}" RUSTC_WRAPPER=$PWD/scripts/fuzz-rustc.sh RUSTFLAGS="$flags ${RUSTFLAGS:-}" \
    "${CARGO:-cargo}" build --release --locked \
    --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$built" "${bins[@]}"

failed=()
table=
for target in "${targets[@]}"; do
    corpus=$folder/corpus/$target
    artifacts=$folder/artifacts/$target
    log=$folder/$target.log
    mkdir -p "$corpus" "$artifacts"
    # A name of a host that is longer takes the library quadratic time, and may have 255 bytes anyway.
    length=2048
    [ "$target" != webhook_url ] || length=512
    options=(-runs="$runs" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len="$length")
    options+=(-print_final_stats=1 -verbosity=1 -artifact_prefix="$artifacts/")
    [ ! -f "fuzz/dictionaries/$target.dict" ] || options+=(-dict="fuzz/dictionaries/$target.dict")
    seeds=()
    [ ! -d "fuzz/seeds/$target" ] || seeds=("fuzz/seeds/$target")
    began=$SECONDS
    say "$target, $runs executions or $seconds s"
    outcome=passed
    "$built/$host/release/$target" "${options[@]}" "$corpus" "${seeds[@]}" >"$log" 2>&1 || {
        outcome=FAILED
        failed+=("$target")
        tail -n 40 "$log"
    }
    took=$((SECONDS - began))
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    table+=$(printf '%-16s %12s %9s %8s %9s  %s' "$target" "${count:-?}" "$took" "${covered:-?}" \
        "${peak:-?}" "$outcome")$'\n'
done
printf '\n%-16s %12s %9s %8s %9s\n%s' target executions seconds edges 'peak MiB' "$table"
[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]}; the inputs are in $folder/artifacts"
