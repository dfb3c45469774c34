#!/usr/bin/env bash
# Builds what is committed into dist/: an sdist, a wheel, and a bill of materials (CycloneDX).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/tools.sh
bin=$PWD/.cache/release/bin

source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
git archive HEAD | tar -x -C "$source"
"$bin/python" scripts/absolute_links.py "$source"

rm -rf dist
"$bin/python" -m build --no-isolation --outdir dist "$source" >/dev/null
"$bin/twine" check --strict dist/*
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$source/invalidator/__init__.py")
sed -i "s/^dynamic = .*/version = \"$version\"/" "$source/pyproject.toml" # it reads no dynamic one
"$bin/cyclonedx-py" requirements --pyproject "$source/pyproject.toml" --mc-type application \
  --output-reproducible --of JSON -o dist/sbom.cdx.json "$source/requirements/runtime.txt" 2>/dev/null
ls dist
