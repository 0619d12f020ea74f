# The commands of this repository; `make` lists them.

# Outside of the clone, so that a fresh clone builds warm.
CARGO_TARGET_DIR ?= $(HOME)/.cache/creel/target
export CARGO_TARGET_DIR

.PHONY: help run test check bench docs clean

help: ## List these commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

run: ## Start a node at http://127.0.0.1:9669 that keeps its captures in ./creel-data
	cargo run --locked --release

test: ## Run every test, against real servers that are installed or started as needed
	scripts/test

check: ## Check formatting, lints, dependencies, the API, scripts and deployment files
	scripts/check

bench: ## Measure
	cargo bench --locked --bench bench

docs: ## Write the documents and schemas that are made from the sources
	cargo run --locked --quiet -- settings-reference > docs/settings.md.new
	mv docs/settings.md.new docs/settings.md
	scripts/chart-schema

clean: ## Remove what was built
	cargo clean
