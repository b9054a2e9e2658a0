# Two commands, each from a fresh clone: `make sample` and `make test`. Both set up .venv first.

PYTHON ?= python3
# The torch that `make lock` locks; everything else is the newest that pyproject.toml allows.
TORCH := 2.13.0
TENSORRT := sys_platform == "linux" and platform_machine == "x86_64"

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SAMPLE := out/digits
GENERATIVE := gan vae diffusion language encoder
# A process per core, each with whole files, as fixtures of a file are costly; slow files first.
PARALLEL := -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup sample sample-finetune $(GENERATIVE:%=sample-%) picture test zoo fuzz check bench \
	bench-large bench-generative trt-device lock audit wheel docs tutorials clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '  make %-15s %s\n' "$$name" "$$what"; done

setup: $(READY) ## Create .venv and install the locked packages (the other targets do it too)

sample: $(READY) $(SAMPLE)/model.pt ## Train a small network, compress it to INT8, measure it
	$(BIN)/compress $(SAMPLE)/model.pt --model samples/digits/model.py:build --target ort \
		--calib $(SAMPLE)/calib.npz --eval $(SAMPLE)/eval.npz -o $(SAMPLE)/model-ort

sample-finetune: $(READY) $(SAMPLE)/model.pt ## Prune the sample's network, fine-tune it in torch, compress it
	$(BIN)/python samples/digits/finetune.py $(SAMPLE)

picture: $(READY) ## Draw docs/report.png from the report of `make sample` (needs Chromium)
	$(BIN)/python benchmarks/picture.py $(SAMPLE)/model-ort/report.html docs/report.png

sample-gan: ## Train a GAN, compress it for both runtimes, generate with the result
sample-vae: ## Likewise an autoencoder: two graphs
sample-diffusion: ## Likewise a U-Net that a loop calls 20 times an image
sample-language: ## Likewise a small GPT with a cache, on docstrings of Python's library
sample-encoder: ## Likewise a transformer that tells docstrings apart
sample-encoder: MODEL := out/encoder/model.pt
sample-gan: $(SAMPLE)/features.onnx

# samples/NAME/recipe.toml names graphs and loop; use.py runs the same loop on the result.
$(GENERATIVE:%=sample-%): sample-%: $(READY) out/%/model.pt
	$(BIN)/compress $(MODEL) --recipe samples/$*/recipe.toml --target ort -o out/$*/ort
	$(BIN)/compress $(MODEL) --recipe samples/$*/recipe.toml --target trt -o out/$*/trt
	$(BIN)/python samples/use.py $* out/$*/ort

# What train.py writes besides, it writes before the checkpoint. A new .venv does not retrain it.
out/%/model.pt: samples/%/train.py samples/%/model.py | $(READY)
	$(BIN)/python $< out/$*

$(SAMPLE)/features.onnx: samples/digits/features.py $(SAMPLE)/model.pt
	$(BIN)/python $< $(SAMPLE)

test: $(READY) ## Run the tests; ARGS="-k name -x" goes to pytest
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

zoo: $(READY) ## Capture, fold and prune every network of the zoo, then measure them for docs/zoo.md (an hour); ARGS="-k bert" tests some
	$(BIN)/python -m pytest $(PARALLEL) tests/test_zoo.py -m "zoo or not zoo" $(ARGS)
	$(if $(ARGS),,$(BIN)/python benchmarks/zoo.py)

fuzz: $(READY) ## Broken files and options through the real commands, then faults of the machine; ARGS="--cases 500 --seed 7"
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)
	PYTHONPATH=tests $(BIN)/python -m fuzz.faults --writes 1 --pairs --kills 60

check: $(READY) ## Lint, formatting, types, and the floors that modules may import
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=benchmarks $(BIN)/mypy benchmarks
	$(BIN)/lint-imports

bench: $(READY) ## Benchmarks; DATA=folder MODEL=checkpoint adds CIFAR-10 ResNet-20
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/budget.py --runs 400
	$(BIN)/python benchmarks/stopping.py
	$(BIN)/python benchmarks/distances.py --runs 200 --sizes 100,300
	$(BIN)/python benchmarks/tracing.py
	$(BIN)/python benchmarks/transformer_pruning.py
	$(BIN)/python benchmarks/transformer.py
	$(BIN)/python benchmarks/decoder.py out/decoder
	$(BIN)/python benchmarks/recurrent.py
	$(BIN)/python benchmarks/forms.py
ifneq ($(and $(DATA),$(MODEL)),)
	$(BIN)/python benchmarks/cifar.py --data "$(DATA)" --model "$(MODEL)"
	$(BIN)/python benchmarks/ranges.py --data "$(DATA)" --model "$(MODEL)"
	$(BIN)/python benchmarks/pruning.py --data "$(DATA)" --model "$(MODEL)"
	$(BIN)/python benchmarks/wide.py --data "$(DATA)"
	$(BIN)/python benchmarks/deep.py --data "$(DATA)" --model "$(MODEL)"
	$(BIN)/python benchmarks/depthwise.py --data "$(DATA)"
	$(BIN)/python benchmarks/search.py --data "$(DATA)" --model "$(MODEL)"
	$(BIN)/python benchmarks/runtimes.py --data "$(DATA)" --model "$(MODEL)"
else
	@$(MAKE) --no-print-directory --silent $(SAMPLE)/model.pt
	$(BIN)/python benchmarks/digits.py $(SAMPLE)
	@echo "For CIFAR-10 ResNet-20 too: make bench DATA=folder MODEL=resnet20.pt, see benchmarks/cifar.py"
endif

bench-generative: $(READY) $(SAMPLE)/features.onnx ## Judge what `make sample-gan` and its like wrote (minutes); ARGS="vae" chooses
	$(BIN)/python benchmarks/generative.py $(ARGS)

trt-device: $(READY) ## Build, check and time TensorRT engines on this machine's GPU (8 minutes); ARGS="--build-only" needs none
	$(BIN)/python benchmarks/trt_device.py --install $(ARGS)

bench-large: $(READY) ## Quantize and measure a synthetic model of 2.2 GB (10 GB of memory, 10 of disk)
	$(BIN)/python benchmarks/large.py

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "Python 3.11, 3.12 or 3.13 is needed and '$(PYTHON)' is not one: make PYTHON=python3.12" >&2; \
		exit 1; }
	@# An environment of another Python is made anew: venv would mix its files with this one's.
	@told='import sys; print(sys.version, sys.base_prefix)'; \
	test "$$($(BIN)/python -c "$$told" 2>/dev/null)" = "$$($(PYTHON) -c "$$told")" || anew=--clear; \
	$(PYTHON) -m venv $$anew $(VENV)
	@echo "Installing the locked packages into $(VENV), once: a minute or two, longer where torch"
	@echo "comes with CUDA. PIP_INDEX_URL chooses its build; PIP_VERBOSE=1 shows every package."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@touch $@

# Freezes a clean environment. Local versions (+cpu) are cut off and the packages that only torch's
# CUDA build needs are left out, as torch pins those itself: so both builds satisfy the lock.
# TensorRT-RTX is wanted on one platform only, where `make lock` therefore has to run.
lock: ## Lock the newest versions that pyproject.toml allows into requirements.lock
	$(PYTHON) -m venv --clear out/lock
	out/lock/bin/python -m pip install --quiet "torch==$(TORCH)" setuptools ".[torch,text,hf,data,search,openvino,dev,trt-rtx]"
	{ sed '/^#/!d' requirements.lock; \
		out/lock/bin/python -m pip freeze --all --exclude pip --exclude compressor \
		| sed 's/+[a-z0-9.]*$$//' | grep -viE '^(nvidia|cuda|triton)' \
		| sed '/^tensorrt_rtx/s/$$/; $(TENSORRT)/'; } > out/requirements.lock
	mv out/requirements.lock requirements.lock
	rm -rf out/lock

audit: ## Hold the locked packages against known vulnerabilities (needs the network; installs pip-audit into out/audit)
	test -x out/audit/bin/pip-audit || { $(PYTHON) -m venv out/audit && \
		out/audit/bin/python -m pip install --quiet pip-audit; }
	out/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict

wheel: $(READY) ## Build the wheel into out/dist, with a software bill of materials beside it
	$(BIN)/python -m build --wheel --outdir out/dist
	$(BIN)/python tests/sbom.py out/dist

tutorials: $(READY) ## Follow each page of docs/tutorials to its end, block by block
	$(BIN)/python -m pytest -q -m tutorial tests/test_tutorials.py

docs: tutorials ## Run the tutorials, then build the site of docs/ into out/site, strictly (installs mkdocs-material into out/docs)
	$(BIN)/python docs/generated/reference.py out/reference
	test -x out/docs/bin/mkdocs || { $(PYTHON) -m venv out/docs && \
		out/docs/bin/python -m pip install --quiet mkdocs-material; }
	NO_MKDOCS_2_WARNING=1 out/docs/bin/mkdocs build --quiet

clean: ## Remove what make made: .venv, out/, caches
	rm -rf $(VENV) out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .grimp_cache
	find compressor calibration exporters tests samples benchmarks -name __pycache__ -prune -exec rm -rf {} +
