# make demo and make test need Python 3.11 or later, make, git and a package registry; nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test check bench faults mutants image-check official-runner lint lint-python lint-image lint-workflows types contracts lock clean

# Everything that a contributor needs.
setup: $(VENV)/.dev

# RUNNER_DIR: the folder of an unpacked release of actions/runner, which runs the jobs instead of the stand-in.
demo: $(VENV)/.demo
	$(BIN)/python -m bridge demo $(if $(RUNNER_DIR),--runner-dir "$(RUNNER_DIR)")

# Most tests wait for processes and timers, so more workers than cores are faster. WORKERS=0 runs one test at a time.
WORKERS ?= 4
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

check: lint types contracts test

# .pre-commit-config.yaml runs these, types and contracts.
lint: lint-python lint-image lint-workflows

lint-python: $(VENV)/.dev
	$(BIN)/python -m pip check --disable-pip-version-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/size.py

lint-image: $(VENV)/.dev
	$(BIN)/hadolint Dockerfile deploy/Dockerfile
	$(BIN)/shellcheck runner_image/hooks/*.sh .github/scripts/*.sh

lint-workflows: $(VENV)/.dev
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck .github/workflows/*.yml
	$(BIN)/zizmor --quiet --offline --pedantic --strict-collection .

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy .github/scripts

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

# Kills the bridge at every write and breaks everything else that can fail. SEED=n repeats the run with that seed.
# One test may take an hour here, since it tries much more than in make test.
faults: $(VENV)/.dev
	FAULTS=full $(BIN)/python -m pytest --timeout 3600 --numprocesses $(WORKERS) --dist worksteal tests/faults tests/unit/controller/test_histories.py tests/simulation tests/e2e/test_hostile_clients.py

# Changes bridge/core in many small ways and lists the changes that no test notices; takes about 15 minutes.
mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutants

# The worker and the demo with the official runner in the folder RUNNER_DIR.
official-runner: $(VENV)/.dev
	RUNNER_DIR="$(RUNNER_DIR)" $(BIN)/python -m pytest tests/official_runner

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench

# Builds the images of the worker, for GPU and CPU, and of the bridge, and runs them. Needs root, apt, buildah and debootstrap.
# RUNNER_TARBALL: a release of actions/runner, which is put into the worker's image instead of the stand-in.
image-check: $(VENV)/.dev
	$(BIN)/python -m tests.image

lock: export UV_CUSTOM_COMPILE_COMMAND = make lock
lock: $(VENV)/.dev
	$(BIN)/uv pip compile --quiet --no-build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
	  --extra demo --extra otel --extra postgres pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --no-build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
	  --constraint requirements.lock --extra dev pyproject.toml --output-file requirements-dev.lock
	$(BIN)/uv pip compile --quiet --no-build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
	  --constraint requirements.lock runner_image/requirements.in --output-file runner_image/requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache mutants

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# --no-deps: the locks are complete, and older pips (of Python 3.11) would fail on newer releases of a dependency.
$(VENV)/.demo: requirements.lock | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements.lock
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
