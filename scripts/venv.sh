#!/usr/bin/env bash
# Creates .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(scripts/python.sh)
echo "Creating .venv with $("$python" --version) ..."
"$python" -m venv --clear .venv
