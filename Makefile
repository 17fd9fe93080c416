# From a fresh clone, with Python and make only: `make demo`, `make test`, `make lint`, `make bench`.
# The first use makes a virtual environment in .venv and installs what is needed into it.

# Another interpreter: make test PYTHON=python3.13
PYTHON ?=
VENV ?= .venv
# More arguments: make test ARGS="-k leases", make demo ARGS="--database postgresql"
ARGS ?=
WORKERS ?= 5
SEED ?=

# Tests and demo start hundreds of processes: each would compile every module anew.
export PYTHONDONTWRITEBYTECODE :=

RUN := $(VENV)/.installed-demo
MEASURE := $(VENV)/.installed-bench
DEVELOP := $(VENV)/.installed-all
BIN := $(VENV)/bin

.PHONY: help demo test check-protocol test-real test-kill test-galera lint bench clean

help:
	@echo "make demo       upgrade an example service under traffic, live in this terminal"
	@echo "make test       all tests, on real SQLite, PostgreSQL and MariaDB"
	@echo "make check-protocol  search the protocol for faults, in wide bounds"
	@echo "make test-real  drive real services of other projects through an upgrade"
	@echo "make test-kill  a whole upgrade on each database under 30 SIGKILLs; SEED=... repeats one"
	@echo "make test-galera  a cluster of two nodes: races, certification, nodes that are killed"
	@echo "make lint       ruff, mypy strict, import-linter"
	@echo "make bench      measure; writes build/bench.json and build/charts"
	@echo "make clean      remove the virtual environment and what builds leave"

demo: $(RUN)
	@$(BIN)/orchestrator demo $(ARGS)

test: $(DEVELOP)
	@bash .ci/servers
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not real and not kill and not galera and not protocol" $(ARGS)

# The protocol: every order of events that the explorer knows, in wide bounds, long random walks over the services, and
# the services on one more kind of state database.
check-protocol: $(DEVELOP)
	@$(BIN)/python -m pytest -n $(WORKERS) -m "not kill" --timeout 590 tests/protocol tests/services $(ARGS)

test-real: $(DEVELOP)
	@$(BIN)/python -m pytest -m real -s --timeout 590 tests/real $(ARGS)

# A whole upgrade on each database while daemons and services are killed, and every single moment of a revision and of a
# batch. The seed is printed: SEED=... repeats it.
test-kill: $(DEVELOP)
	@bash .ci/servers
	@SEED="$(SEED)" $(BIN)/python -m pytest -m kill -s --timeout 590 $(ARGS)

# Two real nodes on this machine, killed and brought back. Six minutes.
test-galera: $(DEVELOP)
	@bash .ci/servers
	@$(BIN)/python -m pytest -m galera --timeout 590 tests/galera $(ARGS)

# All three always run: one report, not three rounds.
lint: $(DEVELOP)
	@failed=; \
	$(BIN)/ruff check . || failed="$$failed ruff"; \
	$(BIN)/mypy || failed="$$failed mypy"; \
	$(BIN)/lint-imports --no-logo || failed="$$failed import-linter"; \
	if [ -n "$$failed" ]; then echo "not clean:$$failed" >&2; exit 1; fi

bench: $(MEASURE)
	@bash .ci/servers
	@$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# Everything includes what the demo needs, so the smaller installation is not made after the larger one.
$(RUN): pyproject.toml setup.py .ci/environment
	@PYTHON="$(PYTHON)" bash .ci/environment $(VENV) demo
	@touch $@

$(MEASURE): pyproject.toml setup.py .ci/environment
	@PYTHON="$(PYTHON)" bash .ci/environment $(VENV) bench
	@touch $(RUN) $@

$(DEVELOP): pyproject.toml setup.py .ci/environment
	@PYTHON="$(PYTHON)" bash .ci/environment $(VENV) demo,test,lint
	@touch $(RUN) $@
