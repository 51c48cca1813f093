//! Engines other than the default docker: podman, rootful and rootless, with services and builds; docker in another
//! context, as if on another machine; several engines with one MOAT_HOME.

mod builds;
mod foreign_users;
mod homes;
mod imposter;
mod monitor;
mod remote;
mod several;
mod sidecars;
