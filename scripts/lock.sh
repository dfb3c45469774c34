#!/usr/bin/env bash
# Writes requirements/*.txt: every version and every hash, for Python 3.11 to 3.14 on Linux.
# UPGRADE=1 selects the newest versions; without it, locked versions are kept.
set -euo pipefail
cd "$(dirname "$0")/.."

# With the oldest Python: packages that only it needs (backports) do no harm on newer ones.
python=$(command -v python3.11) || { echo "make lock needs python3.11" >&2; exit 1; }
tools=.cache/lock
[ -x "$tools/bin/pip-compile" ] || { "$python" -m venv "$tools" && "$tools/bin/pip" install -q pip-tools; }

# The lock does not depend on where packages come from, and local wheels have other hashes.
unset PIP_FIND_LINKS
export CUSTOM_COMPILE_COMMAND="make lock"

compile() {  # compile OUTPUT SOURCE...
  "$tools/bin/pip-compile" -q --generate-hashes --allow-unsafe --strip-extras \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
    ${UPGRADE:+--upgrade} -o "requirements/$1" "${@:2}"
}

# First everything together, so that all files agree; then each part.
"$python" - >requirements/dev.in <<'EOF'
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
print("# Written by `make lock` from pyproject.toml.")
groups = project["dependency-groups"]
for apart in ("bench", "docs", "release"):
    with open(f"requirements/{apart}.in", "w") as file:
        print("# Written by `make lock` from pyproject.toml.", *groups.pop(apart), sep="\n", file=file)
with open("requirements/example.in", "w") as file:
    print("# Written by `make lock` from pyproject.toml.", *groups["example"], sep="\n", file=file)
for group in groups.values():
    print(*group, sep="\n")
print(*project["build-system"]["requires"], sep="\n")
EOF
extras="embedded otel avro aws postgres"
compile dev.txt pyproject.toml requirements/dev.in $(printf -- '--extra %s ' $extras)
unset UPGRADE
compile runtime.txt pyproject.toml -c requirements/dev.txt
for extra in $extras; do
  compile "$extra.txt" pyproject.toml --extra "$extra" -c requirements/dev.txt
done
compile build.txt pyproject.toml --only-build-deps --build-deps-for wheel -c requirements/dev.txt
compile example.txt pyproject.toml requirements/example.in -c requirements/dev.txt
compile bench.txt requirements/bench.in -c requirements/dev.txt
compile release.txt requirements/release.in -c requirements/dev.txt
compile docs.txt requirements/docs.in -c requirements/dev.txt
