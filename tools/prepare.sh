#!/usr/bin/env bash
# What `make setup` needs of the machine: a Python with venv, and Mosquitto if it can be had.
# `browser`, `postgresql` and `promtool` are for the build machine: tests open pages in Chromium, keep
# the control plane's history in a real PostgreSQL, and ask promtool about the alerts.
# Usage: tools/prepare.sh venv FOLDER | mosquitto | browser | postgresql | promtool
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

apt_install() {
    # Quiet unless it fails; fails when this user may not install or apt is not there.
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || return 1
    say "installing $* with apt"
    local log
    log=$(mktemp)
    if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
        rm -f "$log"
    else
        tail -n 5 "$log" >&2
        rm -f "$log"
        return 1
    fi
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && is_new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "Module Gateway needs Python 3.11 or newer, and there is none on the PATH."
    say "Install one (Debian 12, Ubuntu 24.04: apt install python3) or name it: make run PYTHON=/path/to/python3"
    exit 1
}

make_venv() {
    local python
    is_new_enough "$1/bin/python" && "$1/bin/python" -m pip --version >/dev/null 2>&1 && return
    python=$(find_python)
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        local version
        version=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if ! apt_install python3-venv && ! apt_install "$version"; then
            say "This Python cannot make virtual environments. As root: apt install python3-venv"
            exit 1
        fi
    fi
    rm -rf "$1"
    "$python" -m venv "$1"
}

find_mosquitto() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v mosquitto >/dev/null && return
    apt_install mosquitto && return
    say "Mosquitto is not installed and cannot be installed from here: the slower embedded broker"
    say "will carry the messages. Better, as root: apt install mosquitto"
}

find_browser() {
    command -v chromium >/dev/null && command -v chromedriver >/dev/null && return
    apt_install chromium chromium-driver && return
    say "Chromium and its driver are not installed and cannot be installed from here: the tests that"
    say "open pages in a browser are skipped. As root: apt install chromium chromium-driver"
}

find_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return
    command -v initdb >/dev/null && return
    apt_install postgresql && return
    say "PostgreSQL is not installed and cannot be installed from here: the tests of the control"
    say "plane's second database are skipped. As root: apt install postgresql"
}

find_promtool() {
    # Only this one program: the package would start a server as well.
    command -v promtool >/dev/null && return
    local folder
    folder=$(mktemp -d)
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq >&2 \
        && (cd "$folder" && apt-get download -qq prometheus >&2 && dpkg-deb -x prometheus_*.deb .) \
        && install -m 755 "$folder/usr/bin/promtool" /usr/local/bin/promtool; then
        rm -rf "$folder"
        return
    fi
    rm -rf "$folder"
    say "promtool is not installed and cannot be installed from here: the tests that try the alerts"
    say "are skipped. It is in the distribution's package prometheus."
}

case "${1:-}" in
    venv) make_venv "$2" ;;
    mosquitto) find_mosquitto ;;
    browser) find_browser ;;
    postgresql) find_postgresql ;;
    promtool) find_promtool ;;
    *)
        say "usage: $0 venv FOLDER | mosquitto | browser | postgresql | promtool"
        exit 2
        ;;
esac
