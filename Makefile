# Each target does its own set-up in .venv. PYTHON picks the interpreter: make demo PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv installs several packages at once, in a quarter of pip's time; where it cannot be had, pip does it.
# Both leave modules to be compiled when they are first used, which takes a minute off a fresh install.
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
DEMO_RUNS := runs/demo
DEMO := --task dna-splice --backbone minilm-l6 --protocol recommended --seed 0
# what ten minutes on two cores can train: a step takes 0.2 s with bfloat16 in hardware, three times that without
EPOCHS := from hf_bertx.processor import fast_bfloat16; print(5 if fast_bfloat16() else 2)
export PYTHONDONTWRITEBYTECODE :=
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test campaign lint lines docs docs-serve bench bench-gpu install clean help

help:
	@echo "make demo     fine-tune three arms on real DNA and print the table"
	@echo "make test     run the tests"
	@echo "make campaign kills, damaged files, fuzzed inputs: nothing may go wrong in silence (minutes)"
	@echo "make lint     ruff format check, ruff check, mypy, import-linter"
	@echo "make lines    lines and modules of each folder"
	@echo "make docs     the site, in site/; make docs-serve shows it while you write"
	@echo "make bench    measure what is promised of speed (15 minutes); make bench-gpu on a GPU"
	@echo "make install  .venv with the extra all"

demo: $(VENV)/.installed-offline
	$(BIN)/accelerate launch --config_file accelerate_config.yaml train.py $(DEMO) --arm bert re_emb rand \
	  --num_train_epochs $$($(BIN)/python -c "$(EPOCHS)") --output_dir $(DEMO_RUNS)
	@$(BIN)/bertx report $(DEMO_RUNS) --output $(DEMO_RUNS)
	@echo "Models (weights, tokenizer, card):"
	@find $(DEMO_RUNS) -type d -name model | sed 's/^/  /'

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile

campaign: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/test_campaign.py tests/data/test_fuzzed_inputs.py

lint: $(VENV)/.installed-lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lines:
	@find hf_bertx dataset_scripts benchmarks tests -name '*.py' -exec wc -l {} + | awk '$$2 != "total" { \
		n = split($$2, part, "/"); folder = n > 2 ? part[1] "/" part[2] : part[1] "/*.py"; \
		lines[folder] += $$1; modules[folder]++; lines[part[1]] += $$1; modules[part[1]]++ } \
		END { for (f in lines) printf "%-28s %6d lines %4d modules\n", f, lines[f], modules[f] }' | sort

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# BENCH=--data_dir=DIR takes real sequences in place of random ones of their lengths
bench: $(VENV)/.installed-offline
	$(BIN)/python benchmarks/run.py $(BENCH)

bench-gpu: $(VENV)/.installed-offline
	$(BIN)/python benchmarks/run.py --gpu $(BENCH)

install: $(VENV)/.installed-all

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %s: make demo PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	-@$(PIP) uv

$(VENV)/.installed-offline: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (a few minutes the first time)"
	$(INSTALL) -e '.[offline]' || $(PIP) -e '.[offline]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[offline,test]' || $(PIP) -e '.[offline,test]'
	@touch $@

$(VENV)/.installed-lint: pyproject.toml | $(BIN)/python
	$(INSTALL) 'ruff>=0.14' 'mypy>=1.18' 'import-linter>=2.1' || $(PIP) 'ruff>=0.14' 'mypy>=1.18' 'import-linter>=2.1'
	@touch $@

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[docs]' || $(PIP) -e '.[docs]'
	@touch $@

$(VENV)/.installed-all: pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[all]' || $(PIP) -e '.[all]'
	@touch $@
