//! Engines beside the one that all other tests use: podman, of root and without, with services and builds; docker
//! in another context, as on another machine; several of them in one home.

mod builds;
mod foreign_users;
mod monitor;
mod remote;
mod several;
mod sidecars;
