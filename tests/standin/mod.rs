//! The stand-in for Apple's `container` (testdata/bin), held against what is known of the real one:
//! a driver that is tested with it is tested as well as it is faithful.
//!
//! Nothing here runs moat. It needs docker, the image of a shell, and python3.

mod acceptance;
mod attached;
mod errors;
mod faults;
mod images;
mod light;
mod place;
mod presets;
mod shapes;
