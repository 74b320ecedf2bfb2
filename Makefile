# What one does with Keyward. `make` alone lists it.

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run build test lint bench screenshots

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build the server and start it; ARGS="--listen 127.0.0.1:9000" hands on options
	$(CARGO) run --release --locked -p keyward -- serve $(ARGS)

build: ## build the one binary, optimized: target/release/keyward
	$(CARGO) build --release --locked -p keyward

test: ## run every test: all crates, the model check of the rate window, the official clients, a browser
	scripts/test-tools.sh
	$(CARGO) test --workspace --locked
	RUSTFLAGS="--cfg loom" $(CARGO) test -p keyward-core --release --locked --test loom --target-dir $(TARGET_DIR)/loom
	$(CARGO) test --locked -p keyward --features outside --test clients
	$(CARGO) test --locked -p keyward --features outside --test browser

lint: ## check format and lints, and that the two inner crates stand alone; warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(CARGO) check -p keyward-core --locked
	$(CARGO) check -p keyward-tower --locked

bench: ## measure the hot path: parse, digest, look up, window, verify
	$(CARGO) bench -p keyward-core --locked

screenshots: ## take a picture of every page, wide and narrow, light and dark: target/screenshots
	scripts/test-tools.sh
	$(CARGO) test --locked -p keyward --features screenshots --test screenshots
