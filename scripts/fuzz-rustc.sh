#!/usr/bin/env bash
# The compiler for fuzz targets, as cargo calls it (RUSTC_WRAPPER): counts which ways are taken in what reads a
# stranger's bytes, that is our crates, the targets and the parsers below. The rest is compiled as ever: the
# tables of a CSV reader, steps of a regular expression or of a runtime teach the fuzzer nothing, and counting
# them took nine tenths of its time.
set -euo pipefail

parsers="base64 csv email_address form_urlencoded h2 hex http httparse hyper idna ipnet lettre
    percent_encoding quoted_printable rlibphonenumber serde_cbor_2 serde_json toml toml_parser url uuid
    webauthn_rs webauthn_rs_core webauthn_rs_proto winnow"

name= target= previous=
for argument; do
    case $previous in
    --crate-name) name=$argument ;;
    --target) target=$argument ;;
    esac
    previous=$argument
done

# What runs while building is not for a target.
[ -n "$target" ] || exec "$@"
case $name in
keyward*) ;;
*)
    words=" $(echo $parsers $FUZZ_TARGETS) "
    [[ $words == *" $name "* ]] || exec "$@"
    ;;
esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
