#!/usr/bin/env bash
# Installs from Debian what `make bench` needs beside Rust, when it is missing: wrk makes the load,
# HAProxy and nginx are what Keyward is measured against, Python runs it all.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/packages.sh

command -v python3 >/dev/null || install_package python3 "it runs the benchmark"
command -v wrk >/dev/null || install_package wrk "it makes the load"
# Where an ordinary user does not look for them.
PATH=$PATH:/usr/sbin
command -v haproxy >/dev/null || install_package haproxy "Keyward is measured against it"
command -v nginx >/dev/null || install_package nginx-light "Keyward is measured against it"
say "everything is there"
