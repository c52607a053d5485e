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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## Shows everything on this machine; DIR=folder for one of yours, ARGS=--once to leave afterwards
	@scripts/setup.sh demo
	$(CARGO) run --features demo -- demo $(ARGS) $(if $(DIR),'$(subst ','\'',$(DIR))')

.PHONY: test
test: setup ## Runs the tests: real PostgreSQL, embedded S3
	$(CARGO) test $(ARGS)

# In a folder of its own version, so that another version here is another program.
deny := $(target)/tools/cargo-deny-0.20.2/bin/cargo-deny

$(deny):
	$(CARGO) install --quiet --locked --root $(patsubst %/bin/cargo-deny,%,$@) cargo-deny@0.20.2

.PHONY: check
check: setup $(deny) ## Refuses what rustfmt, clippy, rustdoc and cargo-deny would complain about
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	$(CARGO) clippy --test soak --test monitoring --all-features -- -D warnings
	$(CARGO) clippy -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --document-private-items --all-features
	$(deny) check --hide-inclusion-graph bans licenses sources

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

.PHONY: faults
faults: setup ## Brings about everything that may go wrong, and prints a table; ARGS=words for some, ARGS=--write for the manual
	$(CARGO) test --features failpoints --test faults -- $(ARGS)

.PHONY: test-monitoring
test-monitoring: check-monitoring ## Raises and clears each alert on a real Prometheus, and asks every panel of the dashboards for data
	$(CARGO) test --test monitoring $(ARGS)

.PHONY: check-monitoring
check-monitoring: setup ## Checks the rules, their unit tests and the dashboards, in seconds
	@scripts/setup.sh monitoring
	cd packaging/prometheus && promtool check config prometheus.yml && promtool test rules tests/*.yml
	python3 packaging/grafana/dashboards.py --check
	node packaging/grafana/typecheck/check.mjs

.PHONY: test-all
test-all: test test-garage test-monitoring faults ## Runs all tests, also those too slow for each change
	$(MAKE) soak MINUTES=5

.PHONY: garage
garage: ## Builds Garage, an S3 server, if it is missing (tens of minutes)
	tests/garage.sh install

# The peers, in a Python environment of their own.
peers := $(target)/bench/venv/installed
bench := $(target)/bench/venv/bin/python -B benches/peers --target '$(target)'

.PHONY: bench-setup
bench-setup:
	@scripts/setup.sh bench

$(peers): benches/peers/requirements.txt | bench-setup
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.PHONY: bench
bench: garage build bench-check ## Measures against s5cmd, rclone and others, and writes docs/BENCHMARKS.md (an hour)
	$(bench) $(if $(ARGS),$(ARGS),--write docs/BENCHMARKS.md)

.PHONY: bench-quick
bench-quick: garage build bench-check ## The same in minutes: smaller works, one round, printed only
	$(bench) --quick $(ARGS)

.PHONY: bench-check
bench-check: $(peers)
	cd benches/peers && '$(abspath $(target))'/bench/venv/bin/python -B -m unittest --quiet

.PHONY: bench-hot-paths
bench-hot-paths: setup ## Measures merge, decide, queue, walk, keys and MD5 by the clock
	$(CARGO) bench --profile hot-paths --bench hot_paths $(if $(ARGS),-- $(ARGS))

.PHONY: bench-callgrind
bench-callgrind: setup ## Counts their instructions, which no other load changes
	scripts/callgrind.sh

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
