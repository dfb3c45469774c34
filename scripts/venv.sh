#!/usr/bin/env bash
# venv.sh FOLDER: creates a virtual environment there.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(scripts/python.sh)
echo "Creating $1 with $("$python" --version) ..."
"$python" -m venv --clear "$1"
