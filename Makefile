# Each target sets itself up on a fresh clone: its own .venv with the pinned requirements.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome || echo /usr/bin/chromium)

.PHONY: app test checkpoints network screenshots latency

app: $(VENV)/.app
	$(BIN)/streamlit run app.py

test: $(VENV)/.dev $(CHROMIUM)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	CHROMIUM=$(CHROMIUM) $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# Trains all shipped networks and crafts their poisons anew, then measures all that the report has: two hours on two
# cores for MNIST, eight for CIFAR-10. Needs the official files of both (LGM_DATA).
checkpoints: $(VENV)/.app
	for loss in lgm softmax; do \
	  $(MAKE) network NAME=mnist-$$loss SPLIT=bundled POISONS=500 PAIR="2001 4502" && \
	  $(MAKE) network NAME=cifar10-$$loss SPLIT=test POISONS=100 PAIR="$(CIFAR_PAIR)" || exit 1; \
	done
	$(BIN)/python -m lgm train cifar10-lgm-10d --out checkpoints --resume --force
	rm checkpoints/warm-*.state.safetensors
	$(BIN)/python -m lgm report --data bundled --study checkpoints/mnist.study.json --out runs/report.html --force
	$(BIN)/python -m lgm report --quick --data test --lgm cifar10-lgm --softmax cifar10-softmax \
	  --study checkpoints/cifar10.study.json --out runs/cifar10.html --force
CIFAR_PAIR := 0 1

network: $(VENV)/.app
	$(BIN)/python -m lgm train $(NAME) --out checkpoints --resume --force
	$(BIN)/python -m lgm craft $(NAME) --data $(SPLIT) --poisons $(POISONS) --seed 1 \
	  --out checkpoints/$(NAME).poisons.safetensors --force
	$(BIN)/python -m lgm craft $(NAME) --data $(SPLIT) --pair $(PAIR) \
	  --out checkpoints/$(NAME).example.safetensors --force

screenshots: $(VENV)/.dev $(CHROMIUM)
	CHROMIUM=$(CHROMIUM) $(BIN)/python docs/screenshots.py

latency: $(VENV)/.dev $(CHROMIUM)
	CHROMIUM=$(CHROMIUM) $(BIN)/python docs/latency.py

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
