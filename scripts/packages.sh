#!/usr/bin/env bash
# packages.sh tests|ci: installs missing Debian packages (as root), or lists them.
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
    need curl curl                 # the documentation uses it
    need kcat kcat                 # likewise
    need promtool prometheus       # tests the alerts; the server is not started
    need chromium chromium         # opens the admin page
    need varnishd varnish          # a cache at the edge, with tags:
    compgen -G "/usr/lib/*/varnish/vmods/libvmod_xkey.so" >/dev/null || missing+=(varnish-modules)
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
  echo "Missing Debian packages: ${missing[*]}. Install them, or run this as root on Debian."
  exit 0
fi

# The tests start their own servers, so the packages must not start services.
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
