//! The root filesystem of a run: an image, which moat may have to build, or a directory.

use super::description::{Line, shown};
use super::planner::unsupported_key;
use super::{ConfigLayers, DEFAULT_IMAGE, Host, Plan, Planner};
use crate::config::{ConfigFile, Hooks, RootFilesystem, scalar_values};
use crate::error::Result;
use crate::image::{self, ImageRecipe, ImageSpec};
use crate::registry::{self, ResolvedDependency};
use crate::runtime::RuntimeName;
use crate::store::{Dependency, ImageSettings};
use crate::yaml::{NodeId, Placed};

const LACK: &str = "no images";

#[derive(Default)]
pub(super) struct PlannedImage {
    pub(super) settings: ImageSettings,
    /// How to build a missing image; `None`: moat pulls it.
    pub(super) build: Option<ImageRecipe>,
    /// Whether the image may have a command of its own that a run without a command starts.
    pub(super) has_own_command: bool,
}

impl Planner<'_> {
    /// Plans the image. `dependencies`: the tools in it; `owner`: the uid and gid of the workload's user.
    pub(super) fn image(
        &mut self,
        dependencies: &[ResolvedDependency],
        owner: (u32, u32),
    ) -> Result<PlannedImage> {
        let mut planned = match self.runtime().has_images() {
            true => self.engine_image(dependencies, owner)?,
            false => self.root_directory()?,
        };
        planned.settings.rebuild = self.request.rebuild;
        Ok(planned)
    }

    fn root_directory(&mut self) -> Result<PlannedImage> {
        self.refuse_flag("--image", self.request.image.is_some(), LACK)?;
        self.refuse_flag("--rebuild", self.request.rebuild, LACK)?;
        for file in self.files {
            for (at, key, lack) in image_keys(file) {
                self.refuse_key(file, at, key, lack);
            }
        }
        let rootfs = match self.strongest(|settings| settings.base.as_ref()) {
            Some(RootFilesystem::Rootfs(path)) => self.host.rootfs_path(&path, self.files),
            _ => None,
        };
        Ok(PlannedImage {
            settings: ImageSettings {
                rootfs,
                ..ImageSettings::default()
            },
            ..PlannedImage::default()
        })
    }

    fn engine_image(
        &mut self,
        dependencies: &[ResolvedDependency],
        (uid, gid): (u32, u32),
    ) -> Result<PlannedImage> {
        let runtime = self.runtime();
        for file in self.files {
            if let Some(base) = &file.settings.base
                && let RootFilesystem::Rootfs(_) = base.value
            {
                let why = format!(
                    "'rootfs:' works only on runtimes without images; {runtime} has images"
                );
                self.refuse(file, base.at, why);
            }
        }
        // A script runs before a command that moat knows.
        let has_script = self
            .settings()
            .any(|settings| settings.hooks.pre_run.is_some());
        // A flag names the exact image: nothing is built on it.
        if let Some(image) = &self.request.image {
            scalar_values::image(image)?;
            return Ok(PlannedImage::named(image, !has_script));
        }
        let base = match self.strongest(|settings| settings.base.as_ref()) {
            Some(RootFilesystem::Image(image)) => Some(image),
            _ => None,
        };
        let certificates = match self.strongest(|settings| settings.container.host_ca.as_ref()) {
            Some(true) => Some(self.host.host_certificates()?),
            _ => None,
        };
        let hook = |pick: fn(&Hooks) -> Option<&Placed<String>>| {
            self.strongest(|settings| pick(&settings.hooks))
        };
        let root_hook = hook(|hooks| hooks.post_build_root.as_ref());
        let user_hook = hook(|hooks| hooks.post_build.as_ref());
        let spec = ImageSpec {
            base: base.as_deref(),
            chosen: dependencies,
            post_build_root: root_hook.as_deref(),
            post_build: user_hook.as_deref(),
            uid,
            gid,
            host_ca: certificates.as_deref(),
        };
        if !spec.needs_build() {
            let is_chosen = base.is_some();
            let name = base.as_deref().unwrap_or(DEFAULT_IMAGE);
            return Ok(PlannedImage::named(name, is_chosen && !has_script));
        }
        // A built image has no entry point.
        let build = image::build(&spec, DEFAULT_IMAGE);
        Ok(PlannedImage {
            settings: ImageSettings {
                name: Some(build.tag()),
                dependencies: dependencies.iter().map(dependency).collect(),
                ..ImageSettings::default()
            },
            build: Some(build),
            has_own_command: false,
        })
    }

    /// Refuses dependencies on a runtime without images and services.
    pub(super) fn refuse_dependencies(&self, chosen: &[ResolvedDependency]) {
        let runtime = self.runtime();
        if runtime.has_images() {
            return;
        }
        let is_service = |text: &str| {
            let name = text.split_once('@').map_or(text, |(name, _)| name);
            let mut services = chosen
                .iter()
                .filter(|chosen| chosen.entry.service().is_some());
            services.any(|service| service.entry.name == name)
        };
        for file in self.files {
            let asked = file.settings.dependencies.iter();
            let (services, tools): (Vec<_>, Vec<_>) =
                asked.partition(|dependency| is_service(&dependency.value));
            for service in services {
                let why = format!(
                    "'{}' is a service, and {runtime} runs none; use the runtime {}",
                    service.value,
                    RuntimeName::Docker
                );
                file.source.report(service.at, why);
            }
            if let Some(tool) = tools.first() {
                let why = unsupported_key("dependencies", runtime, LACK);
                file.source.report(tool.at, why);
            }
        }
    }
}

impl PlannedImage {
    /// An image that moat does not build.
    fn named(name: &str, has_own_command: bool) -> PlannedImage {
        PlannedImage {
            settings: ImageSettings {
                name: Some(name.to_owned()),
                ..ImageSettings::default()
            },
            build: None,
            has_own_command,
        }
    }
}

/// The keys of a file that need an image, and what a runtime without images lacks for them.
fn image_keys(file: &ConfigFile) -> Vec<(NodeId, &'static str, &'static str)> {
    let (hooks, container) = (&file.settings.hooks, &file.settings.container);
    let base = file.settings.base.as_ref();
    let image = base.filter(|base| matches!(base.value, RootFilesystem::Image(_)));
    let has_rootfs = base.is_some() && image.is_none();
    let host_ca = container.host_ca.as_ref();
    let host_ca = host_ca.filter(|wanted| has_rootfs && wanted.value);
    let (root_hook, user_hook) = (hooks.post_build_root.as_ref(), hooks.post_build.as_ref());
    let keys = [
        ("base_image", image.map(|base| base.at), LACK),
        ("post_build_root", root_hook.map(|hook| hook.at), LACK),
        ("post_build", user_hook.map(|hook| hook.at), LACK),
        (
            "host_ca",
            host_ca.map(|wanted| wanted.at),
            "the certificates of that root filesystem",
        ),
    ];
    let placed = |(key, at, lack): (_, Option<NodeId>, _)| Some((at?, key, lack));
    keys.into_iter().filter_map(placed).collect()
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

/// The dependencies that are no services.
pub(super) fn tools(mut dependencies: Vec<ResolvedDependency>) -> Vec<ResolvedDependency> {
    dependencies.retain(|dependency| dependency.entry.service().is_none());
    dependencies
}

fn dependency(chosen: &ResolvedDependency) -> Dependency {
    Dependency {
        name: chosen.entry.name.clone(),
        version: chosen.version.clone(),
        kind: chosen.entry.type_name().to_owned(),
        required_by: chosen.required_by.clone(),
    }
}

pub(super) fn describe(plan: &Plan) -> Vec<Line> {
    let image = &plan.settings.image;
    let name = match (&image.name, &plan.build) {
        (None, _) => "none".to_owned(),
        (Some(name), None) => name.clone(),
        (Some(name), Some(build)) => format!("{name}, built from {}", build.base),
    };
    let rootfs = shown(image.rootfs.as_ref().map(|path| path.display()));
    let mut lines = vec![("image", name), ("rootfs", rootfs)];
    let dependencies = image.dependencies.iter();
    lines.extend(dependencies.map(|dependency| ("dependency", dependency.to_string())));
    lines
}

pub(super) fn describe_build(plan: &Plan) -> Vec<Line> {
    let Some(build) = &plan.build else {
        return Vec::new();
    };
    let files = build
        .files
        .iter()
        .map(|file| ("context", format!("{} ({} bytes)", file.name, file.bytes)));
    let dockerfile = ("Dockerfile", build.dockerfile.clone());
    [dockerfile].into_iter().chain(files).collect()
}
