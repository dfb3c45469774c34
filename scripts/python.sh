#!/usr/bin/env bash
# Prints the name of a Python 3.11 or 3.12 that can create virtual environments, or what is missing.
set -euo pipefail

found=
for name in ${PYTHON:-python3.12 python3.11 python3}; do
  # a name on PATH may be a shim without a Python behind it
  "$name" -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' 2>/dev/null || continue
  found=$name
  "$name" -c 'import ensurepip, venv' 2>/dev/null || continue
  echo "$name"
  exit 0
done

if [ -n "$found" ]; then
  echo "$found cannot create virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2
else
  echo "make needs Python 3.11 or 3.12, and there is none on PATH." >&2
  echo "On Debian 12 and Ubuntu 24.04: apt-get install python3 python3-venv" >&2
  echo "If it is installed elsewhere: make PYTHON=/path/to/python3.12 ..." >&2
fi
exit 1
