//! From dependencies and hooks to an image: its Dockerfile, what the build needs beside it, and its
//! tag. Pure: the same wish gives the same bytes, on every machine.

mod dockerfile;
mod steps;

use hmac_sha256::Hash;
use serde::{Deserialize, Serialize};

use crate::registry::ResolvedDependency;
pub(crate) use dockerfile::CA_VARIABLES;

/// What an image is to contain.
#[derive(Clone, Debug)]
pub(crate) struct ImageSpec<'a> {
    /// The image to begin with. Not set: that of the first runtime, or the default one.
    pub(crate) base: Option<&'a str>,
    pub(crate) chosen: &'a [ResolvedDependency],
    /// Run as root at the end of the build.
    pub(crate) post_build_root: Option<&'a str>,
    /// Run as the user after that.
    pub(crate) post_build: Option<&'a str>,
    /// Whom the workload runs as.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Certificates to trust, in PEM form.
    pub(crate) host_ca: Option<&'a str>,
}

/// An image to be built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ImageRecipe {
    /// What it begins with.
    pub(crate) base: String,
    pub(crate) dockerfile: String,
    /// What the Dockerfile copies from its context, in the order of the names.
    pub(crate) files: Vec<ContextFile>,
}

/// A file of the build context. Its content is not serialized: it may be large, and travels apart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ContextFile {
    pub(crate) name: String,
    pub(crate) bytes: usize,
    #[serde(skip)]
    pub(crate) content: String,
}

impl ContextFile {
    fn new(name: &str, content: &str) -> ContextFile {
        ContextFile {
            name: name.to_owned(),
            bytes: content.len(),
            content: content.to_owned(),
        }
    }
}

impl ImageSpec<'_> {
    /// Whether the base image as it is will not do.
    pub(crate) fn needs_build(&self) -> bool {
        !self.chosen.is_empty()
            || self.post_build_root.is_some()
            || self.post_build.is_some()
            || self.host_ca.is_some()
    }
}

/// The image of a wish that needs one to be built.
pub(crate) fn build(wish: &ImageSpec<'_>, default_base: &str) -> ImageRecipe {
    dockerfile::build(wish, default_base)
}

impl ImageRecipe {
    /// A name that no other Dockerfile or context has: a hash of all of it.
    pub(crate) fn tag(&self) -> String {
        let mut hash = Hash::new();
        let mut add = |text: &str| {
            // With its length, so that two texts cannot be cut in another place.
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        };
        add(&self.dockerfile);
        for file in &self.files {
            add(&file.name);
            add(&file.content);
        }
        let digest = hash.finalize();
        let hex: String = digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{IMAGE_REPOSITORY}:{hex}")
    }
}

/// Where the images that moat builds are found in an engine.
const IMAGE_REPOSITORY: &str = "moat/run";

#[cfg(test)]
mod tests;
