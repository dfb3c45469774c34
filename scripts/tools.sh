#!/usr/bin/env bash
# Installs the tools of `make dist` and `make audit` into .cache/release, unless they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=.cache/release
if [ ! -e $tools/.made ] || [ requirements/release.txt -nt $tools/.made ]; then
  "$(scripts/python.sh)" -m venv --clear $tools
  $tools/bin/pip --disable-pip-version-check install --quiet --require-hashes \
    -r requirements/release.txt -r requirements/build.txt
  touch $tools/.made
fi
