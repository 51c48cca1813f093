/// Doubles a number.
pub fn double(number: u64) -> u64 {
    number * 2
}

#[test]
fn doubles() {
    assert_eq!(double(21), 42);
}
