//! Which image a run gets, and whether it has to be built.

use std::path::PathBuf;

use super::{DEFAULT_IMAGE, Dependency, Files, Host, Request, first};
use crate::config::{Base, scalar_values};
use crate::error::Result;
use crate::image::{self, Build, Wish};
use crate::registry::{self, Chosen};
use crate::yaml::Placed;

#[derive(Default)]
pub(super) struct Image {
    pub(super) name: Option<String>,
    pub(super) build: Option<Build>,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) rootfs: Option<PathBuf>,
}

pub(super) fn plan(
    request: &Request,
    files: Files<'_>,
    host: &Host,
    chosen: &[Chosen],
    owner: (u32, u32),
) -> Result<Image> {
    let settings = || files.iter().map(|file| &file.settings);
    let base = first(settings().map(|settings| settings.base.as_ref()));
    if !host.runtime.has_images() {
        let rootfs = match base {
            Some(Base::Rootfs(path)) => Some(host.rootfs(&path, files)),
            _ => None,
        };
        return Ok(Image {
            rootfs: rootfs.flatten(),
            ..Image::default()
        });
    }
    // A flag means exactly this image: nothing is built on it.
    if let Some(image) = &request.image {
        scalar_values::image(image)?;
        return Ok(Image {
            name: Some(image.clone()),
            ..Image::default()
        });
    }
    let base = match &base {
        Some(Base::Image(image)) => Some(image.as_str()),
        _ => None,
    };
    let hook = |pick: fn(&crate::config::Hooks) -> Option<&Placed<String>>| {
        first(settings().map(|settings| pick(&settings.hooks)))
    };
    let wants_ca = first(settings().map(|settings| settings.container.host_ca.as_ref()));
    let certificates = match wants_ca {
        Some(true) => Some(host.certificates()?),
        _ => None,
    };
    let (root, user) = (
        hook(|hooks| hooks.post_build_root.as_ref()),
        hook(|hooks| hooks.post_build.as_ref()),
    );
    let wish = Wish {
        base,
        chosen,
        post_build_root: root.as_deref(),
        post_build: user.as_deref(),
        uid: owner.0,
        gid: owner.1,
        host_ca: certificates.as_deref(),
    };
    if !wish.needs_build() {
        return Ok(Image {
            name: Some(base.unwrap_or(DEFAULT_IMAGE).to_owned()),
            ..Image::default()
        });
    }
    let build = image::build(&wish, DEFAULT_IMAGE);
    Ok(Image {
        name: Some(build.tag()),
        build: Some(build),
        dependencies: chosen.iter().map(dependency).collect(),
        rootfs: None,
    })
}

/// The registry is read only if there is something to look up in it.
pub(super) fn choose(files: Files<'_>, host: &Host) -> Result<Vec<Chosen>> {
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

fn dependency(chosen: &Chosen) -> Dependency {
    Dependency {
        name: chosen.entry.name.clone(),
        version: chosen.version.clone(),
        kind: chosen.entry.type_word().to_owned(),
        because: chosen.because.clone(),
    }
}
