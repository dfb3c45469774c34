#!/usr/bin/env bash
# Makes .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(scripts/python.sh)
echo "Making .venv with $("$python" --version) ..."
"$python" -m venv --clear .venv
