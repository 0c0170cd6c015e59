# Every target first brings .venv/ up to date; a second run reinstalls nothing.
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help system install demo test lint bench acceptance gpu-check screenshots glossary clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

system:
	@scripts/system-packages

$(STAMP): pyproject.toml constraints.txt scripts/install | system
	@scripts/install
	@touch $@

install: system $(STAMP) ## make .venv/ with napari, Qt, torch and this plugin

demo: install ## the built-in section from start to end in napari (without a display: into demo-output/)
	@scripts/demo

test: install ## all quick tests on two cores, windows too (under Xvfb); ARGS="-k name" for some
	@OMP_NUM_THREADS=1 scripts/headless $(BIN)/pytest --numprocesses 2 --dist loadgroup $(ARGS)

lint: install ## ruff, mypy and the check of the napari manifest
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/npe2 validate napari-deepspace

bench: install ## speed and responsiveness, printed
	@scripts/headless $(BIN)/pytest -s -o python_files="bench_*.py" benchmarks $(ARGS)

acceptance: install ## the slow checks: more seeds, real data, the time estimate
	@scripts/headless $(BIN)/pytest -m acceptance $(ARGS)

gpu-check: ## GPU benchmarks with the torch of python3 (PYTHON=... for another), from gpu-bundle/, which is made where it is missing
	@test -f gpu-bundle/run.py || { $(MAKE) --no-print-directory install && $(BIN)/python scripts/gpu_bundle.py gpu-bundle; }
	@$(or $(PYTHON),python3) gpu-bundle/run.py $(ARGS)

screenshots: install ## make docs/images/ anew from the demo
	@scripts/screenshots

glossary: install ## make docs/glossary.md anew from the code
	$(BIN)/python -m napari_deepspace.glossary docs/glossary.md

clean: ## remove what tests and demo left (.venv/ stays)
	rm -rf demo-output dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
