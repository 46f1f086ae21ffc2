#!/bin/sh
# Installs by apt what the machine lacks. For `speech`, the offline voice. Else for all tests: real browsers,
# libopus, openssl, network namespaces, compilers and runtimes for programs that are measured beside voicegate or
# talk to it, and voices.
set -eu
missing=""
need() { # need PACKAGE COMMAND...: PACKAGE is missing when none of the commands is there
    package=$1; shift
    for command in "$@"; do command -v "$command" >/dev/null 2>&1 && return; done
    missing="$missing $package"
}
need espeak-ng espeak-ng
if [ "${1:-}" != speech ]; then
    need chromium chromium chromium-browser google-chrome
    need firefox-esr firefox-esr firefox
    need openssl openssl
    need iproute2 ip
    need util-linux unshare
    need gcc gcc
    need golang-go go
    need nodejs node
    need npm npm
    need flite flite
    need kubernetes-client kubectl
    need redis-server redis-server
    need systemd systemd-analyze
    [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
    [ -e /usr/include/openssl/evp.h ] || missing="$missing libssl-dev"
    ldconfig -p 2>/dev/null | grep -q 'libopus\.so\.0' || missing="$missing libopus0"
fi
[ -z "$missing" ] && exit 0
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing by apt:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
