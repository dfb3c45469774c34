#!/usr/bin/env bash
# packages.sh tests|ci: installs the Debian packages that are missing (as root), or names them.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }

case ${1:-} in
  tests)
    need redis-server redis-server
    need java default-jre-headless # runs Kafka
    need mvn maven                 # fetches Kafka
    need openssl openssl           # makes certificates
    need curl curl                 # the documents use it
    need kcat kcat                 # likewise
    need promtool prometheus       # tests alerts; the server itself is not started
    need chromium chromium         # looks at the admin page
    ;;
  ci)
    need make make
    scripts/python.sh >/dev/null 2>&1 || missing+=(python3 python3-venv)
    ;;
  *)
    echo "usage: $0 tests|ci" >&2
    exit 2
    ;;
esac
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Missing: ${missing[*]} (the names of the Debian packages). Install them, or run this as root on Debian."
  exit 0
fi

# The tests start servers of their own: a service that the package would start is not wanted.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi

echo "Installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
