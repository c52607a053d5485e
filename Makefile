# What one types here. `make` alone lists the targets.

PREFIX ?= /usr/local
CARGO  ?= cargo
# Of `make model`: the seed to begin with, and how many. Of `make soak`: how long it lasts.
SEED    ?=
SEEDS   ?=
MINUTES ?= 20
# Of `make demo`: the folder to mirror (none = a sample), and other arguments, such as ARGS=--once.
DIR    ?=
ARGS   ?=

target   := $(or $(CARGO_TARGET_DIR),target)
# The tests that need nothing of S3 but its API, by the name of their program. They run against any store.
s3_tests := $(patsubst tests/%.rs,%,$(wildcard tests/remote.rs)) $(patsubst tests/%/main.rs,%,$(wildcard tests/sync/main.rs))

.DEFAULT_GOAL := help
# cargo uses all cores by itself, and two of them side by side wait for each other's lock.
.NOTPARALLEL:

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: setup ## Shows everything on this machine; DIR=folder for one of yours, ARGS=--once to leave afterwards
	$(CARGO) run --features demo -- demo $(ARGS) $(if $(DIR),'$(subst ','\'',$(DIR))')

.PHONY: test
test: setup ## Runs the tests: real PostgreSQL, embedded S3
	$(CARGO) test $(ARGS)

.PHONY: check
check: setup ## Refuses what rustfmt, clippy and rustdoc would complain about
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	$(CARGO) clippy --test soak --all-features -- -D warnings
	$(CARGO) clippy -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --document-private-items --all-features

.PHONY: test-garage
test-garage: setup ## Runs the tests of S3 against Garage, which it builds if missing (tens of minutes)
	tests/garage.sh install
	scripts/with-garage.sh $(CARGO) test $(addprefix --test ,$(s3_tests)) $(ARGS)

.PHONY: model
model: setup ## Runs the daemon while everything goes wrong; SEED=n repeats a seed, SEEDS=n runs as many
	MODEL_SEED=$(SEED) MODEL_SEEDS=$(SEEDS) $(CARGO) test --test sync daemon_model $(ARGS) -- --nocapture

.PHONY: soak
soak: setup ## Runs the daemon for MINUTES=20 on files that change, and fails if it grows
	SOAK_MINUTES=$(MINUTES) $(CARGO) test --test soak $(ARGS)

.PHONY: test-all
test-all: test test-garage ## Runs all tests, also those too slow for each change
	$(MAKE) soak MINUTES=5

.PHONY: build
build: ## Builds the program for use, into target/release
	scripts/setup.sh build
	$(CARGO) build --release

.PHONY: install
install: ## Copies it to PREFIX/bin (default /usr/local); run `make build` first
	@test -x '$(target)/release/agent-portail' || { echo 'run `make build` first' >&2; exit 1; }
	install -D -m 755 '$(target)/release/agent-portail' '$(DESTDIR)$(PREFIX)/bin/agent-portail'
	install -D -m 644 config/agent-portail.toml '$(DESTDIR)$(PREFIX)/share/doc/agent-portail/agent-portail.toml'

.PHONY: setup
setup: ## Installs what building and testing need, where it is missing
	@scripts/setup.sh

.PHONY: clean
clean: ## Removes what was built
	$(CARGO) clean
