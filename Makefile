# Everything is installed into .venv; a second call starts immediately.
.DEFAULT_GOAL := help
.PHONY: help run test test-slow test-freshness test-real pythons faults mutants check format images docs lock clients helm audit dist bench clean
.DELETE_ON_ERROR:

# The tests start hundreds of processes, each of which would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

# VENV=... and PYTHON=... together: another environment, with another Python
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := pip --disable-pip-version-check install --quiet
PIP := scripts/install.sh
LOCKED := $(PIP) --require-hashes
# setuptools is locked as well, and does not come from an isolated build environment
PACKAGE := $(PIP) --no-deps --no-build-isolation --editable .
# Tests mostly wait for servers, so several files run in parallel. WORKERS=0: one at a time.
WORKERS ?= 6
# Sorted by name, slow files start early; sorted by number of tests, they would start last.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# A link that leads nowhere is an error. The variable silences a notice about the next MkDocs.
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run  ## start the daemon on a Redis of its own (ARGS="..." for more options)
	@exec $(BIN)/invalidator run --embedded $(ARGS)

test: $(VENV)/.dev  ## run all tests, with a real Redis and a real Kafka (ARGS="..." for pytest)
	@scripts/packages.sh tests
	@$(PYTEST) $(ARGS)

test-slow: $(VENV)/.dev  ## run the slow tests: repeated failovers and resharding, a million reads, long pages
	@scripts/packages.sh tests
	@$(PYTEST) -m slow $(ARGS)

test-freshness: $(VENV)/.dev  ## prove the measurement of freshness by a million checks
	@scripts/packages.sh tests
	FRESHNESS_PROOF=1000 $(BIN)/python -m pytest -n 0 -s tests/integration/freshness/test_proof.py $(ARGS)

test-real: $(VENV)/.dev  ## run PostgreSQL, Kafka Connect and Debezium before the daemon (RECORD=1: keep what they write)
	@scripts/packages.sh tests
	@scripts/packages.sh real
	@$(BIN)/python -m pytest -n 0 -m real tests/real $(ARGS)

pythons:  ## run all tests with every Python from 3.11 to 3.14 that is found here
	@scripts/python.sh --all | while read -r python; do \
	  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "Python $$version: $$python"; \
	  $(MAKE) test VENV=.cache/python$$version PYTHON=$$python ARGS="$(ARGS)" </dev/null || exit 1; \
	done

faults: $(VENV)/.dev  ## inject faults into real servers, write the table in docs/reliability.md (ARGS="--rows 1,16")
	@scripts/packages.sh tests
	@$(BIN)/python -m tests.faults --write docs/reliability.md $(ARGS)

mutants: $(VENV)/.dev  ## sabotage copies of the daemon: the fault rows must fail (ARGS="--only NAME")
	@scripts/packages.sh tests
	@$(BIN)/python -m tests.mutants $(ARGS)

check: $(VENV)/.dev $(VENV)/.docs  ## check formatting, lint, types and the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(SITE)

format: $(VENV)/.dev  ## format the code, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

images: $(VENV)/.dev  ## draw the pictures of the documentation again, from what the programs print
	@$(BIN)/python -m scripts.images.chart
	@$(BIN)/python -m scripts.images.recording
	@$(BIN)/python -m scripts.images.page

docs: $(VENV)/.docs  ## build the documentation as a site, in build/site
	@$(SITE)
	@echo "Open build/site/index.html"

lock:  ## write requirements/*.txt (UPGRADE=1: with the newest versions)
	scripts/lock.sh

clients:  ## give the clients of other languages the scripts of the protocol
	@for client in node go; do cp $(filter-out %/behind_%,$(wildcard invalidator/cache/scripts/*.lua)) clients/$$client/scripts/; done

helm: .cache/bin/helm  ## build helm by Go, for the tests of the chart

audit:  ## look for known vulnerabilities in what is locked
	@scripts/audit.sh

dist:  ## build what is committed into dist/: sdist, wheel, bill of materials
	@scripts/dist.sh

bench: $(VENV)/.bench .cache/installed/.made  ## compare the daemon's speed with alternatives (ARGS="--help")
	@scripts/packages.sh tests
	@rm -rf build
	@.cache/installed/bin/$(INSTALL) --no-deps --no-build-isolation --force-reinstall .
	BENCH_DAEMON=.cache/installed/bin/invalidator $(BIN)/python -m benchmarks $(ARGS)

clean:  ## remove everything that make created
	rm -rf .venv .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.cache/bin/helm:
	GOBIN=$(CURDIR)/.cache/bin go install helm.sh/helm/v3/cmd/helm@v3.22.0

$(VENV)/.made:
	@scripts/venv.sh $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made requirements/embedded.txt requirements/build.txt pyproject.toml
	@echo "Installing $$(grep -ch == requirements/embedded.txt) packages into $(VENV): a minute the first time ..."
	@$(LOCKED) -r requirements/embedded.txt -r requirements/build.txt
	@$(PACKAGE)
	@touch $@

$(VENV)/.bench: $(VENV)/.dev requirements/bench.txt
	@$(LOCKED) -r requirements/bench.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.dev requirements/docs.txt
	@$(LOCKED) -r requirements/docs.txt
	@touch $@

# The daemon as users install it: the packages of the tests would slow down its start.
.cache/installed/.made: requirements/runtime.txt requirements/build.txt
	@rm -rf .cache/installed
	@"$$(scripts/python.sh)" -m venv .cache/installed
	@.cache/installed/bin/$(INSTALL) --require-hashes $(addprefix -r ,$^)
	@touch $@

$(VENV)/.dev: $(VENV)/.made requirements/dev.txt pyproject.toml
	@echo "Installing $$(grep -ch == requirements/dev.txt) packages into $(VENV): some minutes the first time ..."
	@$(LOCKED) -r requirements/dev.txt
	@$(PACKAGE)
	@touch $@
