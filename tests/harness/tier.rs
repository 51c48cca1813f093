//! The two tiers of the tests: docs/testing.md.

/// Whether this is `make test-full`: all versions, all rounds, all megabytes.
pub(crate) fn full() -> bool {
    std::env::var_os("MOAT_TEST_FULL").is_some_and(|value| value == "1")
}

/// How much of something: in `make test` the first, in `make test-full` the second.
pub(crate) fn amount<T>(fast: T, all: T) -> T {
    if full() { all } else { fast }
}
