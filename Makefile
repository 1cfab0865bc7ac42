# `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

.DEFAULT_GOAL := help
STUDY ?=
PART ?=
# Advisories that do not concern this package, each with its reason; none so far.
AUDIT_IGNORED =

.PHONY: help setup demo test fuzz mutants audit lint format report bench lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 10

setup: .venv/installed ## create .venv and install the exact versions of requirements.lock

.venv/installed: requirements.lock pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

demo: setup ## write synthetic radiographs, train on them, print the mAP (about 5 minutes on 2 cores)
	$(BIN)/python -m rsna_det.prepare data=synthetic data.image_size=192
	$(BIN)/python -m rsna_det.train experiment=heavy_aug_norot data=synthetic data.image_size=192 \
		encoder=efficientnet_lite0 model=small optimizer=short trainer=cpu trainer.max_epochs=8 score_untrained=true

test: setup ## all tests, the same examples every time
	$(BIN)/python -m pytest -n $(WORKERS)

fuzz: setup ## the property tests with ten times as many examples, others every time
	$(BIN)/python -m pytest -n $(WORKERS) -m hypothesis --hypothesis-profile=fuzz

mutants: setup ## mutation testing of boxes, metric, losses and DICOM reading (an hour or two); the survivors at the end
	$(BIN)/mutmut run --max-children $(WORKERS)
	$(BIN)/mutmut results

audit: ## known vulnerabilities of the locked versions (asks osv.dev); explain each AUDIT_IGNORED here
	$(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet 'pip-audit>=2.9,<3'
	.audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --vulnerability-service osv \
		$(AUDIT_IGNORED:%=--ignore-vuln %)

lint: setup ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

report: setup ## a page for each study in studies/; for one: make report STUDY=augmentations
	$(BIN)/python -m experiments.report $(STUDY)

bench: setup ## speed and memory against torchvision, of the cache and of the metric; of one: make bench PART=detector
	$(BIN)/python -m benchmarks $(PART)

lock: ## write the installed versions into requirements.lock
	$(BIN)/pip freeze --exclude-editable | grep -viE '^(rsna[-_]det|pip|setuptools)' | \
		sed -E 's/^((nvidia|cuda|triton)[^ ]*)$$/\1 ; platform_system == "Linux" and platform_machine == "x86_64"/' > requirements.lock

clean: ## remove .venv and caches (runs and data stay)
	rm -rf .venv .audit .mypy_cache .ruff_cache .pytest_cache .import_linter_cache mutants build *.egg-info
