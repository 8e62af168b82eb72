# Everything runs in .venv, which is made on first use. Variables: SMOKE=1 (short demo), PYTHON, OUT.
PYTHON ?= python3.11
OUT ?= out
VENV := .venv
BIN := $(VENV)/bin
OFFLINE := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 OMP_NUM_THREADS=1
SMOKE_FLAGS := $(if $(SMOKE),--num-problems 16,)

.PHONY: demo test test-processes test-trainings test-docs test-results test-hostile test-app test-extras test-floor test-serve test-scale test-real lint bench evaluate clean

$(BIN)/mmprm: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: $(BIN)/mmprm  ## generate, score and rerank 200 held-out nano problems (SMOKE=1: 16)
	$(BIN)/mmprm demo --output $(OUT)/demo $(SMOKE_FLAGS)

test: $(BIN)/mmprm lint  ## lint, format check and the package's tests, offline; the recipes' are in test-scale
	$(OFFLINE) $(BIN)/pytest -n 2 --dist worksteal --ignore tests/recipes

test-processes: $(BIN)/mmprm  ## what starts processes: fresh imports, remote code, several ranks, a few hostile inputs
	$(OFFLINE) $(BIN)/pytest -n 2 --dist worksteal -m processes

test-trainings: $(BIN)/mmprm  ## whole trainings: killed, resumed to the same bits, on a full disk, from a notebook
	$(OFFLINE) $(BIN)/pytest -n 2 --dist worksteal -m trainings

test-docs: $(BIN)/mmprm  ## every command of README and docs, each page in a folder of its own
	$(OFFLINE) $(BIN)/pytest -n 2 --dist worksteal -m documents

test-results: $(BIN)/mmprm  ## committed results are found again, where the public data lie in ../shared
	$(OFFLINE) $(BIN)/pytest -n 2 --dist worksteal -m results

test-hostile: $(BIN)/mmprm  ## every verb killed (20 times; SHORT=1: once) and repeated, hostile inputs over every verb
	$(OFFLINE) MMPRM_KILLS=$(if $(SHORT),1,20) MMPRM_RELIABILITY=$(abspath $(OUT))/reliability.json \
		$(BIN)/pytest -s -m hostile tests/cli/test_kills.py
ifndef SHORT  # the short form is in test-processes
	$(OFFLINE) $(BIN)/pytest -m hostile tests/test_hostile.py
endif

# These packages lie beside the environment and join these runs only: torchvision's wheel is built for another torch and
# breaks transformers wherever nothing declares two of its operators first (tests/support/backbones.py does); torchao prints
# warnings at every import of peft.
.extras: $(BIN)/mmprm
	$(BIN)/pip install --quiet --no-deps --target $@ torchvision==0.28.0 num2words docopt torchao==0.18.0
	touch $@

.floor: $(BIN)/mmprm
	$(BIN)/pip install --quiet --no-deps --target $@ transformers==5.23.0
	touch $@

# What `transformers serve` needs beyond our own requirements.
.serve: $(BIN)/mmprm
	$(BIN)/pip install --quiet --no-deps --target $@ fastapi==0.165.0 starlette==1.10.0 uvicorn==0.54.0 openai==3.57.0 \
		jiter==0.19.0 sniffio==1.3.1 opentelemetry-api==1.45.2
	touch $@

# datatrove and Ray, for the recipe that labels on many workers; pip's resolver would bring second copies of our own.
.scale: $(BIN)/mmprm
	$(BIN)/pip install --quiet --no-deps --target $@ datatrove==0.10.1 loguru==0.7.3 humanize==4.17.0 orjson==3.13.0 \
		httpx==0.28.1 httpcore==1.0.9 ray==2.60.0 msgpack==1.2.4 protobuf==7.36.2 jsonschema==4.26.0 \
		jsonschema-specifications==2025.9.1 referencing==0.37.0 rpds-py==2026.9.1
	touch $@

# Gradio, whose own requirements would bring an older Pillow.
.app: $(BIN)/mmprm
	$(BIN)/pip install --quiet --no-deps --target $@ gradio==6.31.0 gradio_client==2.7.2 hf-gradio==0.4.1 groovy==0.1.2 \
		safehttpx==0.1.7 semantic-version==2.10.0 tomlkit==0.14.0 pydub==0.25.1 python-multipart==0.0.34 pytz==2026.6 \
		brotli==1.2.1 orjson==3.13.0 fastapi==0.165.0 starlette==1.10.0 uvicorn==0.54.0 httpx==0.28.1 httpcore==1.0.9 \
		opentelemetry-api==1.45.2
	touch $@

test-extras: .extras  ## backbones whose stock processors need torchvision, and quantised ones
	HF_HUB_OFFLINE=1 MMPRM_EXTRAS=$(abspath $<) $(BIN)/pytest tests/scoring/test_backbones.py tests/models/test_quantised.py \
		tests/engines/test_engine_families.py tests/engines/test_prefix_tokens.py

test-floor: .floor  ## models, scoring, training, engines and pipeline under the oldest transformers we allow
	HF_HUB_OFFLINE=1 PYTHONPATH=$< $(BIN)/python -c "import transformers; assert transformers.__version__ == '5.23.0'"
	HF_HUB_OFFLINE=1 PYTHONPATH=$< $(BIN)/pytest -m "not bench" tests/models tests/scoring tests/test_registration.py \
		tests/training tests/engines/test_engines.py tests/engines/test_engine_families.py tests/rerank tests/rewards

test-serve: .serve  ## the endpoint engine against a real `transformers serve` on loopback
	HF_HUB_OFFLINE=1 MMPRM_SERVE=$(abspath $<) $(BIN)/pytest tests/engines/test_serve.py

test-scale: .scale  ## the recipes; the one that labels on many workers: local, Ray, Slurm's script; a kill, a restart
	HF_HUB_OFFLINE=1 MMPRM_SCALE=$(abspath $<) $(BIN)/pytest tests/recipes

test-real: $(BIN)/mmprm  ## SmolLM2 and a small LLaVA behind a real vLLM; recipes/real makes what is missing (3.5 GB, minutes)
	recipes/real/make_smollm2.sh
	$(OFFLINE) $(BIN)/pytest -m real --durations 0 --durations-min 1 tests/real

test-app: .app  ## the app with Gradio, over HTTP
	HF_HUB_OFFLINE=1 PYTHONPATH=$< $(BIN)/pytest tests/app

lint: $(BIN)/mmprm
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(BIN)/mmprm  ## the performance table, also as $(OUT)/bench/results.json; the scripts are checked first
	$(OFFLINE) $(BIN)/pytest -m bench
	$(BIN)/python recipes/bench/bench.py --output $(OUT)/bench/results.json

evaluate: $(BIN)/mmprm  ## the shipped models on all 500 test problems, and step scores against exact truth
	$(BIN)/mmprm evaluate nano --curves --diagnose --output $(OUT)/evaluate/results.json

clean:
	rm -rf $(OUT) .pytest_cache .ruff_cache .app .extras .floor .scale .serve
