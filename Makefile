PYTHON := .venv/bin/python
# Three workers on two cores: most plays of whole processes wait. The long ones come first in the alphabet.
PYTEST := $(PYTHON) -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder
UV := 0.13.9
PORT ?= 8090
FRESH ?=
MINUTES ?= 10
SEED ?=
QUICK ?=

.DEFAULT_GOAL := help
.PHONY: help sandbox run test test-browser chaos mutants fuzz bench screenshots check format lock clean runtime development

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

sandbox: runtime ## the whole shop with a pretended Telegram and CryptoCloud; PORT=8090 FRESH=1
	@exec $(PYTHON) -m sandbox --port $(PORT) $(if $(FRESH),--fresh)

run: runtime ## the bot, with the settings in .env
	@exec $(PYTHON) -m bot

test: development ## all tests; those in a browser only where Chromium is installed
	@if command -v chromium >/dev/null; then exec $(PYTEST); fi; \
	$(PYTEST) -m "not browser"; status=$$?; \
	echo "browser tests not run: apt-get install chromium"; exit $$status

test-browser: development ## only the tests in a browser
	@command -v chromium >/dev/null || { echo "browser tests need Chromium: apt-get install chromium" >&2; exit 2; }
	@exec $(PYTHON) -m pytest -m browser

chaos: development ## kill processes and the database for MINUTES=10 while customers pay, and recount; SEED=…
	@exec $(PYTHON) -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

mutants: development ## make each usual mistake in a copy, and show that a test catches it
	@exec $(PYTHON) -m tests.mutants

fuzz: development ## tens of thousands of odd inputs, counted; SEED=…
	@exec $(PYTHON) -m tests.fuzz $(if $(SEED),--seed $(SEED))

bench: development ## measure the speed beside the limits, and write docs/performance.md; QUICK=1 only prints
	@exec $(PYTHON) -m tests.bench $(if $(QUICK),--quick)

screenshots: development ## take the pictures in docs/screenshots
	@exec $(PYTHON) -m tests.browser.screenshots

check: development ## format, lint, types, import contracts, and migrations = models
	@$(PYTHON) -m ruff format --check --quiet .
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m mypy
	@$(PYTHON) .venv/bin/lint-imports --no-logo
	@$(PYTHON) -m services migrate --check

format: development ## format the code and mend what the linter can
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

lock: development ## take the newest versions that pyproject.toml allows into the lock files
	@echo "uv==$(UV)" | $(PYTHON) -m uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
		--output-file requirements-uv.lock -
	@$(PYTHON) -m uv lock --quiet --upgrade
	@$(PYTHON) -m uv export --quiet --locked --no-header --no-annotate --no-emit-project --no-dev --output-file requirements.lock
	@$(PYTHON) -m uv export --quiet --locked --no-header --no-annotate --no-emit-project --output-file requirements-dev.lock
	@! grep -nE '://|^--' requirements*.lock

clean: ## remove .venv and what the tools keep; never data or .env
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@sh setup.sh requirements.lock

development:
	@sh setup.sh requirements-dev.lock
