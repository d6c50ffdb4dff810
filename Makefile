# Everything that a person types. `make` alone lists it.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --quiet
ARGS ?=
# Order and chance of the tests; any other number looks for what this one hides.
SEED ?= 1
# One part each, beside the whole gateway that make bench begins with.
BENCHMARKS ?= bus_roundtrip durability external_client_core handler_core internal_server_echo \
	lab_engine module_time_limit
WORKERS ?= auto

# The lock must hold what the public registry has, whatever this machine's pip is configured to use.
PUBLIC := env -u PIP_EXTRA_INDEX_URL -u PIP_INDEX_URL -u PIP_NO_INDEX PIP_CONFIG_FILE=/dev/null \
	PIP_FIND_LINKS= CUSTOM_COMPILE_COMMAND="make lock"
COMPILE := $(PUBLIC) $(PY) -m piptools compile --quiet --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe \
	--build-deps-for editable

.PHONY: help setup setup-dev run demo test check proto lock bench bench-smoke chaos chaos-controls \
	conformance clean mosquitto
.DEFAULT_GOAL := help

help: ## list the targets
	@echo "make run shows a whole gateway at work; make test checks everything. All targets:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: mosquitto $(VENV)/run.stamp ## install what running needs (.venv, Mosquitto)

setup-dev: mosquitto $(VENV)/dev.stamp ## install what developing needs as well

run: setup ## run broker, gateway, control plane, three devices (ARGS="--port 9000")
	@$(PY) run_all.py --demo $(ARGS)

demo: setup-dev ## run devices against a gateway, take the control plane away, say what was lost
	@$(PY) -m fleet_lab demo $(ARGS)

test: setup-dev ## run all tests (ARGS="-k words", WORKERS=1, SEED=2)
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile --randomly-seed=$(SEED) $(ARGS)

check: setup-dev ## format, lint, types, import rules
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

proto: setup-dev ## make the protobuf code again after a change of a .proto file
	@$(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. module_gateway/protocol/*.proto

lock: setup-dev ## pin the newest allowed versions of all dependencies (ARGS=--upgrade)
	@$(COMPILE) $(ARGS) --extra control-plane --output-file requirements.txt pyproject.toml
	@$(COMPILE) $(ARGS) --extra control-plane --extra postgresql --extra lab --extra ray --extra dev \
		--constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

bench: setup-dev ## measure everything, half an hour of an idle machine (ARGS=--quick: a look)
	@$(PY) -m pytest benchmarks/pure -q --benchmark-columns=min,median,ops
	@$(PY) -m benchmarks.black_box --out build/bench $(ARGS)
	@case "$(ARGS)" in *--quick*) exit 0;; esac; \
	$(PY) -m benchmarks.crowd && $(PY) -m benchmarks.scaling --plot && \
	for each in $(BENCHMARKS); do echo "== $$each" && $(PY) -m benchmarks.$$each || exit 1; done

bench-smoke: setup-dev ## is the hot path slower than the committed baseline? under a minute
	@$(PY) -m benchmarks.smoke $(ARGS)

chaos: setup-dev ## kill processes at random under load and judge (ARGS="--minutes 20 --rows K6")
	@$(PY) -m tests.chaos $(ARGS)

chaos-controls: setup-dev ## break the product on purpose: every row of the fault suite must notice
	@MODULE_GATEWAY_CHAOS_CONTROLS=all $(PY) -m pytest tests/chaos/test_controls.py $(ARGS)

conformance: setup-dev ## write docs/conformance.md from the names of the tests
	@$(PY) -m tests.conformance $(ARGS)

clean: ## remove the virtual environment and everything that can be made again
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis .state
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

mosquitto:
	@tools/prepare.sh mosquitto

$(VENV)/made.stamp: tools/prepare.sh
	@echo "making the virtual environment $(VENV)"
	@PYTHON="$(PYTHON)" tools/prepare.sh venv $(VENV)
	@touch $@

# The stamps are written last: an interrupted installation is done again.
$(VENV)/run.stamp: $(VENV)/made.stamp requirements.txt pyproject.toml
	@echo "installing what running needs"
	@$(PIP) --require-hashes --requirement requirements.txt
	@$(PIP) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/made.stamp requirements-dev.txt pyproject.toml
	@echo "installing what developing needs"
	@$(PIP) --require-hashes --requirement requirements-dev.txt
	@$(PIP) --no-deps --no-build-isolation --no-index --editable .
	@touch $(VENV)/run.stamp $@
