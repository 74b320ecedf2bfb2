#!/usr/bin/env bash
# Tries the alert rules of ops/ on made-up series with promtool, the tool of Prometheus for it.
#
# Where promtool is not on the machine, Debian's package is unpacked into target/promtool: installing it
# would start a Prometheus.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

folder=target/promtool
promtool=$(command -v promtool || echo "$folder/usr/bin/promtool")
if [ ! -x "$promtool" ]; then
    command -v apt-get >/dev/null || fail "it takes promtool, which is part of Prometheus: install that first"
    say "unpacking Debian's package prometheus into $folder, for its promtool"
    rm -rf "$folder"
    mkdir -p "$folder"
    chmod 755 "$folder"
    download() { (cd "$folder" && apt-get download --quiet --option APT::Sandbox::User=root prometheus); }
    # A new machine has no list of packages yet.
    download || { [ "$(id -u)" -eq 0 ] && apt-get update -qq && download; } ||
        fail "the package could not be fetched; as root, apt-get update may help"
    dpkg-deb --extract "$folder"/prometheus_*.deb "$folder"
fi
"$promtool" check rules ops/alert-rules.yml
"$promtool" test rules ops/alert-rules.test.yml
