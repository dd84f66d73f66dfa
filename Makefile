# The front door. Every target first installs and builds what it needs. `make help` lists them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
SEEDS ?= 500
ONLY ?=
STACK ?=

# Configures a build directory once; after that ninja itself notices changed build files. A set-up
# that broke off leaves a directory without build.ninja, which meson would not set up again.
# $(1): the directory, $(2): meson's options.
define configure
@test -f $(1)/build.ninja || { rm -rf $(1)/meson-private $(1)/meson-info && meson setup $(1) $(2); }
endef

define run_tests
@tools/run-tests $(1) --only "$(ONLY)"
endef

.PHONY: help
help: ## Shows what there is
	@echo "orderd: the order service of a payment gateway"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
		while IFS="$$(printf '\t')" read -r name text; do \
			printf '  make %-12s %s\n' "$$name" "$$text"; \
		done

# --- Building and running ---

.PHONY: build
build: ## Builds build/orderd and build/orderctl
	@tools/install-dependencies build
	$(call configure,build,)
	@ninja -C build -j $(JOBS) product

.PHONY: run
run: ## Builds and starts orderd on 127.0.0.1:8080, shows a few orders, runs until Ctrl-C
	@tools/run

.PHONY: clean
clean: ## Removes the build directories (not ./data)
	@if ls build/stack/pid/* >/dev/null 2>&1; then \
		echo "clean: servers of build/stack may be running: make stack-down first" >&2; exit 1; fi
	rm -rf build build-asan build-tsan build-fuzz

# --- Testing ---

.PHONY: test
test: ## Runs every test that needs no cluster (ONLY=text: those with it in their name)
	@tools/install-dependencies test
	$(call configure,build,)
	@ninja -C build -j $(JOBS)
	$(call run_tests,build)

.PHONY: asan
asan: ## The same tests, built with the address and undefined-behaviour sanitizers
	@tools/install-dependencies test
	$(call configure,build-asan,-Db_sanitize=address$(comma)undefined -Doptimization=1)
	@ninja -C build-asan -j $(JOBS)
	$(call run_tests,build-asan)

.PHONY: tsan
tsan: ## The same tests, built with the thread sanitizer
	@tools/install-dependencies test
	$(call configure,build-tsan,-Db_sanitize=thread -Doptimization=1)
	@ninja -C build-tsan -j $(JOBS)
	$(call run_tests,build-tsan)

.PHONY: sim
sim: ## Runs the simulator on SEEDS=500 seeds
	@tools/install-dependencies test
	$(call configure,build,)
	@ninja -C build -j $(JOBS) tests/sim/sim
	build/tests/sim/sim --seeds $(SEEDS)

.PHONY: fuzz
fuzz: ## Fuzzes every target for FUZZ_SECONDS=60 seconds (ONLY=text: those with it in their name)
	@tools/install-dependencies fuzz
	$(call configure,build-fuzz,$(fuzz_options))
	@ninja -C build-fuzz -j $(JOBS) fuzzers
	@tools/fuzz build-fuzz --seconds $(FUZZ_SECONDS) --only "$(ONLY)"

comma := ,
fuzz: export CC := clang-14
fuzz_options := -Dfuzz=true -Db_sanitize=address$(comma)undefined -Db_lundef=false -Dwerror=false

# --- The real servers ---

.PHONY: stack
stack: ## Starts MariaDB, Redis Cluster, Kafka and Cassandra on this machine; STACK=full: the service, too
	@tools/install-dependencies stack
ifeq ($(STACK),full)
	$(call configure,build,)
	@ninja -C build -j $(JOBS) product
endif
	@STACK=$(STACK) deploy/stack/stack start

.PHONY: test-stack
test-stack: ## Runs the tests that need the real servers (ONLY=text: those with it in their name)
	@tools/install-dependencies test
	$(call configure,build,)
	@ninja -C build -j $(JOBS)
	@tools/test-stack build --only "$(ONLY)"

.PHONY: stack-down
stack-down: ## Stops them
	@deploy/stack/stack stop

# --- Measuring ---

.PHONY: bench
bench: ## Measures orderd beside its peers (ONLY=text: rows with it in their name; QUICK=1: short)
	@tools/install-dependencies bench
	$(call configure,build,)
	@ninja -C build -j $(JOBS) product benches
	@bench/run build --only "$(ONLY)" $(if $(QUICK),--quick) $(if $(DOCUMENT),--document)

.PHONY: bench-stack
bench-stack: ## Measures orderd on the real servers, which it empties (ONLY, QUICK, DOCUMENT as for bench)
	@tools/install-dependencies stack
	$(call configure,build,)
	@ninja -C build -j $(JOBS) product stack_benches
	@bench/run-stack build --only "$(ONLY)" $(if $(QUICK),--quick) $(if $(DOCUMENT),--document)

# --- Style ---

.PHONY: format
format: ## Formats the C sources
	@tools/install-dependencies test
	@git ls-files -z --cached --others --exclude-standard \
		'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]' | xargs -0 -r clang-format-14 -i

.PHONY: tidy
tidy: ## Checks layers, sizes, format and the rest of the style
	@tools/install-dependencies test
	@tools/tidy
