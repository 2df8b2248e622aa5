# The only entry point: `make help` lists what there is. Needs Rust stable and a C compiler; the cluster targets a
# Docker engine with Compose, too.

CARGO ?= cargo
DATA ?= data/wordnet-10k
FUZZ_SECONDS ?= 60

# nextest runs the tests side by side, with the limits of .config/nextest.toml; without it cargo's own runner does.
ifneq ($(shell command -v cargo-nextest 2>/dev/null),)
RUN_TESTS := $(CARGO) nextest run
else
RUN_TESTS := $(CARGO) test --lib --bins --tests
endif

.DEFAULT_GOAL := help
.PHONY: help demo test verify fix bench bench-sync bench-search fuzz figures cluster-up cluster-down compose-check

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## three real nodes on real data: search, kill one, drift, catch up by Merkle delta
	$(CARGO) build --release --locked --package pando-cli --bin pando
	target/release/pando demo --data $(DATA)

test: ## all tests, documentation examples included
	$(RUN_TESTS) --workspace --locked
	$(CARGO) test --workspace --locked --doc

verify: ## formatting, lock file, lints and documentation; changes nothing
	$(CARGO) fmt --all --check
	$(CARGO) metadata --locked --format-version 1 >/dev/null
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(CARGO) clippy --manifest-path benches/compare/Cargo.toml --target-dir $(COMPARE) --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

fix: ## format, and apply what clippy can repair by itself
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

bench: ## micro-benchmarks of tree, search and frames
	$(CARGO) bench --locked --package pando-benches

bench-sync: ## full copy, log replay, Merkle delta side by side (POINTS=n, VECTORS=file; FULL=1: a million, needs 16 GiB of memory and 47 of disk)
	$(CARGO) build --release --locked --package pando-cli --bin pando
	target/release/pando bench sync --points $(if $(FULL),1000000,$(or $(POINTS),100000)) \
	  $(if $(VECTORS),--vectors $(VECTORS)) --commit "$$(git describe --always --dirty)"

# Python's packages go into a directory of their own; Rust's comparison is a workspace of its own.
COMPARE := target/bench-search
bench-search: ## recall and speed beside faiss, hnswlib, usearch, qdrant-edge (DATA=dir, or ROWS=n x 128 synthetic; needs python3-venv)
	$(CARGO) build --release --locked --package pando-cli --bin pando
	$(CARGO) build --release --locked --manifest-path benches/compare/Cargo.toml --target-dir $(COMPARE)
	test -x $(COMPARE)/venv/bin/python || python3 -m venv $(COMPARE)/venv
	$(COMPARE)/venv/bin/pip install --quiet --requirement benches/compare/requirements.txt
	$(COMPARE)/venv/bin/python benches/compare/compare.py --pando target/release/pando \
	  --compare $(COMPARE)/release/pando-compare --out docs/benchmarks --commit "$$(git describe --always --dirty)" \
	  $(if $(ROWS),--synthetic $(ROWS),--data $(DATA))

# Sanitizers and coverage are unstable flags of rustc; RUSTC_BOOTSTRAP lets the stable compiler take them.
fuzz: ## feed damaged frames and lying peers to the sync session (needs cargo-fuzz; FUZZ_SECONDS each, default 60)
	cd fuzz && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run frame -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096
	cd fuzz && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run session -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096

figures: ## import rate, memory, start-up, catch-up (DATA=dir, default data/wordnet-10k)
	$(CARGO) build --release --locked --package pando-cli --bin pando
	benches/figures.sh $(DATA)

cluster-up: ## three nodes in containers, formed into a cluster (ports 7700, 7710, 7720)
	deploy/cluster.sh up

cluster-down: ## stop the containers and delete their data
	deploy/cluster.sh down

compose-check: ## prove the deployment: partition a container, replace a wiped node, verify equal roots
	deploy/check.sh
