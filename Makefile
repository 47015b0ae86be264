# Every command a person or CI runs here. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: run demo test test-long test-fast check format bench bench-peers truth-long claims-long fleet-long sim sim-long sim-crash-long sim-money sim-money-long parts adapter features clean help \
        setup setup-dev
SHELL := /bin/sh
PY := .venv/bin/python
PYTEST := $(PY) -m pytest
WORKERS ?= 5
export PYTHON
# Some images switch bytecode off; without it each of a run's programs takes twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

run: setup ## start the whole product here; Ctrl-C stops it
	@exec .venv/bin/ganglion up $(ARGS)

demo: setup ## the main job from end to end, with times, receipts and proofs (ENGINE=vllm: real vLLM)
	@exec .venv/bin/ganglion demo $(if $(ENGINE),--engine $(ENGINE)) $(ARGS)

test: setup-dev ## fetch what the tests need, then run them, but for the longest (make test-long)
	@$(PY) -m tools.parts --for-tests
	@$(PYTEST) -n $(WORKERS) --dist loadgroup -m "not long" $(ARGS)

test-long: setup-dev ## the proofs at full size: each step of an update, every kind of cut, whole lives of hosts
	@$(PY) -m tools.parts --for-tests
	@$(PYTEST) -n $(WORKERS) --dist loadgroup -m "long or law" --hypothesis-profile whole $(ARGS)

test-fast: setup-dev ## the unit tests, in under 30 s
	@$(PYTEST) -n logical --dist loadgroup -q -m "not slow and not real and not long" --hypothesis-profile fast \
	    tests/unit $(ARGS)

check: setup-dev ## format, lint, types, floors, the tree's own rules
	@$(PY) -m tools.check

format: setup-dev ## write the code as `make check` wants it
	@.venv/bin/ruff format --quiet .
	@.venv/bin/ruff check --quiet --fix .

bench: setup-dev ## measure; one line a figure (ONLY=gateway|steps|endurance|aborts|outages|front|ledger|planner|heartbeats|history|host|start)
	@$(PY) -m bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

truth-long: setup-dev ## a whole installation under SIGKILLs: the books have every request, once (REQUESTS=n SEED=k KILLS=m BREAK=name)
	@$(PY) -m bench.truth --requests $(or $(REQUESTS),1000000) --seed $(or $(SEED),1) \
	    $(if $(KILLS),--kills $(KILLS)) $(if $(BREAK),--break $(BREAK)) $(ARGS)

claims-long: setup-dev ## eight schedulers, 100,000 requests: nothing is claimed twice (REQUESTS=n)
	@$(PY) -m bench.schedulers --requests $(or $(REQUESTS),100000)

fleet-long: setup-dev ## 5,000 agents at the real brain for ten minutes; some die (AGENTS=n SECONDS=s KILLS=k)
	@$(PY) -m bench.fleet_load --agents $(or $(AGENTS),5000) --seconds $(or $(SECONDS),600) --kills $(or $(KILLS),40)

sim: setup-dev ## whole worlds by seed, every law after every step (SEEDS=n FIRST=k STEPS=m | SEED=k; BREAK=name)
	@$(PY) -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),20) --first $(or $(FIRST),1)) \
	    $(if $(STEPS),--steps $(STEPS)) $(if $(BREAK),--break $(BREAK)) $(ARGS)

sim-long: setup-dev ## a thousand seeds of them, on two cores
	@$(PY) -m tests.sim --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),1) --jobs 2 $(ARGS)

sim-crash-long: setup-dev ## death at every mark, commit and call, at each cloud
	@$(PY) -m tests.sim --crashes $(ARGS)

sim-money: setup-dev ## worlds of money by seed, every law after every step (SEEDS=n FIRST=k STEPS=m | SEED=k; BREAK=name)
	@$(PY) -m tests.sim.money $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),20) --first $(or $(FIRST),1)) \
	    $(if $(STEPS),--steps $(STEPS)) $(if $(BREAK),--break $(BREAK) --stop) $(ARGS)

sim-money-long: setup-dev ## a thousand seeds of them, on two cores
	@$(PY) -m tests.sim.money --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),1) --jobs 2 $(ARGS)

bench-peers: setup-dev ## fetch the peers that some figures compare with (vllm-router, litellm)
	@$(PY) -m tools.parts --peers

parts: setup-dev ## fetch the heavy outside parts of the tests: real vLLM for the CPU (0.6 GB, 2.5 GB on disk)
	@$(PY) -m tools.parts --for-tests --heavy

adapter: setup-dev ## a new cloud's adapter, stand-in and contract, green from the start (NAME=acme)
	@$(PY) -m tools.new_adapter $(NAME)
	@$(MAKE) -s format

features: setup-dev ## the product's rows with the last results (UPDATE=1 writes the test column)
	@$(PY) -m tools.features $(if $(UPDATE),--update) $(ARGS)

clean: ## remove everything made here: .venv, data, fetched parts, caches
	@if [ -f .ganglion/lock ] && ! flock -n .ganglion/lock true; then \
	    echo "Ganglion runs on .ganglion: stop it first (Ctrl-C in its terminal)." >&2; exit 1; fi
	@rm -rf .venv .ganglion .parts .cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
	    .pytest_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:
	@tools/bootstrap.sh runtime

setup-dev:
	@tools/bootstrap.sh dev
