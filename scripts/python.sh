#!/usr/bin/env bash
# Prints the name of a Python that can create virtual environments, or says what is missing.
# python.sh --all: prints the paths of all, one for each version.
set -euo pipefail

if [ "${1:-}" = --all ]; then  # also those of pyenv that are not on PATH
  names=$(printf 'python3.%d\n' 14 13 12 11; ls -dv "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3 2>/dev/null || true)
else
  names=$(tr ' ' '\n' <<<"${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}")
fi

# Prints version and path, unless it is a version that we do not support, or a shim without a Python.
about() {
  "$1" -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 14) or sys.exit(1)
print("%d.%d" % v, sys.executable)' 2>/dev/null
}

found=
declare -A printed=()
while read -r name; do
  read -r version path < <(about "$name") || continue
  found=$name
  "$name" -c 'import ensurepip, venv' 2>/dev/null || continue
  [ "${1:-}" = --all ] || { echo "$name"; exit 0; }
  [ -n "${printed[$version]:-}" ] || echo "$path"
  printed[$version]=yes
done <<<"$names"
[ ${#printed[@]} -eq 0 ] || exit 0

if [ -n "$found" ]; then
  echo "$found cannot create virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2
else
  echo "make needs Python 3.11, 3.12, 3.13 or 3.14, and there is none on PATH." >&2
  echo "On Debian and Ubuntu: apt-get install python3 python3-venv" >&2
  echo "If it is installed elsewhere: make PYTHON=/path/to/python3.13 ..." >&2
fi
exit 1
