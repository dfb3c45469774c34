#!/usr/bin/env bash
# Installs into .venv what the arguments of pip name: by uv where it is installed, which is faster.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v uv >/dev/null && uv pip install --quiet --python .venv/bin/python "$@"; then
  exit
fi
exec .venv/bin/pip --disable-pip-version-check install --quiet "$@"
