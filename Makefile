# Two commands start here: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_READY := $(VENV)/.ready-demo
# How many tests run at a time on two cores: those with processes mostly wait.
UNIT_TESTS_AT_A_TIME := -n 2
SYSTEM_TESTS_AT_A_TIME := -n 4
# A trial under load has a broker, three workers and their learners: with more of them the machine itself is the fault.
TRIALS_AT_A_TIME := -n 3
LONG_TRIALS_AT_A_TIME := -n 2
# No test of `make rest` starts later than this many seconds after the first; 0: no limit. MODULE_ORDER: any text.
WITHIN := 0
MODULE_ORDER :=
# Of `make demo`: such as --keep.
OPTIONS :=
# Of `make release-check`: such as v0.1.0.
TAG :=

BENCH := .venv-bench
BENCH_READY := $(BENCH)/.ready
DEPLOY := .venv-deploy
DEPLOY_READY := $(DEPLOY)/.ready
# Types of custom resources of Kubernetes; checkers of the contracts.
NPM_PACKAGES := @kubernetes-models/keda@2.0.0 @kubernetes-models/prometheus-operator@6.0.0 typescript@7.0.2 ajv@8.20.0 @asyncapi/parser@3.6.6
export NODE_PATH := $(CURDIR)/$(DEPLOY)/node_modules
# The packages are resolved together, and are in no lock themselves.
PACKAGES := '-e packages/loopback-kafka' '-e .' '-e packages/stream-coupons-console' '-e packages/stream-coupons-lab'
RESOLVE := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --python-version 3.11 --no-emit-package stream-coupons --no-emit-package stream-coupons-lab --no-emit-package stream-coupons-console --no-emit-package loopback-kafka

.PHONY: help setup demo unit test rest test-all deploy-tools deploy-check release-check mutants test-faults bench check docs figures picture format schemas reference lock clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(DEMO_READY)  ## create .venv with what the demo and the command line need
	@echo 'ready: activate the environment (. $(BIN)/activate), then try: stream-coupons --help'

demo: $(DEMO_READY)  ## run the main job on the embedded broker and write a report (a minute or two); OPTIONS=--keep keeps it up
	@$(BIN)/stream-coupons demo $(OPTIONS)

unit: $(READY)  ## the tests that start no process and open no connection
	@$(BIN)/pytest --tier unit $(UNIT_TESTS_AT_A_TIME)

test: check unit  ## every check, and every test that takes no more than minutes; on Apache Kafka where Java and Maven are
	@$(BIN)/pytest --tier deploy $(UNIT_TESTS_AT_A_TIME) --dist loadfile
	@$(BIN)/pytest --tier system $(SYSTEM_TESTS_AT_A_TIME) --dist loadfile --no-loadscope-reorder

deploy-tools: $(DEPLOY_READY)  ## what checks manifests, workflows, wheels and contracts; without it `make test` skips, and names, those tests

deploy-check: $(READY) $(DEPLOY_READY)  ## the tests of manifests, units, workflows and wheels
	@$(BIN)/pytest --tier deploy $(UNIT_TESTS_AT_A_TIME) --dist loadfile

release-check: $(READY) $(DEPLOY_READY)  ## build the wheels into dist/ twice alike, and check them, version, notes and workflows; TAG=v0.1.0 checks that tag, too
	@$(BIN)/python tools/release.py check $(TAG)
	@rm -rf dist
	@$(BIN)/python tools/release.py build dist
	@$(DEPLOY)/bin/twine check --strict dist/*.whl
	@$(DEPLOY)/bin/check-wheel-contents dist
	@$(DEPLOY)/bin/zizmor --offline --quiet .github

rest: $(READY)  ## the tests that `make test` leaves out: slow ones, all faults, the other broker
	@$(BIN)/pytest --tier rest $(TRIALS_AT_A_TIME) --within $(WITHIN) $(if $(MODULE_ORDER),--module-order $(MODULE_ORDER))

test-all: test rest mutants  ## every test, on both brokers, and mutants

mutants: $(READY)  ## change leases, state records and batch in every way that mutmut knows; list the changes that no test notices
	@$(BIN)/mutmut run
	@$(BIN)/mutmut results

bench: $(BENCH_READY)  ## CPU per event beside Faust and Quix Streams, on Apache Kafka (some ten minutes)
	@$(BENCH)/bin/python -m benchmarks.speed --events 20000 --repeats 1

check: docs $(READY)  ## format, lint, spelling, style, size, commit subjects, types, layers, schemas, dead links
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/codespell
	@$(BIN)/python tools/check_style.py
	@$(BIN)/python tools/count_code.py --quiet
	@$(BIN)/python tools/check_commits.py
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/stream-coupons schemas check schemas

docs: $(READY)  ## build the site of docs/ into site/; a dead link is an error
	@$(BIN)/zensical build --clean --strict

figures: $(READY) $(BENCH_READY)  ## measure the figures of the pages and write their tables (Apache Kafka; leave the machine alone)
	@$(BIN)/python docs/figures.py
	@$(BIN)/python -m benchmarks.cold_start --write

picture: demo  ## run the demo, and take the picture of its report that the pages show (Chromium)
	@$(BIN)/python docs/picture.py reports/demo.html

format: $(READY)  ## format and mend what can be mended by machine
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

schemas: $(READY)  ## write the JSON Schemas, and the types of the builders' arguments, anew from the types
	@$(BIN)/stream-coupons schemas write schemas
	@$(BIN)/python tools/builder_keywords.py

reference: $(READY)  ## write docs/reference and the trace of an event anew from the code
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/trace.py

lock: $(READY)  ## resolve the dependencies anew
	@$(BIN)/python -m pip install --quiet uv
	@printf '%s\n' $(PACKAGES) '-e .[rocksdb,approval,otel]' '-e packages/stream-coupons-lab[frames,tune]' '-e packages/stream-coupons-console[mcp]' | $(RESOLVE) --group dev - -o requirements.lock
	@printf '%s\n' $(PACKAGES) hatchling editables | $(RESOLVE) --constraint requirements.lock - -o requirements-demo.lock
	@printf '%s\n' '-e .[rocksdb,approval,otel]' | $(RESOLVE) --constraint requirements.lock - -o requirements-runtime.lock
	@printf '%s\n' $(PACKAGES) | $(RESOLVE) --group bench - -o requirements-bench.lock
	@$(RESOLVE) --group deploy -o requirements-deploy.lock

$(DEMO_READY): requirements-demo.lock pyproject.toml packages/loopback-kafka/pyproject.toml packages/stream-coupons-console/pyproject.toml packages/stream-coupons-lab/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "stream_coupons needs Python >= 3.11: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python has no venv module: apt-get install python3-venv"; exit 2; }
	@echo "installing the locked dependencies into $(VENV)"
	@$(BIN)/python tools/install.py requirements-demo.lock
	@echo "installing the packages of this clone"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e packages/loopback-kafka -e . -e packages/stream-coupons-console -e packages/stream-coupons-lab
	@touch $@

$(READY): $(DEMO_READY) requirements.lock
	@echo "installing the tools of development into $(VENV)"
	@$(BIN)/python tools/install.py requirements.lock
	@touch $@

$(BENCH_READY): requirements-bench.lock
	@$(PYTHON) -m venv $(BENCH)
	@echo "installing the locked dependencies of the benchmark into $(BENCH)"
	@$(BENCH)/bin/python tools/install.py requirements-bench.lock
	@touch $@

$(DEPLOY_READY): requirements-deploy.lock Makefile
	@$(PYTHON) -m venv $(DEPLOY)
	@echo "installing the tools that check a deployment into $(DEPLOY)"
	@$(DEPLOY)/bin/python tools/install.py requirements-deploy.lock
	@npm install --silent --no-audit --no-fund --prefix $(DEPLOY) $(NPM_PACKAGES) || echo "npm packages cannot be had here: tests skip what needs them"
	@touch $@

test-faults: $(READY)  ## the long form of the faults: three seeds, many rounds; hours, in parts: docs/trials.jsonl keeps what passed
	@STREAM_COUPONS_FAULTS=long STREAM_COUPONS_FAULTS_REPORT=docs/trials.jsonl STREAM_COUPONS_REQUIRE_KAFKA=1 $(BIN)/pytest tests/faults $(LONG_TRIALS_AT_A_TIME) --timeout 3600

clean:  ## remove the virtual environment and every cache
	rm -rf $(VENV) $(BENCH) $(DEPLOY) .mypy_cache .ruff_cache .pytest_cache .hypothesis
