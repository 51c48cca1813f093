//! The two tiers of the tests: docs/testing.md.

/// Whether this is `make test-full`: all versions, all rounds, all megabytes.
pub(crate) fn full() -> bool {
    std::env::var_os("MOAT_TEST_FULL").is_some_and(|value| value == "1")
}

/// An amount: the first in `make test`, the second in `make test-full`.
pub(crate) fn amount<T>(fast: T, all: T) -> T {
    if full() { all } else { fast }
}
