# Each target sets itself up on a fresh clone: its own .venv with the pinned requirements.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome || echo /usr/bin/chromium)

.PHONY: app test checkpoints screenshots

app: $(VENV)/.app
	$(BIN)/streamlit run app.py

test: $(VENV)/.dev $(CHROMIUM)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	CHROMIUM=$(CHROMIUM) $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# Trains both networks and crafts their poisons anew, then measures all that the report has: about two hours on two cores. Needs the official MNIST files.
checkpoints: $(VENV)/.app
	for loss in lgm softmax; do \
	  $(BIN)/python -m lgm train mnist-$$loss --out checkpoints --resume --force && \
	  $(BIN)/python -m lgm craft mnist-$$loss --data bundled --poisons 500 --seed 1 \
	    --out checkpoints/mnist-$$loss.poisons.safetensors --force && \
	  $(BIN)/python -m lgm craft mnist-$$loss --data bundled --pair $(EXAMPLE) \
	    --out checkpoints/mnist-$$loss.example.safetensors --force || exit 1; \
	done
	$(BIN)/python -m lgm report --data bundled --study checkpoints/mnist.study.json --out runs/report.html --force
EXAMPLE := 2001 4502

screenshots: $(VENV)/.dev $(CHROMIUM)
	CHROMIUM=$(CHROMIUM) $(BIN)/python docs/screenshots.py

$(VENV)/.app: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# The browser tests drive Debian's Chromium; elsewhere, name one: make test CHROMIUM=/path/to/chromium
$(CHROMIUM):
	apt-get update && apt-get install --yes --no-install-recommends chromium
