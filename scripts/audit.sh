#!/usr/bin/env bash
# Looks for known vulnerabilities in what is locked. Exit code 1: found; 3: nobody could be asked.
set -uo pipefail
cd "$(dirname "$0")/.."
scripts/tools.sh || exit

locks=()
for lock in runtime otel avro aws build; do locks+=(-r "requirements/$lock.txt"); done
for service in pypi osv; do
  said=$(.cache/release/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
    --timeout 10 -s $service "${locks[@]}" 2>&1)
  code=$?
  if [ $code = 0 ] || grep -q "^Name .* ID " <<<"$said"; then
    echo "$said"
    exit $code
  fi
  echo "The database of $service cannot be asked: ${said##*$'\n'}" >&2
done
echo "No database of vulnerabilities can be reached from here, so nothing was audited." >&2
exit 3
