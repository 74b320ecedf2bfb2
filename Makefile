# What one does with Keyward. `make` alone lists it.

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run build test lint bench micro-bench instructions screenshots

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

bench: build ## measure the server beside HAProxy, nginx and axum, and print a table; ARGS="--help"
	scripts/bench-tools.sh
	$(CARGO) build --release --locked --manifest-path bench/peers/Cargo.toml --target-dir $(TARGET_DIR)/bench-peers
	bench/run.py --keyward $(TARGET_DIR)/release/keyward --peers $(TARGET_DIR)/bench-peers/release $(ARGS)

micro-bench: ## measure the hot path in one process: parse, digest, look up, window, verify
	$(CARGO) bench -p keyward-core --locked

instructions: ## count the instructions of the hot path, the same in every run
	CARGO="$(CARGO)" scripts/instructions.sh

screenshots: ## take a picture of every page, wide and narrow, light and dark: target/screenshots
	scripts/test-tools.sh
	$(CARGO) test --locked -p keyward --features screenshots --test screenshots
