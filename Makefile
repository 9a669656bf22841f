# make demo   the whole story at laptop size, into runs/demo (15 minutes on two CPU cores)
# make test   all tests (needs only the packages in requirements.txt and pytest)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint venv clean

demo: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" sh launch/everything.sh

test: venv $(VENV)/.tested
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: venv $(VENV)/.tested
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

venv: $(VENV)/.installed

$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "error: cannot make $(VENV); on Debian or Ubuntu first: apt install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.tested: $(VENV)/.installed requirements-test.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-test.txt
	@touch $@

clean:
	rm -rf $(VENV) runs .jax_cache
