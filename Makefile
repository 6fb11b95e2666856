# Everything a newcomer types. Each target that runs code makes the virtual environment first.
#   make PYTHON=python3.12     the Python to make it with, 3.10 to 3.13
#   make VENV=/some/folder     where it goes

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 3
OPTIONS ?=
EXTRAS := app dev docs eos hed mediapipe reconstruct scans serving usd video

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALL := "$(BIN)/python" -m pip install --quiet --require-hashes
COMPILE := "$(BIN)/uv" pip compile setup.py --universal --python-version=3.10 --no-python-downloads \
  $(EXTRAS:%=--extra=%) --no-header --no-annotate --quiet
DEMO := runs/demo/evaluation
MODEL := runs/model
ICT := $(if $(ICT_FACEKIT_DIR),,--ict_facekit=runs/ict-facekit --download)
TABLE1 := runs/ict
TABLE1_MODELS := single_view single_view_virtual mv_add mv_concat mv_shape_concat mv_mean mv_max mv_attention
TABLE1_JOINED_MODELS := joined_single_view joined_mv_add joined_mv_concat joined_mv_shape_concat joined_points

export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
# Many processes are started below: without bytecode each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo model table1 test lint format typecheck unit docs benchmarks wheel constraints lock clean

help:  ## say what each target does
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip takes no file whose SHA-256 is not in requirements.lock. One package (promise, which tensorflow-datasets needs) is
# there as sources only; what builds it, and tfface, comes from the lock too, and therefore first.
$(INSTALLED): setup.py pyproject.toml requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "tfface needs Python 3.10 to 3.13; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1 || echo missing)." \
	    "Name another one: make PYTHON=python3.12" >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"
	awk '/^[^ ]/ { wanted = /^setuptools==/ } wanted' requirements.lock > "$(VENV)/build.lock"
	$(INSTALL) --only-binary :all: --requirement "$(VENV)/build.lock"
	$(INSTALL) --no-build-isolation --only-binary :all: --no-binary promise --requirement requirements.lock
	"$(BIN)/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch "$@"

demo: $(INSTALLED)  ## synthetic people, training, evaluation: table and picture in runs/demo/evaluation; continues an interrupted run
	"$(BIN)/python" -m tfface.prepare --flagfile=configs/demo_prepare.cfg
	"$(BIN)/python" -m tfface.train --flagfile=configs/demo_single_view.cfg
	"$(BIN)/python" -m tfface.train --flagfile=configs/demo_multi_view.cfg
	"$(BIN)/python" -m tfface.evaluate --flagfile=configs/demo_evaluate.cfg
	@echo "Table: $(DEMO)/table.md    Picture: $(DEMO)/examples.png"

model: $(MODEL)/starter.keras $(MODEL)/starter.reliability.npz  ## the package's model, runs/model/starter.keras, and its reliability, from nothing: about 5 hours; continues an interrupted run; ICT_FACEKIT_DIR, else fetched; MAKEHUMAN_ASSETS_DIR
	@cat $<.sha256

$(MODEL)/starter.keras: $(MODEL)/training/starter/last.keras
	"$(BIN)/python" -m tfface.shrink --model=$< --prune=1e-4 --out=$@

# On the validation split of both kinds of people: those whom it sees well, and those whom it sees badly.
$(MODEL)/starter.reliability.npz: $(MODEL)/starter.keras
	"$(BIN)/python" -m tfface.calibrate_estimates --model=$< --records=$(MODEL)/both

$(MODEL)/training/%/last.keras: configs/model_%.cfg | $(MODEL)/both/manifest.json
	"$(BIN)/python" -m tfface.train --flagfile=$<

$(MODEL)/training/single_view/last.keras: | $(MODEL)/training/painted/last.keras
$(MODEL)/training/variants/last.keras: | $(MODEL)/training/single_view/last.keras
$(MODEL)/training/mean/last.keras: | $(MODEL)/training/variants/last.keras
$(MODEL)/training/joint/last.keras: | $(MODEL)/training/mean/last.keras
$(MODEL)/training/shapes/last.keras: | $(MODEL)/training/joint/last.keras $(MODEL)/all_people/manifest.json
$(MODEL)/training/starter/last.keras: | $(MODEL)/training/shapes/last.keras $(MODEL)/painted_people/manifest.json

$(MODEL)/%/manifest.json: | $(INSTALLED)
	"$(BIN)/python" -m tfface.prepare --flagfile=configs/model_$*.cfg $(ICT) $(OPTIONS)

$(MODEL)/varied/manifest.json: | $(MODEL)/people/manifest.json
$(MODEL)/both/manifest.json: | $(MODEL)/varied/manifest.json
$(MODEL)/more_people/manifest.json: | $(MODEL)/people/manifest.json
$(MODEL)/other_shapes/manifest.json: | $(MODEL)/people/manifest.json
$(MODEL)/painted_people/manifest.json: | $(MODEL)/more_people/manifest.json $(MODEL)/other_shapes/manifest.json
$(MODEL)/all_people/manifest.json: | $(MODEL)/painted_people/manifest.json $(MODEL)/varied/manifest.json

.SECONDARY: $(patsubst %,$(MODEL)/training/%/last.keras,painted single_view variants mean joint shapes starter)

# Finished steps are not repeated, and interrupted ones continue. A training that has ended leaves `last.keras`.
table1: $(TABLE1_MODELS:%=$(TABLE1)/%/last.keras) $(TABLE1_JOINED_MODELS:%=$(TABLE1)/%/last.keras) $(TABLE1)/joined_points/best.reliability.npz $(TABLE1)/many_views/manifest.json $(TABLE1)/points_people/manifest.json  ## Table 1 of the paper on ICT-FaceKit's people (ICT_FACEKIT_DIR): reports in runs/ict/study and runs/ict/joined_study; about 5 hours; continues an interrupted run
	"$(BIN)/python" -m tfface.study --flagfile=configs/table1_study.cfg
	"$(BIN)/python" -m tfface.study --flagfile=configs/table1_joined_study.cfg
	"$(BIN)/python" -m tfface.evaluate --flagfile=configs/table1_points.cfg
	"$(BIN)/python" -m tfface.evaluate --flagfile=configs/table1_joined_adjusted.cfg
	@echo "Report: $(TABLE1)/study/report.html; of four times as many people: $(TABLE1)/joined_study/report.html"
	@echo "Adjusted to points: $(TABLE1)/points/table.md, $(TABLE1)/joined_adjusted/table.md"

$(TABLE1)/people/manifest.json: | $(INSTALLED)
	"$(BIN)/python" -m tfface.prepare --flagfile=configs/ict_prepare.cfg

$(TABLE1)/many_views/manifest.json: | $(TABLE1)/people/manifest.json
	"$(BIN)/python" -m tfface.prepare --flagfile=configs/table1_many_views.cfg

$(TABLE1)/more_people/manifest.json: | $(TABLE1)/people/manifest.json
	"$(BIN)/python" -m tfface.prepare --flagfile=configs/table1_more_people.cfg

$(TABLE1)/joined_people/manifest.json: | $(TABLE1)/more_people/manifest.json
	"$(BIN)/python" -m tfface.prepare --flagfile=configs/table1_joined_people.cfg

$(TABLE1)/points_people/manifest.json: | $(INSTALLED)
	"$(BIN)/python" -m tfface.prepare --flagfile=configs/table1_points_people.cfg

$(patsubst %,$(TABLE1)/%/last.keras,$(TABLE1_MODELS) $(TABLE1_JOINED_MODELS)): $(TABLE1)/%/last.keras: configs/table1_%.cfg
	"$(BIN)/python" -m tfface.train --flagfile=$<

$(TABLE1_MODELS:%=$(TABLE1)/%/last.keras): | $(TABLE1)/people/manifest.json
$(TABLE1_JOINED_MODELS:%=$(TABLE1)/%/last.keras): | $(TABLE1)/joined_people/manifest.json
$(patsubst %,$(TABLE1)/%/last.keras,$(filter-out single_view,$(TABLE1_MODELS))): | $(TABLE1)/single_view/last.keras
$(patsubst %,$(TABLE1)/%/last.keras,$(filter-out joined_single_view,$(TABLE1_JOINED_MODELS))): | $(TABLE1)/joined_single_view/last.keras
$(TABLE1)/mv_shape_concat/last.keras: | $(TABLE1)/mv_concat/last.keras
$(TABLE1)/joined_mv_shape_concat/last.keras: | $(TABLE1)/joined_mv_concat/last.keras

$(TABLE1)/joined_points/best.reliability.npz: | $(TABLE1)/joined_points/last.keras
	"$(BIN)/python" -m tfface.calibrate_estimates --model=$(TABLE1)/joined_points/best.keras --records=$(TABLE1)/people

test: lint typecheck unit  ## everything that must pass before a commit lands

lint: $(INSTALLED)  ## check style and formatting
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .

format: $(INSTALLED)  ## rewrite the sources as the linter wants them
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

# NumPy's annotations come with its releases, and those differ between Pythons: one Python's are enough to agree with.
typecheck: $(INSTALLED)  ## check the types, if the environment is of Python 3.11
	@if "$(BIN)/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
	  echo '"$(BIN)/mypy"'; "$(BIN)/mypy"; else echo "types: left out, they are checked on Python 3.11"; fi

unit: $(INSTALLED)  ## run the tests, JOBS=3 at a time: they often wait for servers and processes
	"$(BIN)/python" -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder

docs: $(INSTALLED)  ## build the documentation site into build/docs (Python 3.11 or newer); a warning is an error
	"$(BIN)/python" -m sphinx --builder=html --doctree-dir=build/doctrees --fail-on-warning --quiet docs build/docs
	@echo "Site: build/docs/index.html"

benchmarks: $(INSTALLED)  ## measure everything, each against a peer or a limit: table in runs/benchmarks (OPTIONS='--quick --torch_python=...')
	"$(BIN)/python" benchmarks/run.py $(OPTIONS)

wheel: $(INSTALLED)  ## build the wheel and the source archive into dist/
	"$(BIN)/python" -m build --no-isolation

constraints: $(INSTALLED)  ## pin the newest releases of everything in constraints.txt, for all Pythons at once; then the lock
	{ sed -n '/^#/p' constraints.txt; $(COMPILE) --upgrade; } > constraints.new
	mv constraints.new constraints.txt
	$(MAKE) lock

lock: $(INSTALLED)  ## write requirements.lock: what constraints.txt pins, with checksums; what it lacks is pinned in both
	$(COMPILE) --constraint=constraints.txt --generate-hashes > requirements.new
	mv requirements.new requirements.lock
	{ sed -n '/^#/p' constraints.txt; sed -n 's/ *\\$$//; /^[^ ]/p' requirements.lock; } > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove what was built, but neither the environment nor runs/
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find tfface tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
