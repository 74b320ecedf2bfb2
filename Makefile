# What one does with Keyward. `make` alone lists it.

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run build test lint bench micro-bench instructions alert-rules timing screenshots fuzz deny sbom reproduce

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build the server and start it; ARGS="--listen 127.0.0.1:9000" hands on options
	$(CARGO) run --release --locked -p keyward -- serve $(ARGS)

build: ## build the one binary, optimized: target/release/keyward
	$(CARGO) build --release --locked -p keyward

test: ## run every test: all crates, the model check, the official clients, an ACME server, a browser, the alert rules
	scripts/test-tools.sh
	$(CARGO) test --workspace --locked
	RUSTFLAGS="--cfg loom" $(CARGO) test -p keyward-core --release --locked --test loom --target-dir $(TARGET_DIR)/loom
	$(CARGO) test --locked -p keyward --features outside --test clients
	$(CARGO) test --locked -p keyward --features outside --test acme
	$(CARGO) test --locked -p keyward --features outside --test browser
	scripts/alert-rules.sh

.PHONY: soak
soak: ## hold it under faults for 15 minutes at most; ARGS="crash kills=20 seed=7" runs one part with its sizes
	$(CARGO) test --release --locked -p keyward --features soak --test soak -- $(ARGS)

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

alert-rules: ## try the alert rules of ops/ on made-up series, with promtool
	scripts/alert-rules.sh

timing: ## look for differences in time between keys that are not good, and between sign-ins: about 6 minutes
	$(CARGO) bench --locked -p keyward --bench timing -- $(or $(ARGS),all)

screenshots: ## take a picture of every page, wide and narrow, light and dark: target/screenshots
	scripts/test-tools.sh
	$(CARGO) test --locked -p keyward --features screenshots --test screenshots

fuzz: ## feed made-up input to whatever reads a stranger's bytes, each target two minutes; ARGS="--list"
	CARGO="$(CARGO)" scripts/fuzz.sh $(ARGS)

deny: ## check licences, sources and doubled versions of all dependencies
	CARGO="$(CARGO)" scripts/deny.sh $(ARGS)

sbom: build ## write the bill of materials of the binary, and check it: target/sbom/keyward.cdx.json
	CARGO="$(CARGO)" scripts/sbom.sh $(TARGET_DIR)/release/keyward

reproduce: ## build the committed source twice, in two folders, and compare the bytes
	CARGO="$(CARGO)" scripts/reproduce.sh
