# Every target is one command; `make` alone explains them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A package index of CPU builds of torch, where the ordinary one has none; asked for torch alone.
TORCH_INDEX ?=
# serve-cpu, or serve-cuda on a machine with an NVIDIA GPU.
SERVE ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo serve-cuda || echo serve-cpu)
DATA ?=
export TEMPER_HOME ?= ./var

.PHONY: help demo serve test check matrix chaos fuzz load bench image lock chart-docs clean

help: ## Explain the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/ready ## Poisoned data to hardened, served, probed model (DATA=train.csv names your own)
	@$(BIN)/python -m examples.demo $(if $(DATA),--data "$(DATA)") $(DEMO_ARGS)

serve: $(VENV)/ready ## Start the service on 127.0.0.1:8000 (TEMPER_PORT, state below TEMPER_HOME)
	@$(BIN)/python -m service

# A process for each core, and in each one thread that does not spin while it waits.
ONE_THREAD = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

test: check ## Everything that CI asks but the slow lane: checks, then the test suite
	@$(ONE_THREAD) $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

check: $(VENV)/ready ## Lint, format, types, import boundaries
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

matrix: $(VENV)/ready ## Run the tests of every row of tests/MATRIX.md (MATRIX_ARGS=--list shows them; "D1 L" runs some)
	@$(ONE_THREAD) $(BIN)/python -m tests.matrix $(MATRIX_ARGS)

# Minutes that chaos and fuzz take, beside their start and their final look.
MINUTES ?= 10

chaos: $(VENV)/ready ## Kill, pause and cut the service, its database, store and jobs for MINUTES, then check every promise
	@$(ONE_THREAD) $(BIN)/python -m tests.chaos --minutes $(MINUTES) $(CHAOS_ARGS)

fuzz: $(VENV)/ready ## Fuzz the API and every parser for MINUTES
	@$(ONE_THREAD) $(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(FUZZ_ARGS)

load: $(VENV)/ready ## Measure requests, uploads and long tables on PostgreSQL, rewrite docs/load.md
	@$(ONE_THREAD) $(BIN)/python -m benchmarks.load $(LOAD_ARGS)

bench: $(VENV)/ready ## Measure DeCE's time and memory and the probes' speed, rewrite docs/benchmarks.md (BENCH_ARGS="--only head")
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

# What the images are called, and the container engine that builds them.
IMAGES ?= temper
TAG ?= dev
ENGINE ?= docker
BUILD_ARGS ?=

image: ## Build the api and trainer images (IMAGES=registry/team/temper TAG=1.0 SERVE=serve-cuda ENGINE=docker)
	@mkdir -p build/wheels
	@for target in api trainer; do \
	  $(ENGINE) build --target $$target --tag $(IMAGES)-$$target:$(TAG) --build-arg SERVE=$(SERVE) \
	    --build-arg TORCH_INDEX=$(TORCH_INDEX) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
	    --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0) $(BUILD_ARGS) . || exit 1; \
	done

lock: ## Write requirements/*.lock anew from pyproject.toml (needs uv)
	@for part in api:api trainer:train,serve-cuda; do \
	  uv pip compile pyproject.toml $$(echo $${part#*:} | tr ',' '\n' | sed 's/^/--extra /') --generate-hashes --no-strip-extras \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_36 --no-header --no-annotate -q \
	    -o requirements/$${part%%:*}.lock || exit 1; \
	done

chart-docs: $(VENV)/ready ## Write the table of values in the chart's README anew
	@$(BIN)/python helm/value_table.py

clean: ## Remove the environment and the embedded state
	rm -rf $(VENV) .venv-openai-* var

$(VENV)/ready: pyproject.toml requirements/install.sh requirements/vllm-metadata/pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" TORCH_INDEX="$(TORCH_INDEX)" SERVE="$(SERVE)" sh requirements/install.sh
	@touch $@
