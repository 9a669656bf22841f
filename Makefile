# make demo   the whole story at laptop size, into runs/demo (15 minutes on two CPU cores)
# make test   all tests (needs only the packages in requirements*.txt)
# make extras  what some tests are skipped without: torch and transformers, and the TPU compiler (2 GB)
# make bench SOURCE=folder [SOURCES=about.toml]   the data path's speeds, into benchmarks/data.md (10 minutes)
# make bench-ppo  an update of PPO beside TRL's, in turns, into benchmarks/ppo.md (9 minutes on two idle cores)
# make pods   plans for TPU pods, compiled ahead of time, into docs/pods.md (needs make extras; half an hour)
# make soak SOURCE=folder [SOURCES=about.toml]    a preparation killed twenty times, compared to a calm one
# make kills  200 random disturbances of training runs, compared to calm ones, into docs/kills.md (half an hour)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

SOURCE ?= runs/demo/data/documents.train.jsonl

.PHONY: demo test extras lint bench bench-ppo pods soak kills venv clean

demo: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" sh launch/everything.sh

test: venv $(VENV)/.tested
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: venv $(VENV)/.tested
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench: venv $(VENV)/.tested $(VENV)/datatrove/.installed
	$(BIN)/python -m benchmarks.data --source=$(SOURCE) --sources=$(SOURCES) --to=benchmarks/data.md

soak: venv
	$(BIN)/python -m benchmarks.soak --source=$(SOURCE) --sources=$(SOURCES)

bench-ppo: venv $(VENV)/trl/.installed
	$(BIN)/python -m benchmarks.ppo --into=benchmarks/ppo.md

pods: venv $(VENV)/libtpu/.installed
	$(BIN)/python -m benchmarks.pods

kills: venv
	$(BIN)/python -m benchmarks.kills --runs=200 --seed=0 --to=docs/kills.md

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

extras: $(VENV)/.tested $(VENV)/.parity $(VENV)/libtpu/.installed

$(VENV)/.parity: $(VENV)/.tested requirements-parity.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-parity.txt
	@touch $@

# Beside the packages, not among them: JAX would look for a TPU at every start.
$(VENV)/libtpu/.installed: $(VENV)/.installed requirements-tpu.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade --target $(VENV)/libtpu -r requirements-tpu.txt
	@touch $@

$(VENV)/datatrove/.installed: $(VENV)/.installed requirements-datatrove.txt
	$(BIN)/python -m venv $(VENV)/datatrove
	$(VENV)/datatrove/bin/python -m pip install -q --disable-pip-version-check -r requirements-datatrove.txt
	@touch $@

$(VENV)/trl/.installed: $(VENV)/.installed requirements-trl.txt
	$(BIN)/python -m venv $(VENV)/trl
	$(VENV)/trl/bin/python -m pip install -q --disable-pip-version-check -r requirements-trl.txt
	@touch $@

clean:
	rm -rf $(VENV) runs .jax_cache
