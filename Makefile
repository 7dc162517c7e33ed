# `make` alone says what there is.

CARGO ?= cargo
# The lab makes network namespaces.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$(PATH)")
PACKAGES := -p xlns-control -p xlns-dataplane -p xlns-bench -p xlns-tests
PROGRAMS := $(PACKAGES) --bins
PRIVILEGED := --test peers --test privileged --test dialler

.DEFAULT_GOAL := help
# What the compiler adds for libFuzzer, which has to be asked for in this way without a nightly one:
# a counter for each edge, and the operands of comparisons.
COVERAGE := -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,\
	level=4 inline-8bit-counters pc-table trace-compares)
# Named, so that build scripts are not instrumented.
MACHINE = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: help setup build demo test lint unit sim fuzz bpf loom soak privileged zerocopy bench \
	report bench-guard calls compare clean-lab

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and testing need (Debian packages)
	@scripts/setup

build: setup ## the programs, optimised, in target/release
	$(CARGO) build --release $(PROGRAMS)

demo: build ## a stock Linux client dials in; its traffic crosses the workers
	@$(ROOT) target/release/xlns-demo

test: setup lint unit bpf loom privileged ## everything that .ci/run checks

lint: ## format and clippy, no warning allowed
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	$(CARGO) clippy -p xlns-tests $(PRIVILEGED) --quiet -- -D warnings

unit: ## unit and property tests, data path, style (what needs root is left out without)
	$(CARGO) test --workspace --exclude xlns-bpf

sim: ## LACs, subscribers and LNS over a bad network, by seed: SEEDS=10000, or SEED=n alone
	SEEDS=$(or $(SEEDS),1000) $(CARGO) test --release -p xlns-tests --test sim -- --nocapture every

fuzz: ## libFuzzer on every parser and machine: SECONDS=60 each, TARGET=name, FILE=finding, MINIMISE=1
ifdef FILE
	FILE="$(FILE)" $(CARGO) test -p xlns-fuzz --test replay one_file -- --nocapture
else
	RUSTFLAGS="$(COVERAGE)" CARGO_TARGET_DIR=target/fuzz $(CARGO) build --profile fuzz \
		--target $(MACHINE) -p xlns-fuzz --features libfuzzer --bin xlns-fuzz-target
	$(CARGO) run -p xlns-fuzz --bin xlns-fuzz -- --state target/fuzz \
		--program target/fuzz/$(MACHINE)/fuzz/xlns-fuzz-target \
		--seconds $(or $(SECONDS),60) $(if $(TARGET),--target $(TARGET)) $(if $(MINIMISE),--minimise)
endif

bpf: ## the steering program over its table of frames (BPF_PROG_TEST_RUN, root)
	$(CARGO) test -p xlns-bpf --no-run
	$(ROOT) $(CARGO) test -p xlns-bpf

loom: ## every interleaving of the epoch and the rings (a build of its own)
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom $(CARGO) test -p xlns-dataplane --lib loom

soak: ## workers that read for a minute while sessions and routes come and go: CHANGES=60000000
	CHANGES=$(or $(CHANGES),60000000) $(CARGO) test --release -p xlns-dataplane --lib \
		no_read_meets_half_an_entry

# Programs and tests in one go: what either needs of dependencies is compiled once.
privileged: setup ## scripted and real peers in network namespaces (root)
	@scripts/setup l2tpns freeradius wide-dhcpv6-client dhcpcd-base chromium
	$(CARGO) build --release $(PROGRAMS) $(PRIVILEGED)
	$(ROOT) $(CARGO) test --release $(PACKAGES) $(PRIVILEGED)

zerocopy: build ## zero-copy for real: virtio_net in a guest (QEMU), beside kernel L2TP (root, 4 minutes)
	@scripts/setup qemu-system-x86 busybox-static xz-utils zstd debian-archive-keyring
	@$(ROOT) target/release/xlns-zerocopy --realtime --restarts 5

bench: build ## ns, instructions and memory in memory; calls a second; packets a second on veth (root)
	@scripts/setup valgrind
	target/release/xlns-bench pipeline \
		--save target/bench/pipeline.json
	target/release/xlns-bench pipeline --quick --only-main --stages --churn \
		--save target/bench/pipeline-churn.json
	target/release/xlns-bench instructions --all \
		--save target/bench/instructions-all.json
	target/release/xlns-bench tables --candidates \
		--save target/bench/tables-candidates.json
	target/release/xlns-bench calls --memory \
		--save target/bench/calls-memory.json
	$(ROOT) target/release/xlns-bench steer \
		--save target/bench/steer.json
	$(ROOT) target/release/xlns-bench wire --generator kernel \
		--save target/bench/wire-kernel.json
	$(ROOT) target/release/xlns-bench wire \
		--save target/bench/wire.json

report: build ## the quick benchmarks, drawn: target/bench/report.html (root, 3 minutes)
	@scripts/setup valgrind
	target/release/xlns-bench pipeline --quick --sizes --stages --churn \
		--save target/bench/quick-pipeline.json
	target/release/xlns-bench instructions --all --save target/bench/quick-instructions.json
	target/release/xlns-bench tables --save target/bench/quick-tables.json
	target/release/xlns-bench handoff --save target/bench/quick-handoff.json
	$(ROOT) target/release/xlns-bench handoff --live --save target/bench/quick-handoff-live.json
	$(ROOT) target/release/xlns-bench steer --save target/bench/quick-steer.json
	$(ROOT) target/release/xlns-bench calls --lab --sessions 50000 --calls 100000 \
		--save target/bench/quick-calls.json
	$(ROOT) target/release/xlns-bench calls --lab --ramp 5000:25000:5 --step-seconds 3 \
		--save target/bench/quick-ramp.json
	$(ROOT) target/release/xlns-bench wire --quick --realtime --size 64,512,1400,imix \
		--save target/bench/quick-wire.json
	target/release/xlns-bench report target/bench/quick-*.json $(wildcard target/zerocopy/summary.json) \
		$(wildcard target/bench/compare.json) --output target/bench/report.html

bench-guard: ## instructions a packet against bench/instructions.json: fails above 3 % more
	$(CARGO) build --release -p xlns-bench --bins
	@scripts/setup valgrind
	target/release/xlns-bench instructions --guard bench/instructions.json

calls: build ## calls a second over sockets, 100,000 held; set-up time; a flood beside (root, 3 minutes)
	target/release/xlns-bench calls --memory --sessions 1000000 \
		--save target/bench/calls-memory.json
	$(ROOT) target/release/xlns-bench calls --lab --calls 200000 \
		--save target/bench/calls-lab.json
	$(ROOT) target/release/xlns-bench calls --lab --tunnels 1 --calls 200000 \
		--save target/bench/calls-lab-one-tunnel.json
	$(ROOT) target/release/xlns-bench calls --lab --rate 5000 \
		--save target/bench/calls-lab-rate.json
	$(ROOT) target/release/xlns-bench calls --stall \
		--save target/bench/calls-stall.json
	$(ROOT) target/release/xlns-bench calls --flood \
		--save target/bench/calls-flood.json

compare: build ## xlns and l2tpns, the same packets: rate, no-drop rate, CPU; QUICK=1 (root)
	@scripts/setup l2tpns freeradius
	@$(ROOT) target/release/xlns-bench compare $(if $(QUICK),--quick) \
		--save target/bench/compare.json

clean-lab: ## remove namespaces and folders that killed runs left
	@$(ROOT) scripts/clean-lab
