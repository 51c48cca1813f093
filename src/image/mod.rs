//! From dependencies and hooks to an image: its Dockerfile, its build context, and its tag. Pure: equal specs give
//! equal bytes on every machine.

mod dockerfile;
mod steps;

use hmac_sha256::Hash;
use serde::{Deserialize, Serialize};

use crate::registry::ResolvedDependency;
pub(crate) use dockerfile::CA_VARIABLES;

/// The specification of an image.
#[derive(Clone, Debug)]
pub(crate) struct ImageSpec<'a> {
    /// The base image; `None`: the image of the first runtime, or the default image.
    pub(crate) base: Option<&'a str>,
    pub(crate) chosen: &'a [ResolvedDependency],
    /// Runs as root at the end of the build.
    pub(crate) post_build_root: Option<&'a str>,
    /// Runs as the workload's user after that.
    pub(crate) post_build: Option<&'a str>,
    /// The workload's user.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Certificates to trust, in PEM form.
    pub(crate) host_ca: Option<&'a str>,
}

/// The recipe of an image that moat builds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ImageRecipe {
    /// The base image.
    pub(crate) base: String,
    pub(crate) dockerfile: String,
    /// The files that the Dockerfile copies from the build context, in the order of their names.
    pub(crate) files: Vec<ContextFile>,
}

impl ImageRecipe {
    /// The images that the Dockerfile uses.
    pub(crate) fn images(&self) -> Vec<&str> {
        let lines = self.dockerfile.lines();
        let named = lines.filter_map(|line| {
            let image = line
                .strip_prefix("FROM ")
                .or_else(|| line.strip_prefix("COPY --from="))?;
            image.split(' ').next()
        });
        let mut images: Vec<&str> = named.collect();
        images.sort_unstable();
        images.dedup();
        images
    }
}

/// A file of the build context. The content is not serialized: it may be large, and travels separately.
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
    /// Whether the base image must be changed.
    pub(crate) fn needs_build(&self) -> bool {
        !self.chosen.is_empty()
            || self.post_build_root.is_some()
            || self.post_build.is_some()
            || self.host_ca.is_some()
    }
}

/// The recipe of an image that must be built.
pub(crate) fn build(wish: &ImageSpec<'_>, default_base: &str) -> ImageRecipe {
    dockerfile::build(wish, default_base)
}

impl ImageRecipe {
    /// The name of the image: a hash of the whole recipe.
    pub(crate) fn tag(&self) -> String {
        let mut hash = Hash::new();
        let mut add = |text: &str| {
            // With the length, so that two different lists of texts never give the same bytes.
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

/// The repository of all images that moat builds.
const IMAGE_REPOSITORY: &str = "moat/run";

#[cfg(test)]
mod tests;
