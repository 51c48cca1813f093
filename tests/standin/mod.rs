//! Compares the stand-in for Apple's `container` (testdata/bin) with what is known of the real program, because tests of
//! the driver prove only as much as the stand-in is faithful.
//!
//! These tests do not run moat. They need docker, the busybox image, and python3.

mod acceptance;
mod attached;
mod errors;
mod faults;
mod images;
mod light;
mod place;
mod presets;
mod shapes;
