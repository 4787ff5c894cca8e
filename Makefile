# Everything a checkout needs, from a machine that has Python >= 3.11 and make.
# Each target does its own set-up; a set-up step runs again only when its lock file changes.
.SUFFIXES:
.DEFAULT_GOAL := help

VENV = .venv
BIN = $(VENV)/bin
OLDER = .venv-older
AGENTS = .venv-agents
NODE = tests/clients/node
ENGINE = .venv-engine
TOOLS = .venv-lock

# Passed on: make serve ARGS="--listen 127.0.0.1:9000", make test ARGS="-k streams",
# make bench ARGS=…, make constraints ARGS=--upgrade.
ARGS =
# Test processes.
JOBS = 2
# Debian packages that some tests start; installed by root only. make test APT= installs none.
APT = nginx-light prometheus

# Errors only: what an operator's own pip settings warn about is not this project's to say.
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
LOCKED = install --require-hashes --no-deps

.PHONY: help install serve test fuzz soak engine-test check fix bench constraints dev clients engine system clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.runtime ## .venv with the console script .venv/bin/isthmus

serve: install ## serve ./routes.yaml on 127.0.0.1:8080 (admin on 8081)
	@exec $(BIN)/isthmus serve $(ARGS)

test: dev clients system ## every test that CI runs
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

fuzz: $(VENV)/.fuzz ## 10 minutes for each decoder: hours (ARGS="--seconds 60 stream:gemini")
	$(BIN)/python -m tests.fuzz.run --seconds 600 $(ARGS)

soak: dev ## ten minutes of good and faulty traffic, and what it leaves behind (ARGS="--seconds 60")
	$(BIN)/python -m tests.soak.run $(ARGS)

engine-test: dev engine ## calls to a genuine engine, which is compiled first (some twenty minutes)
	$(BIN)/python -m pytest tests/engine $(ARGS)

check: dev ## linters, types, dead code, floors, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vulture
	$(BIN)/python -m pytest -q tests/test_floors.py tests/test_ground.py
	$(BIN)/python scripts/check_docs.py

fix: dev ## formatting, the repairs that ruff is sure of, generated documents
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/python scripts/check_docs.py --write

bench: dev ## the benchmarks, on loopback
	$(BIN)/python bench/run.py $(ARGS)

constraints: ## write the lock files anew (ARGS=--upgrade: newest versions)
	@scripts/lock.sh $(TOOLS) $(ARGS)

clean: ## remove every environment and cache
	rm -rf $(VENV) $(OLDER) $(AGENTS) $(ENGINE) $(TOOLS) $(NODE)/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz

# ── set-up ──────────────────────────────────────────────────────────────────────────────────

$(VENV)/.runtime: constraints.txt pyproject.toml
	@test -x $(BIN)/python || scripts/make_venv.sh $(VENV)
	@echo "installing the locked dependencies into $(VENV)"
	@$(PIP) $(LOCKED) -r constraints.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

dev: $(VENV)/.dev

$(VENV)/.dev: $(VENV)/.runtime constraints-dev.txt
	@echo "installing what tests and checks need into $(VENV)"
	@$(PIP) $(LOCKED) -r constraints-dev.txt
	@touch $@

# Coverage for fuzzing; a system that the package has no build for is fuzzed without it.
$(VENV)/.fuzz: $(VENV)/.dev tests/fuzz/constraints.txt
	@$(PIP) $(LOCKED) -r tests/fuzz/constraints.txt || echo "isthmus: no atheris here; fuzzing goes unguided" >&2
	@touch $@

# The SDKs and agents of tests/clients that do not fit into $(VENV).
clients: $(OLDER)/.ready $(AGENTS)/.ready $(NODE)/node_modules/.ready

$(OLDER)/.ready: tests/clients/older/constraints.txt
	@echo "installing older Python clients into $(OLDER)"
	@scripts/setup_clients.sh python older $(OLDER)

$(AGENTS)/.ready: tests/clients/agents/constraints.txt
	@echo "installing agents that others wrote into $(AGENTS)"
	@scripts/setup_clients.sh python agents $(AGENTS)

engine: $(ENGINE)/.ready

$(ENGINE)/.ready: tests/engine/constraints.txt
	@echo "compiling the engine for $(ENGINE)"
	@scripts/setup_clients.sh engine $(ENGINE)

$(NODE)/node_modules/.ready: $(NODE)/package.json $(NODE)/package-lock.json
	@echo "installing the JavaScript clients into $(NODE)/node_modules"
	@scripts/setup_clients.sh node $(NODE)

system:
	@scripts/setup_clients.sh system $(APT)
