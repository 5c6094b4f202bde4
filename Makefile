# `make` lists what there is. Everything lives in $(VENV) and, for other Airflows, in .nox.
# A second Python, side by side:  make test PYTHON=python3.13 VENV=.venv313
# Every other Airflow:  make test-matrix

ARGS ?=

VENV ?= .venv
LOCK := requirements/airflow-3.3.lock

# The first Python that Airflow and the lock are tested with; failing that, a newer one.
PYTHON ?= $(shell \
	for python in python3 python3.13 python3.12 python3.11; do \
		$$python -c '$(TESTED)' 2>/dev/null && echo $$python && exit; \
	done; \
	python3 -c '$(NEW_ENOUGH)' 2>/dev/null && echo python3)
TESTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))

BIN := $(VENV)/bin
# Twice quiet: a warning about one of your mirrors is no news, an error still shows.
INSTALL = -m pip install --quiet --quiet --disable-pip-version-check
INSTALLED := $(VENV)/.installed
# On a terminal, count the seconds for as long as this line's shell runs.
COUNT = if [ -t 1 ]; then while sleep 1 && kill -0 $$$$ 2>/dev/null; do \
	seconds=$$((seconds + 1)); printf '\r  %s s ' $$seconds; done & fi

# Any will do for the browser test.
CHROMIUM ?= $(shell for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	command -v $$name && break; done)

# With this variable set, every start of Airflow compiles some 1300 modules again.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): $(LOCK) setup.cfg
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		python="$(PYTHON)"; \
		if [ -z "$$python" ] || ! $$python -c '$(NEW_ENOUGH)'; then \
			echo "Python 3.11, 3.12 or 3.13 is needed, and none was found on the PATH." >&2; \
			echo "Install one (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.13)," >&2; \
			echo "or say where it is: make PYTHON=/path/to/python3.13" >&2; \
			exit 1; \
		fi; \
		if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
			echo "$$python cannot make virtual environments: its venv module is not installed." >&2; \
			echo "On Debian and Ubuntu: apt install python3-venv" >&2; \
			exit 1; \
		fi; \
		$$python -m venv --clear $(VENV); \
	fi
	@echo "Installing Airflow 3.3 and the tools into $(VENV): $$(grep -c == $(LOCK)) packages, one to two minutes, once"
	@$(COUNT); $(BIN)/python $(INSTALL) --requirement $(LOCK) && echo "done"
	@$(BIN)/python $(INSTALL) --no-deps --editable .
	@touch $@

.PHONY: demo
demo: $(INSTALLED) ## watch the gate open and stay shut, on real Airflow
	@$(BIN)/python scripts/demo.py $(ARGS)

.PHONY: airflow
airflow: $(INSTALLED) ## Airflow and the emulator, to look at in a browser
	@$(BIN)/python scripts/airflow_standalone.py $(ARGS)

.PHONY: cluster
cluster: redis $(INSTALLED) ## a whole cluster on this machine: Celery, two schedulers, workers and triggerers
	@$(BIN)/python -m scripts.cluster $(ARGS)

.PHONY: cluster-down
cluster-down: ## end the cluster that make cluster started
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m scripts.cluster --down; else echo "No cluster runs."; fi

.PHONY: smoke-real
smoke-real: $(INSTALLED) ## ask the real Qianfan, with your own keys (reads only)
	@$(BIN)/python scripts/smoke_real.py $(ARGS)

.PHONY: test
test: $(INSTALLED) ## the tests, without the slow ones (ARGS="-m slow": only those)
	@$(BIN)/python -m pytest -n 5 --dist worksteal $(ARGS)

.PHONY: test-faults
test-faults: $(INSTALLED) ## what networks, servers and crashes may do, case by case; prints it as tables
	@$(BIN)/python -m pytest -n 3 -m faults --tables $(ARGS)

.PHONY: proof
proof: $(INSTALLED) ## look for what breaks a promise, and write down what was found (ARGS="--worlds 50000": for longer)
	@rm -rf build/proof
	@echo "Random worlds, hostile answers, and secrets in one process: some minutes."
	@$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow" --tb=short -o faulthandler_timeout=0 tests/proof $(ARGS)
	@echo "Secrets in a whole Airflow: some minutes more."
	@$(BIN)/python -m pytest tests/integration/test_canary.py -m integration -s -o faulthandler_timeout=0
	@$(BIN)/python -m scripts.proof
	@$(BIN)/python -m scripts.pages

.PHONY: test-integration
test-integration: $(INSTALLED) ## the tests on Airflow's own services: scheduler, triggerer, API server
	@$(BIN)/python -m pytest tests/integration -m integration -s -o faulthandler_timeout=0 $(ARGS)

.PHONY: test-cluster
test-cluster: redis $(INSTALLED) ## kill parts of a whole cluster while hundreds of gates wait
	@$(BIN)/python -m pytest tests/cluster -m cluster -s -o faulthandler_timeout=0 $(ARGS)

.PHONY: test-browser
test-browser: $(INSTALLED) ## what a person sees in Airflow's UI, seen by a Chromium
	@$(BIN)/python -m pytest tests/browser -m browser --chromium "$(CHROMIUM)" $(ARGS)

.PHONY: screenshots
screenshots: ## take the pictures of docs/images again
	@$(MAKE) --no-print-directory test-browser ARGS="--screenshots docs/images $(ARGS)"

.PHONY: browser
browser: ## install Debian's Chromium, as root, if there is no Chromium or Chrome
	@test -n "$(CHROMIUM)" || { apt-get update && apt-get install --yes --no-install-recommends \
		chromium fonts-liberation; }

.PHONY: redis
redis: ## install Debian's Redis, as root, if there is no redis-server
	@command -v redis-server >/dev/null || { if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "redis-server is needed. Install it (Debian and Ubuntu: sudo apt install redis-server; macOS: brew install redis)." >&2; exit 1; fi; \
		apt-get update && RUNLEVEL=1 apt-get install --yes --no-install-recommends redis-server; }

.PHONY: mutants
mutants: $(INSTALLED) ## change the code of api, gate and changes everywhere: which mutants do their tests not notice?
	@rm -rf mutants
	@echo "🎉 is a mutant that a test has noticed, 🙁 one that none has, ⏰ one that took too long, 🫥 one without a test."
	@$(BIN)/mutmut run $(ARGS)
	@$(BIN)/python -m scripts.mutants
	@$(BIN)/python -m scripts.proof
	@$(BIN)/python -m scripts.pages

.PHONY: lint
lint: $(INSTALLED) ## look for mistakes, in spelling, too
	@$(BIN)/python -m ruff check $(ARGS)
	@$(BIN)/typos
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docs/deploy/docker-compose*.yml
	@$(BIN)/check-jsonschema --quiet --schemafile docs/deploy/values.schema.json docs/deploy/values.yaml

.PHONY: format
format: $(INSTALLED) ## format the code and sort its imports
	@$(BIN)/python -m ruff check --quiet --select I --fix
	@$(BIN)/python -m ruff format

.PHONY: format-check
format-check: $(INSTALLED) ## is the code formatted?
	@$(BIN)/python -m ruff format --check --diff

.PHONY: typecheck
typecheck: $(INSTALLED) ## mypy, strict, on the package, the DAGs to copy and a user's DAG
	@$(BIN)/python -m mypy $(ARGS)

.PHONY: test-matrix
test-matrix: dist ## every Airflow on every Python; prints the table (ARGS="-s airflow-3.1-3.11 -- tests": only these)
	@$(BIN)/python -m nox $(ARGS); status=$$?; $(BIN)/python scripts/matrix.py || status=1; exit $$status

.PHONY: wheel
wheel: dist ## build the wheel, and install it beside each Airflow, as of about its release
	@$(BIN)/python -m nox --tags wheel
	@clean=$$(mktemp -d); cp tests/user_dag.py dags/*.py "$$clean"; cd "$$clean"; \
		$(abspath $(BIN))/python -m mypy --strict --python-executable $(abspath .nox/wheel-3-3/bin/python) *.py; \
		status=$$?; rm -rf "$$clean"; exit $$status

.PHONY: docs
docs: $(INSTALLED) ## build the documentation in build/docs, and check its links, without a network
	@rm -rf build/docs
	@AIRFLOW_HOME=$(CURDIR)/build/docs-airflow $(BIN)/python -m sphinx -n -W --keep-going -q -j auto \
		-d build/doctrees docs build/docs $(ARGS)
	@$(BIN)/python scripts/check_links.py build/docs

.PHONY: pages
pages: $(INSTALLED) ## write the generated parts of the documentation into its pages
	@$(BIN)/python -m scripts.pages

.PHONY: dist
dist: $(INSTALLED) ## build the wheel, the same bytes wherever and whenever, and the source distribution
	@$(BIN)/python scripts/build_dist.py
	@$(BIN)/python -m twine --no-color check --strict dist/*

# The peers, and what they need, stay out of the venv that everything else is tested in.
BENCH_VENV ?= .venv-bench

$(BENCH_VENV)/.installed: $(INSTALLED) benchmarks/requirements.txt
	@$(BIN)/python -m venv --clear $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python $(INSTALL) --requirement $(LOCK)
	@$(BENCH_VENV)/bin/python $(INSTALL) --constraint $(LOCK) --requirement benchmarks/requirements.txt
	@$(BENCH_VENV)/bin/python $(INSTALL) --no-deps --editable .
	@touch $@

$(BENCH_VENV)-sdk/.installed: $(INSTALLED) benchmarks/requirements-sdk.txt
	@$(BIN)/python -m venv --clear $(BENCH_VENV)-sdk
	@$(BENCH_VENV)-sdk/bin/python $(INSTALL) --requirement benchmarks/requirements-sdk.txt
	@touch $@

.PHONY: bench
bench: $(BENCH_VENV)/.installed $(BENCH_VENV)-sdk/.installed ## measure us beside our peers, each pair in one run (ARGS="calls signing": only these)
	@$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

.PHONY: lock
lock: $(INSTALLED) ## bring the locks up to setup.cfg (ARGS=--upgrade: newest of everything)
	@$(BIN)/python -m nox --session lock -- $(ARGS)

.PHONY: licences
licences: $(INSTALLED) ## list what the package needs at run time; fails if a licence is not allowed
	@$(BIN)/python scripts/licences.py

.PHONY: sbom
sbom: licences ## write what the package needs at run time to build/sbom.json, as CycloneDX
	@$(BIN)/python -m nox --session sbom

.PHONY: audit
audit: licences ## ask PyPI for known vulnerabilities of what the package needs; needs the internet
	@$(BIN)/python -m nox --session audit -- $(ARGS)

.PHONY: clean
clean: ## remove everything that make made, the venv too
	@rm -rf $(VENV) .nox $(BENCH_VENV) $(BENCH_VENV)-sdk build dist mutants *.egg-info
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
