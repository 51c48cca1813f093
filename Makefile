# Plain `make` prints the targets. Everything here also works on a fresh machine: tests/setup installs what is
# missing.

CARGO_TARGET_DIR ?= target
PREFIX ?= /usr/local
DESTDIR ?=

# The release is a static musl binary wherever Rust has that target; elsewhere (macOS) it is a native one.
MUSL = $(shell uname -m)-unknown-linux-musl
TARGET = $(shell test -d "$$(rustc --print target-libdir --target $(MUSL) 2>/dev/null)" && echo $(MUSL))
# moat does not run on macOS yet, but it compiles there.
MAC = aarch64-apple-darwin
BIN = $(CARGO_TARGET_DIR)/$(if $(TARGET),$(TARGET)/)release/moat

# Bytes: 3.5 MiB without TLS (5 MiB will be the limit with it).
SIZE_LIMIT = 3670016
SKIPS = $(abspath $(CARGO_TARGET_DIR))/skipped.txt
MISSING = $${XDG_CACHE_HOME:-$$HOME/.cache}/moat-tests/missing
SHARE = $(DESTDIR)$(PREFIX)/share

.PHONY: help build demo test test-full lint bench size built-size install clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s  %s\n", $$1, $$2 }' Makefile

build: ## build the release binary (static where the musl target is installed)
	cargo build --locked --release $(if $(TARGET),--target $(TARGET))

demo: ## build moat and show what it does, with bwrap and with docker where they work
	@tests/setup bwrap || true
	@$(MAKE) --no-print-directory build
	@tests/demo $(BIN)

# The summary is always printed, and last: a skipped test must not look like one that passed.
test: ## set up what the tests need, run them, and list what could not run
	@tests/setup all
	@mkdir -p $(dir $(SKIPS)) && : >$(SKIPS)
	@MOAT_TEST_SKIPS=$(SKIPS) tests/run; code=$$?; \
	cat "$(MISSING)" $(SKIPS) >$(SKIPS).all; \
	echo "could not run: $$(wc -l <$(SKIPS).all | tr -d ' ')"; sed 's/^/  /' $(SKIPS).all; \
	exit $$code

test-full: ## the same with all versions, all rounds and all megabytes (docs/testing.md)
	@MOAT_TEST_FULL=1 $(MAKE) --no-print-directory test

lint: ## check format, clippy (for a Mac, too) and what must not be in the sources
	cargo fmt --check
	cargo clippy --locked --all-targets --all-features -- -D warnings
	@tests/setup rust-mac || true
	@if test -d "$$(rustc --print target-libdir --target $(MAC) 2>/dev/null)"; then \
		echo "cargo clippy --target $(MAC)"; cargo clippy --locked --all-targets --all-features --target $(MAC) -- -D warnings; \
	else echo "note: not checked for $(MAC)"; fi
	tests/forbid

bench: build ## measure moat against the bare runtimes
	tests/bench/run $(BIN)

# Two steps, because make expands $(BIN) before it runs the first line of a recipe.
size: ## build the release binary and compare its size with the limit
	@tests/setup rust-musl || true
	@$(MAKE) --no-print-directory built-size

built-size: build
	@size=$$(wc -c <$(BIN) | tr -d ' '); \
	echo "$(BIN): $$size bytes, $$((size * 100 / $(SIZE_LIMIT))) % of the limit of $(SIZE_LIMIT)"; \
	test $$size -le $(SIZE_LIMIT) || { echo "error: above the limit" >&2; exit 1; }

install: build ## install the binary, its man page and completions (PREFIX, DESTDIR)
	install -d $(DESTDIR)$(PREFIX)/bin $(SHARE)/man/man1 $(SHARE)/bash-completion/completions \
		$(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/moat
	$(BIN) man >$(SHARE)/man/man1/moat.1
	$(BIN) completions bash >$(SHARE)/bash-completion/completions/moat
	$(BIN) completions zsh >$(SHARE)/zsh/site-functions/_moat
	$(BIN) completions fish >$(SHARE)/fish/vendor_completions.d/moat.fish

clean: ## remove what was built here (the test images and their cache stay)
	cargo clean
