//! The image of a run, and whether moat must build it.

use std::path::PathBuf;

use super::{ConfigLayers, DEFAULT_IMAGE, Dependency, Host, RunRequest, first_set};
use crate::config::{RootFilesystem, scalar_values};
use crate::error::Result;
use crate::image::{self, ImageRecipe, ImageSpec};
use crate::registry::{self, ResolvedDependency};
use crate::yaml::Placed;

#[derive(Default)]
pub(super) struct PlannedImage {
    pub(super) name: Option<String>,
    /// Whether a flag or a file names the image.
    pub(super) is_chosen: bool,
    pub(super) build: Option<ImageRecipe>,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) rootfs: Option<PathBuf>,
}

pub(super) fn plan_image(
    request: &RunRequest,
    files: ConfigLayers<'_>,
    host: &Host,
    chosen: &[ResolvedDependency],
    owner: (u32, u32),
) -> Result<PlannedImage> {
    let settings = || files.iter().map(|file| &file.settings);
    let base = first_set(settings().map(|settings| settings.base.as_ref()));
    if !host.runtime.has_images() {
        let rootfs = match base {
            Some(RootFilesystem::Rootfs(path)) => Some(host.rootfs_path(&path, files)),
            _ => None,
        };
        return Ok(PlannedImage {
            rootfs: rootfs.flatten(),
            ..PlannedImage::default()
        });
    }
    // A flag names the exact image: nothing is built on it.
    if let Some(image) = &request.image {
        scalar_values::image(image)?;
        return Ok(PlannedImage {
            name: Some(image.clone()),
            is_chosen: true,
            ..PlannedImage::default()
        });
    }
    let base = match &base {
        Some(RootFilesystem::Image(image)) => Some(image.as_str()),
        _ => None,
    };
    let hook = |pick: fn(&crate::config::Hooks) -> Option<&Placed<String>>| {
        first_set(settings().map(|settings| pick(&settings.hooks)))
    };
    let wants_ca = first_set(settings().map(|settings| settings.container.host_ca.as_ref()));
    let certificates = match wants_ca {
        Some(true) => Some(host.host_certificates()?),
        _ => None,
    };
    let (root, user) = (
        hook(|hooks| hooks.post_build_root.as_ref()),
        hook(|hooks| hooks.post_build.as_ref()),
    );
    let wish = ImageSpec {
        base,
        chosen,
        post_build_root: root.as_deref(),
        post_build: user.as_deref(),
        uid: owner.0,
        gid: owner.1,
        host_ca: certificates.as_deref(),
    };
    if !wish.needs_build() {
        return Ok(PlannedImage {
            name: Some(base.unwrap_or(DEFAULT_IMAGE).to_owned()),
            is_chosen: base.is_some(),
            ..PlannedImage::default()
        });
    }
    let build = image::build(&wish, DEFAULT_IMAGE);
    Ok(PlannedImage {
        name: Some(build.tag()),
        is_chosen: base.is_some(),
        build: Some(build),
        dependencies: chosen.iter().map(dependency).collect(),
        rootfs: None,
    })
}

/// Resolves the dependencies. The registry is read only if there is one to look up.
pub(super) fn choose(files: ConfigLayers<'_>, host: &Host) -> Result<Vec<ResolvedDependency>> {
    let mut all = Vec::new();
    for file in files {
        let asked = &file.settings.dependencies;
        if asked.is_empty() {
            continue;
        }
        match registry::choose(&(host.registry)()?, asked) {
            Ok(chosen) => all.extend(chosen),
            Err(flaws) => {
                for (at, why) in flaws {
                    file.source.report(at, why);
                }
            }
        }
    }
    Ok(all)
}

fn dependency(chosen: &ResolvedDependency) -> Dependency {
    Dependency {
        name: chosen.entry.name.clone(),
        version: chosen.version.clone(),
        kind: chosen.entry.type_name().to_owned(),
        required_by: chosen.required_by.clone(),
    }
}
