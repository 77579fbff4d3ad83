# `make help` lists the targets. CI calls the same ones (.ci/run).

VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
export VENV

.DEFAULT_GOAL := help
.PHONY: help setup servers demo test test-unit test-all test-faults lint format check bench bench-compose bench-peers soak docs docs-serve \
	lock changelog clean gallery fuzz lint-format lint-ruff lint-mypy lint-imports lint-deptry lint-settings lint-metrics \
	lint-matrix \
	lint-gallery lint-cut-points lint-performance

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv with the pinned packages and relayq itself; instant when nothing changed
	@scripts/setup

servers: ## install the servers that tests need (RabbitMQ, smtp-sink); starts none
	@scripts/install-test-servers

demo: setup ## a whole installation for one minute: broker, MTA, receiving server, generated mail
	@$(BIN)/relayq demo $(DEMO_ARGS)

test: setup servers ## every test, with private servers on loopback; in groups side by side, or as PYTEST_ARGS say
	$(BIN)/python scripts/run_tests.py $(PYTEST_ARGS)

test-unit: setup ## the tests that need no server
	$(BIN)/pytest -m "not server and not slow" $(PYTEST_ARGS)

test-all: setup servers ## every test, async ones on uvloop and on plain asyncio
	RELAYQ_TEST_LOOP=both $(BIN)/pytest $(PYTEST_ARGS)

FAULTS := $(addprefix tests/faults/test_,links.py deaths.py shortages.py full_disks.py clocks.py two_machines.py kill_loop.py)

test-faults: setup servers ## bad lines, deaths, shortages, clocks; minutes; writes docs/reliability.md; LONG=200 kills that often
	rm -f .cache/faults.jsonl
	RELAYQ_FAULT_LONG=$(LONG) RELAYQ_FAULT_REPORT=.cache/faults.jsonl $(BIN)/pytest $(FAULTS) $(PYTEST_ARGS)
	$(BIN)/python scripts/generate_reliability.py .cache/faults.jsonl

fuzz: ## coverage-guided fuzzing of everything that reads octets from outside; FUZZ_ARGS=--help
	@VENV=.venv-fuzz scripts/setup fuzz
	PYTHONPATH=src .venv-fuzz/bin/python -m fuzz.run $(FUZZ_ARGS)

lint: lint-format lint-ruff lint-mypy lint-imports lint-deptry lint-settings lint-metrics lint-matrix lint-gallery lint-cut-points lint-performance ## all static checks

lint-format: setup
	$(BIN)/ruff format --check .

lint-ruff: setup
	$(BIN)/ruff check .

lint-mypy: setup
	$(BIN)/mypy

lint-imports: setup
	$(BIN)/lint-imports

lint-deptry: setup
	$(BIN)/deptry src

lint-metrics: setup
	$(BIN)/python scripts/generate_metrics_reference.py --check

lint-settings: setup
	$(BIN)/python scripts/generate_settings_reference.py --check

lint-matrix: setup
	$(BIN)/python scripts/generate_matrix.py --check

lint-gallery: setup
	$(BIN)/python scripts/generate_gallery.py --check

gallery: setup ## render the examples of blocks and take their pictures; installs Chromium where it is missing
	@{ command -v chromium && command -v pngquant; } >/dev/null || scripts/apt-install chromium fonts-liberation pngquant
	$(BIN)/python scripts/generate_gallery.py --pictures

lint-cut-points: setup
	$(BIN)/python scripts/generate_cut_points.py --check

lint-performance: setup
	$(BIN)/python scripts/generate_performance.py --check

format: setup ## format the code and sort imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --select I .

check: lint test ## all that CI runs

bench: setup servers ## outbox to results beside the barest loop; BENCH_ARGS=--help lists sizes, domains, …
	$(BIN)/python -m benchmarks.macro --latency $(BENCH_ARGS)

COMPOSE_BENCHES = compose_dkim compose_css compose_template compose_responsive compose_engine

bench-compose: setup servers ## composing: signing, inlining, templates, described messages, and a worker that does it
	for bench in $(COMPOSE_BENCHES); do \
		$(BIN)/python -m benchmarks.$$bench --json benchmarks/results/$$bench.json || exit 1; \
	done
	$(BIN)/python scripts/generate_performance.py

bench-peers: setup servers ## relayq beside Postfix, Exim, OpenSMTPD and Haraka: same mail, same sink; takes minutes
	$(BIN)/python -m benchmarks.peers $(BENCH_ARGS)

soak: setup servers ## half an hour under load with faults: does anything grow, get stuck or get lost? BENCH_ARGS=--help
	$(BIN)/python -m benchmarks.soak --json benchmarks/results/soak.json $(BENCH_ARGS)
	$(BIN)/python scripts/generate_performance.py

docs: ## build the documentation into site/
	@VENV=.venv-docs scripts/setup docs
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

lock: ## write requirements/*.txt from pyproject.toml; UPGRADE=1 takes newest versions
	@scripts/lock

changelog: setup ## show what the next release's changelog would say
	$(BIN)/towncrier build --draft

clean: ## remove everything that can be made again
	rm -rf .venv .venv-docs .venv-fuzz site dist build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
		.benchmarks htmlcov .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
