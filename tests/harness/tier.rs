//! The two tiers of the tests: docs/testing.md.

/// Returns whether this is `make test-full`, with all versions, all rounds and the full amounts of data.
pub(crate) fn full() -> bool {
    std::env::var_os("MOAT_TEST_FULL").is_some_and(|value| value == "1")
}

/// Returns the first amount in `make test`, and the second in `make test-full`.
pub(crate) fn amount<T>(fast: T, all: T) -> T {
    if full() { all } else { fast }
}
