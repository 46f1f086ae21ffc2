# Two commands for newcomers: `make serve` and `make test`. Each installs what it needs, into .venv and by apt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
ARGS ?=

.PHONY: serve demo-speech test lint bench wheel compiled test-compiled run-compiled constraints clean
.DEFAULT_GOAL := serve

serve: $(VENV)/.serve
	@$(BIN)/voicegate serve $(ARGS)

# A voice that recognises and speaks without any network or model server.
demo-speech: $(VENV)/.speech
	@requirements/apt.sh speech
	@$(BIN)/voicegate serve --agent examples.offline_speech:agent $(ARGS)

test: $(VENV)/.test
	@requirements/apt.sh
	@$(BIN)/python -m tests $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell voicegate tests examples bench docs *.md --skip 'tests/corpus,tests/vectors'

bench: $(VENV)/.test
	@$(BIN)/python -m bench $(ARGS)

# A wheel for this machine, with what each packet passes through compiled (docs/adr/0020).
wheel: $(VENV)/.lint
	@requirements/apt.sh
	@rm -rf dist build/source && mkdir -p build/source
	@cp -r voicegate pyproject.toml README.md LICENSE build/source  # mypyc leaves its libraries beside the sources
	@HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps \
	    --wheel-dir dist build/source

# The checkout as it is with that wheel installed: run tests and benches in build/compiled to have them of it.
compiled: wheel
	@rm -rf build/compiled && mkdir -p build/compiled
	@cp -r bench docs examples tests pyproject.toml README.md build/compiled
	@$(BIN)/python -m zipfile --extract dist/*.whl build/compiled

test-compiled: compiled run-compiled

run-compiled:
	@cd build/compiled && ../../$(BIN)/python -m pytest -n 2 --dist worksteal -p no:cacheprovider $(ARGS) \
	    tests/audio tests/rtp tests/scenarios tests/srtp tests/transceiver

# All that is installed is pinned and hashed, for every supported Python at once, and names no registry.
constraints:
	$(PYTHON) -m venv $(VENV)/uv && $(VENV)/uv/bin/pip install --quiet uv
	$(call compile,build,requirements/build.in)
	$(call compile,wheel,requirements/build.in pyproject.toml --group wheel)
	$(call compile,image,--extra fleet --extra cascade --extra silero pyproject.toml)
	$(call compile,serve,--extra bundled-opus pyproject.toml)
	$(call compile,speech,--extra bundled-opus --extra speech pyproject.toml)
	$(call compile,test,--extra bundled-opus --extra testing --extra bench --extra fuzz --extra silero \
	    --extra cascade --extra fleet --extra speech pyproject.toml --group test)
	$(call compile,lint,--extra bundled-opus --extra testing --extra bench --extra fuzz --extra silero \
	    --extra cascade --extra fleet --extra speech pyproject.toml --group test --group lint)

define compile
	$(VENV)/uv/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --python-version 3.11 $(2) --output-file requirements/$(1).txt
endef

clean:
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/pip:
	@$(PYTHON) -m venv $(VENV) || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv && \
	    rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }

PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

define install
	@echo "installing into $(VENV) (once)" >&2
	@$(PIP_INSTALL) --require-hashes -r requirements/build.txt
	@$(PIP_INSTALL) --require-hashes --no-build-isolation -r requirements/$(1).txt
	@$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@
endef

$(VENV)/.serve: pyproject.toml requirements/serve.txt requirements/build.txt | $(BIN)/pip
	$(call install,serve)

$(VENV)/.speech: pyproject.toml requirements/speech.txt requirements/build.txt | $(BIN)/pip
	$(call install,speech)

$(VENV)/.test: pyproject.toml requirements/test.txt requirements/build.txt | $(BIN)/pip
	$(call install,test)

$(VENV)/.lint: pyproject.toml requirements/lint.txt requirements/build.txt | $(BIN)/pip
	$(call install,lint)
