# Each target sets itself up on a fresh clone: its own .venv with the pinned requirements.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome || echo /usr/bin/chromium)
# Streamlit ends where $HOME is unset and the account has no home, as in some containers; the folder need not be there.
HOME ?= /nonexistent
export HOME

# The tests start dozens of processes: what they compile of the project is kept, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

# Node for the browser components comes with the pinned requirements; the path is absolute, since npm runs elsewhere.
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix frontend
FRONTEND := $(wildcard frontend/*.* frontend/*/*.ts frontend/*/*.css frontend/*/*.json)

.PHONY: app check test static suite unit frontend checkpoints records seeds poisons screenshots latency

app: $(VENV)/.app
	$(BIN)/streamlit run app.py

check: $(VENV)/.dev
	$(MAKE) --jobs=2 --output-sync=target static unit

test: $(VENV)/.dev $(CHROMIUM) frontend/node_modules/.installed
	$(MAKE) --jobs=2 static suite

static: $(VENV)/.dev frontend/node_modules/.checked
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONPATH=. $(BIN)/lint-imports --no-cache
	$(BIN)/pyrefly check --min-severity error --summary=none

suite: $(VENV)/.dev frontend/node_modules/.installed
	$(NPM) test --silent
	CHROMIUM=$(CHROMIUM) $(PYTEST) --numprocesses $(WORKERS) --durations 15
# One more than cores: those of the browser tests wait for pages half of the time.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

unit: $(VENV)/.dev frontend/node_modules/.installed
	$(NPM) test --silent
	$(PYTEST) --numprocesses auto -m "not browser and not page and not multiprocess and not slow"

# A file a worker, in the order of tests/conftest.py: by itself, xdist begins with the files of most tests.
PYTEST := $(BIN)/pytest --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# After a change to frontend/, or to the statistics that it shares with Python.
frontend: frontend/node_modules/.installed
	$(BIN)/python -m tests.ui.test_frontend_numbers
	$(NPM) run --silent format
	$(NPM) run --silent build

# Trains all shipped networks anew: minutes on two cores for MNIST, eight hours for CIFAR-10. Needs the official files of both
# (LGM_DATA). Then `make records`.
checkpoints: $(VENV)/.app
	for name in $(NETWORKS) cifar10-lgm-9d; do \
	  $(BIN)/python -m lgm train $$name --out checkpoints --resume --force || exit 1; \
	done
	rm checkpoints/warm-*.state.safetensors
NETWORKS := mnist-lgm mnist-softmax cifar10-lgm cifar10-softmax

# Crafts all shipped poisons and measures both studies and both boards, then renders the documents from them. A run that
# was killed goes on where it stopped. Needs the official files of MNIST and CIFAR-10 (LGM_DATA). Networks of other seeds,
# by the shorter recipe of today, are the surrogates of attackers who do not know the network.
records: $(VENV)/.app seeds
	for loss in lgm softmax; do \
	  $(MAKE) poisons NAME=mnist-$$loss SPLIT=bundled POISONS=500 PAIR="2001 4502" && \
	  $(MAKE) poisons NAME=cifar10-$$loss SPLIT=test POISONS=100 PAIR="0 1" || exit 1; \
	done
	$(BIN)/python -m lgm report --data bundled --cache runs/crafted --study checkpoints/mnist.study.json \
	  --out runs/report.html --force
	$(BIN)/python -m lgm report --extent lean --data held-out --lgm cifar10-lgm --softmax cifar10-softmax \
	  --others cifar10-lgm-9d --cache runs/crafted --study checkpoints/cifar10.study.json --out runs/cifar10.html --force
	for dataset in mnist cifar10; do \
	  $(BIN)/python -m lgm bench visibility --dataset $$dataset --out checkpoints/$$dataset.visibility.json --force || exit 1; \
	done
	$(BIN)/python -m lgm board --data bundled $(SURROGATES) --cache runs/crafted --out checkpoints/mnist.board.json --force
	$(BIN)/python -m lgm board --data bundled $(SURROGATES) --cache runs/crafted --out checkpoints/mnist.board.json --force \
	  --add-to checkpoints/mnist.board.json --attackers gradient-matching
	$(BIN)/python -m lgm board --data held-out --models cifar10-lgm cifar10-softmax \
	  --attackers collision edge edge-log-odds bullseye \
	  --choices nearest random --budgets 1:5 5:5 5:10 --cache runs/crafted --out checkpoints/cifar10.board.json --force
	$(BIN)/python -m lgm results

SURROGATES := --surrogates runs/seeds/mnist-lgm-2.safetensors runs/seeds/mnist-softmax-2.safetensors

# Trains and attacks MNIST networks of five seeds of each kind, of which only what was measured is kept.
seeds: $(VENV)/.app
	$(BIN)/python -m lgm seeds --keep checkpoints/seeds --out checkpoints/mnist.seeds.json --force
	$(BIN)/python -m lgm results

poisons: $(VENV)/.app
	$(BIN)/python -m lgm craft $(NAME) --data $(SPLIT) --poisons $(POISONS) --seed 1 \
	  --out checkpoints/$(NAME).poisons.safetensors --force
	$(BIN)/python -m lgm craft $(NAME) --data $(SPLIT) --pair $(PAIR) \
	  --out checkpoints/$(NAME).example.safetensors --force

screenshots: $(VENV)/.dev $(CHROMIUM)
	CHROMIUM=$(CHROMIUM) $(BIN)/python docs/screenshots.py

latency: $(VENV)/.dev $(CHROMIUM)
	CHROMIUM=$(CHROMIUM) $(BIN)/python benchmarks/latency.py

$(VENV)/.app: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# The tools that check and build the browser components; who only runs the app or Python's tests needs none of them.
frontend/node_modules/.installed: frontend/package-lock.json $(VENV)/.dev
	$(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel error || { \
	  echo "frontend: \`npm ci\` failed. The tools that check the browser components come from npm's registry, by \`npm config" \
	    "get registry\`: make it reachable, or name a mirror with \`npm config set registry URL\`. Without it, \`make app\`" \
	    "and \`$(BIN)/pytest\` work: what is built is committed."; exit 1; } >&2
	touch $@

# Types take seconds: checked once for each change.
frontend/node_modules/.checked: $(FRONTEND) frontend/node_modules/.installed
	$(NPM) run --silent static
	touch $@

# The browser tests drive Debian's Chromium; elsewhere, name one: make test CHROMIUM=/path/to/chromium
$(CHROMIUM):
	apt-get update && apt-get install --yes --no-install-recommends chromium
