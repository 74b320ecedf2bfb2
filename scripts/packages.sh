# For scripts that need system packages: read with `. scripts/packages.sh`.
# shellcheck shell=bash

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*"; }
fail() {
    printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
    exit 1
}

is_apt_fresh=
# install_package PACKAGE REASON
install_package() {
    local package=$1 reason=$2 as_root=()
    if ! command -v apt-get >/dev/null; then
        fail "$reason. Install what Debian calls '$package', then run this again."
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            fail "$reason. Run as root: apt-get install $package"
        fi
        as_root=(sudo)
    fi
    say "installing the system package $package: $reason"
    if [ -z "$is_apt_fresh" ]; then
        "${as_root[@]}" apt-get update -qq
        is_apt_fresh=yes
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --no-install-recommends "$package"
}
