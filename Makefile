PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export MOSAIC_SHARED ?= $(abspath ../shared)
# Tests and benches start hundreds of processes: each module is compiled once, not in every one of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: docs docs-recorded demo setup test test-bare test-all test-faults test-corpus fuzz soak soak-scenario coverage golden
.PHONY: test-providers test-cuda bench-cuda run-test-cuda run-bench-cuda lint bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,openvino,solver,report,scenarios]'
	touch $@

test: setup
	$(BIN)/python -m pytest -q -m "not slow and not whole_corpus" -n 2

# What a clone sees that has nothing beside it: every test that knows of the outside data is run with that data hidden.
# The repository's own corpus is compiled, cut and verified; the rest skips with one clear word. The other tests do not
# change: they read nothing outside of the repository.
KNOW_OUTSIDE_DATA = $(shell grep -rlE 'shared|SHARED|corpus' tests --include='test_*.py')
test-bare: setup
	MOSAIC_SHARED=/nowhere $(BIN)/python -m pytest -q -m "not slow and not whole_corpus" -n 2 $(KNOW_OUTSIDE_DATA)

# All but the models of the whole corpus. The fault table mostly waits, so it runs on more processes than there are cores.
test-all: setup test-faults
	$(BIN)/python -m pytest -q -m "not whole_corpus" -n 2 --ignore tests/faults

# The whole fault table: a device that breaks in every place, in every way, in every command. Most of its time is waiting.
test-faults: setup
	$(BIN)/python -m pytest -q -n 4 tests/faults

# Every model of the shared corpus through every test of models. What has passed with this very code is kept in .verdicts/
# and not run again: after an interruption, call it again. A table of verdicts stands at the end.
test-corpus: setup
	$(BIN)/python -m pytest -q -n 2 tests/corpus --verdicts .verdicts

# Random graphs, then changed files (with coverage guidance where atheris installs), for so many minutes each.
MINUTES ?= 5
fuzz: setup
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz graphs --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzz files --minutes $(MINUTES)
	@if $(BIN)/python -c 'import atheris' 2>/dev/null; then \
		for target in model profile plan devices bundle tensorrt onnxruntime; do \
			$(BIN)/python -m tests.fuzz.guided $$target -max_total_time=$$(( $(MINUTES) * 60 / 7 )) || exit 1; \
		done; \
	else echo "fuzz: no coverage guidance, atheris is not installed"; fi

# Load, run, compile, break and kill for half an hour: memory, descriptors, threads and temporary files must stay flat.
SOAK_MINUTES ?= 30
soak: setup
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES)

# Three networks served on two cores: every 50th frame compared, nothing may fail or grow, misses are told.
SCENARIO_MINUTES ?= 10
soak-scenario: setup
	$(BIN)/python -m tests.soak.scenario --minutes $(SCENARIO_MINUTES)

# Lines and branches that the tests reach; the table names the gaps.
coverage: setup
	$(BIN)/python -m pytest -q -m "not slow and not whole_corpus" -n 2 \
		--cov --cov-report=term-missing:skip-covered --cov-report=html

# Writes the golden files of tests/golden anew; read the difference before you commit it.
golden: setup
	$(BIN)/python -m pytest -q tests/golden --renew-golden

# Installs the QNN and WebGPU providers and a software Vulkan driver into $(VENV), and runs every test that needs one.
test-providers: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,openvino,qnn,webgpu]'
	sh tests/providers/unpack_vulkan_driver.sh $(VENV)/vulkan
	. $(CURDIR)/$(VENV)/vulkan/driver.env && \
		MOSAIC_REQUIRE_PROVIDERS=openvino,qnn,webgpu $(BIN)/python -m pytest -q -m provider

# Tests and figures that need an NVIDIA GPU. They run in an environment of their own, since onnxruntime-gpu takes the
# place of onnxruntime; where that is installed already, name its Python: make test-cuda CUDA_PYTHON=python3.12
test-cuda bench-cuda:
	@if ! nvidia-smi >/dev/null 2>&1; then \
		echo "$@: skipped, this machine has no NVIDIA GPU (nvidia-smi finds none)"; \
	elif test -n "$(CUDA_PYTHON)"; then \
		$(MAKE) --no-print-directory run-$@ CUDA_PYTHON=$(CUDA_PYTHON); \
	else \
		$(MAKE) --no-print-directory $(VENV)-cuda/.installed run-$@ CUDA_PYTHON=$(VENV)-cuda/bin/python; \
	fi

run-test-cuda:
	MOSAIC_REQUIRE_PROVIDERS=cuda $(CUDA_PYTHON) -m pytest -q -m provider -k cuda

run-bench-cuda:
	$(CUDA_PYTHON) -m bench cuda

$(VENV)-cuda/.installed: pyproject.toml constraints.txt
	test -x $(VENV)-cuda/bin/python || $(PYTHON) -m venv $(VENV)-cuda
	$(VENV)-cuda/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,openvino,solver]'
	$(VENV)-cuda/bin/python -m pip uninstall --quiet --yes onnxruntime
	$(VENV)-cuda/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'onnxruntime-gpu[cuda,cudnn]'
	touch $@

# A docstring says what something is or does ("Return …", or a noun phrase); it does not begin with a question word.
DOCSTRING_STARTS := ^ *"""(What|Whether|Who|Where|How|Which|When|Why)[ ,:]

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	! $(BIN)/vulture | grep -v "unused variable"
	! git grep -nE '$(DOCSTRING_STARTS)' -- '*.py'

clean:
	rm -rf $(VENV) build dist demo report

# The documentation as a site, build/site: every link is checked, references are made from the code.
docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "docs: build/site/index.html"

# Types the commands of docs/terminal.md into a terminal again (tmux), and draws the plan of the first page again.
docs-recorded: setup
	$(BIN)/python -m docs.generator.record_terminal -o docs/terminal.md
	mkdir -p build
	$(BIN)/python examples/zoo.py mnasnet_1.0 -o build/mnasnet_1.0.onnx
	$(BIN)/mosaic-onnx profile build/mnasnet_1.0.onnx -d hikey970 -o build/mnasnet.profile.json --force
	$(BIN)/python -m docs.generator.plan_picture build/mnasnet.profile.json -o docs/images/plan.svg

bench: setup
	$(BIN)/python -m bench

demo: setup
	mkdir -p demo
	$(BIN)/python examples/zoo.py mnasnet_1.0 -o demo/mnasnet.onnx
	$(BIN)/mosaic-onnx compile demo/mnasnet.onnx -o demo/mnasnet.mosaic --force
	$(BIN)/mosaic-onnx run demo/mnasnet.mosaic --iterations 10 --warmup 2
	$(BIN)/mosaic-onnx compile demo/mnasnet.onnx -d hikey970 -o demo/mnasnet.hikey970.mosaic --force
	$(BIN)/mosaic-onnx run demo/mnasnet.hikey970.mosaic --iterations 3
