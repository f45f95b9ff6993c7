PYTHON ?= python3
VENV ?= .venv
ARGS ?= method=src
BIN := $(VENV)/bin
# Named after this checkout, so that an environment kept elsewhere is pointed at the checkout that uses it.
INSTALLED := $(VENV)/.installed$(subst /,-,$(CURDIR))

.PHONY: help install run test gallery fashion browser check clean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: $(INSTALLED) ## create the virtual environment and install everything

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("src_lab needs Python 3.11 or newer, not " + sys.version.split()[0] + ": make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	rm -f $(VENV)/.installed*
	touch $@

run: install ## run one experiment: make run ARGS='method=sequential seed=1'
	$(BIN)/python run.py $(ARGS)

test: install fashion browser ## run the tests
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal --durations 20

gallery: install ## make the pictures in the README again, from a default run (minutes)
	$(BIN)/python run.py method=src analysis=all sleep.record_every=100 hydra.run.dir=outputs/gallery
	$(BIN)/python scripts/gallery.py outputs/gallery

fashion: ## fetch Debian's package of Fashion-MNIST, which the tests read, where it can be
	@test -d /usr/share/datasets/fashion-mnist || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist; } \
		|| echo "Fashion-MNIST is missing and its tests will fail: apt-get install dataset-fashion-mnist"

browser: ## fetch Debian's Chromium and its driver, in which the tests open reports, where they can be
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { test "$$(id -u)" = 0 \
		&& command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium chromium-driver; } \
		|| echo "Chromium is missing and the tests of reports will fail: apt-get install chromium chromium-driver"

check: install ## style and types: ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## remove what can be made again, results excepted
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
