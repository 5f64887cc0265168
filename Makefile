# `make` builds the environment, `make help` lists the rest.
# Needs git, make, bash and a Python 3.11 or later; everything else is fetched into .venv.

.DEFAULT_GOAL := all
SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.stamp
COMPILE := $(BIN)/python -m meyrin.engine.compiled
ARGS ?=
# most tests wait for other processes most of the time; the tests of a file stay together
PARALLEL := -n 6 --dist loadfile --no-loadscope-reorder
export UV_PYTHON_DOWNLOADS := never
# where it is set, each of the thousands of processes of the tests compiles all that it imports
unexport PYTHONDONTWRITEBYTECODE

.PHONY: all
all: $(STAMP) ## build the environment in .venv (the default)
	@:

$(STAMP): pyproject.toml requirements/dev.txt requirements/uv.txt tools/environment
	@tools/environment

.PHONY: demo
demo: $(STAMP) ## run the main job on two embedded sites; ONCE=1 ends after the walk
	@command -v bwrap >/dev/null || MTB_DIR=$$(mktemp -d) bash -c '. testbed/lib.sh; mtb_dirs; apt_need bubblewrap' || true
	@ONCE=$(ONCE) $(BIN)/python -m meyrin.cli.demo

.PHONY: test
test: $(STAMP) ## run every test, real components included; ARGS="-k ledger" narrows
	@$(COMPILE) cluster & $(COMPILE) federation & wait; $(COMPILE) # once, not in each test process
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

WORLD := $(foreach word,SEED SEEDS FIRST WITHOUT REQUESTS STEPS CORES,$(if $($(word)),\
	--$(shell echo $(word) | tr A-Z a-z)=$($(word))))
.PHONY: world
world: $(STAMP) ## live through simulated worlds with every fault: SEEDS=2000, or one: SEED=17
	@$(BIN)/python -m tests.world.many $(WORLD)

.PHONY: check
check: lint ## format, lint, types, floors and the fast tests: before you push
	@$(BIN)/python -m pytest $(PARALLEL) -q -m "not real and not slow" $(ARGS)

.PHONY: lint
lint: $(STAMP) ## format, lint, types and floors, without tests
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(STAMP) ## put the code into its one form
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

LOCK := $(BIN)/uv --quiet --no-config pip compile --python $(BIN)/python --python-version 3.11 --universal \
	--generate-hashes --no-header --no-annotate --no-emit-index-url

.PHONY: lock
lock: ## choose the newest versions that fit and write requirements/*.txt
	@[ -x $(BIN)/uv ] || tools/environment
	@echo uv | $(LOCK) --upgrade - --output-file requirements/uv.txt >/dev/null
	@$(LOCK) --upgrade --all-extras --group dev pyproject.toml --output-file requirements/dev.txt >/dev/null
	@$(LOCK) --upgrade requirements/bench.in --output-file requirements/bench.txt >/dev/null
	@git --no-pager diff --stat -- requirements

.PHONY: bench
bench: $(STAMP) ## measure throughput against the fork ceiling
	@$(BIN)/python bench/throughput.py $(ARGS)

.PHONY: bench-replay
bench-replay: $(STAMP) ## measure replay against a C loop and a peer, on one core
	@$(BIN)/python bench/replay.py $(ARGS)

.PHONY: bench-slurm
bench-slurm: $(STAMP) ## measure jobs through Meyrin on a real Slurm cluster against plain sbatch (root)
	@$(BIN)/python bench/slurm.py $(ARGS)

.PHONY: test-other-slurm
test-other-slurm: $(STAMP) ## the tests of a real Slurm with another suite's, beside the checkout: SUITE=trixie MIRROR=URL (root)
	@KEYRING="$(KEYRING)" testbed/slurm/other-version.sh $(or $(OTHER),/var/tmp/meyrin-slurm/$(SUITE)) $(SUITE) $(MIRROR) \
		$(BIN)/python -m pytest -n 0 -q tests/agent/slurm/test_real.py tests/agent/slurm/test_rest_real.py $(ARGS)

.PHONY: record-other-slurm
record-other-slurm: $(STAMP) ## what that Slurm answers, into tests/agent/slurm/recorded (root)
	@KEYRING="$(KEYRING)" testbed/slurm/other-version.sh $(or $(OTHER),/var/tmp/meyrin-slurm/$(SUITE)) $(SUITE) $(MIRROR) \
		$(BIN)/python -m tests.agent.slurm.record tests/agent/slurm/recorded "$(SUITE)"

.PHONY: bench-first-job
bench-first-job: $(STAMP) ## measure twenty new people from log-in to a first job on a real Slurm site (root)
	@$(BIN)/python bench/first_job.py $(ARGS)

.PHONY: bench-pooling
bench-pooling: $(STAMP) ## what one pool instead of many does to waiting, on a real log
	@$(BIN)/python bench/pooling.py $(ARGS)

.PHONY: bench-suites
bench-suites: $(STAMP) ## measure runs of suites against bare Inspect
	@$(BIN)/python bench/suites.py $(ARGS)

.PHONY: planted
planted: $(STAMP) ## four planted models through jail and gate over ten seeds, and twenty runs with one root
	@MEYRIN_PLANTED_SEEDS=10 MEYRIN_SUITE_RUNS=20 $(BIN)/python -m pytest -n 2 \
		tests/suites/test_planted.py tests/suites/test_runner.py tests/walk/test_suites.py $(ARGS)

# each file says at its top what its variable counts; hours on two cores, so one step at a time
LONG := MEYRIN_ONCE=10000 MEYRIN_OPERATIONS=100000 MEYRIN_REPLICATES=20000 MEYRIN_OPENAPI=60 \
	MEYRIN_KILLED_JOBS=300 MEYRIN_SLURM_JOBS=200 MEYRIN_FEDERATION_CASES=4000 \
	MEYRIN_SBATCH_CASES=2000
.PHONY: nightly
nightly: $(STAMP) ## the long rounds of what make test does in short: 2,000 worlds, 10,000 submissions …
	@$(MAKE) --no-print-directory world SEEDS=2000
	@$(MAKE) --no-print-directory planted
	@$(LONG) $(BIN)/python -m pytest -n 2 --timeout 10800 tests/agent/slurm/test_once.py \
		tests/agent/slurm/test_once_rest.py tests/agent/slurm/test_real.py \
		tests/hub/calls/test_allocation_machine.py \
		tests/suites/gate/test_rules.py tests/hub/test_openapi.py tests/hub/reports/test_odd.py \
		tests/agent/local/test_kills.py tests/walk/test_slurm.py \
		tests/oracles/test_federation.py $(ARGS)

.PHONY: clean
clean: ## remove the environment and everything that tools left behind
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find src tests bench examples testbed -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 24
