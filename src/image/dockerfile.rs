//! The complete Dockerfile: its steps and their order.
//!
//! Steps that rarely change come first, so that the builder's cache stays valid as long as possible. Scripts are
//! files of the build context: so nothing needs quoting, and the Dockerfile stays readable.

use super::steps::{self, BuildStep};
use super::{ContextFile, ImageRecipe, ImageSpec};
use crate::registry::{EntryKind, RegistryEntry, ResolvedDependency};

/// The directory of moat's files in an image.
pub(super) const SHARE_DIR: &str = "/usr/local/share/moat";

/// The path of the host's certificates in an image.
const HOST_CA_PATH: &str = "/usr/local/share/ca-certificates/moat-host-ca.crt";

/// The variables with which programs find certificates, if they do not use the system's.
pub(crate) const CA_VARIABLES: [&str; 8] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

pub(super) fn build(wish: &ImageSpec<'_>, default_base: &str) -> ImageRecipe {
    let mut file = Dockerfile::default();
    let base = base(wish, default_base);
    file.line("# Made by moat.");
    file.line(&format!("FROM {}", base.image));
    // The base image may have another user.
    file.line("USER root");
    if let Some(certificates) = wish.host_ca {
        file.files
            .push(ContextFile::new("host-ca.crt", certificates));
        file.line(&format!("COPY host-ca.crt {HOST_CA_PATH}"));
        file.env(&CA_VARIABLES.map(|name| format!("{name}={HOST_CA_PATH}")));
    }
    let copied = copied_runtimes(wish.chosen, base.runtime);
    let packages = steps::packages(wish, &copied);
    if !packages.is_empty() {
        let mut commands = steps::apt(&packages);
        if wish.host_ca.is_some() {
            // For programs that use the system's certificates. Installing the package does this, unless it was
            // installed.
            commands.push("update-ca-certificates".to_owned());
        }
        file.run(&commands);
    }
    for chosen in &copied {
        file.copy_runtime(chosen);
    }
    file.environment(wish.chosen);
    let checks = steps::checks(&copied);
    if !checks.is_empty() {
        file.run(&checks);
    }
    for step in steps::tools(wish.chosen) {
        file.step(step);
    }
    file.user_and_hooks(wish);
    file.files.sort_by(|one, other| one.name.cmp(&other.name));
    ImageRecipe {
        base: base.image,
        dockerfile: file.text,
        files: file.files,
    }
}

struct BaseImage<'a> {
    image: String,
    /// The runtime that the base image contains.
    runtime: Option<&'a str>,
}

fn base<'a>(wish: &ImageSpec<'a>, default_base: &str) -> BaseImage<'a> {
    if let Some(image) = wish.base {
        return BaseImage {
            image: image.to_owned(),
            runtime: None,
        };
    }
    let first = wish
        .chosen
        .iter()
        .find_map(|chosen| Some((chosen, steps::image_of(chosen)?)));
    match first {
        Some((chosen, image)) => BaseImage {
            image,
            runtime: Some(&chosen.entry.name),
        },
        None => BaseImage {
            image: default_base.to_owned(),
            runtime: None,
        },
    }
}

/// The runtimes that are copied from other images.
fn copied_runtimes<'a>(
    chosen: &'a [ResolvedDependency],
    base: Option<&str>,
) -> Vec<&'a ResolvedDependency> {
    let others = chosen
        .iter()
        .filter(|chosen| Some(chosen.entry.name.as_str()) != base);
    others
        .filter(|chosen| steps::image_of(chosen).is_some())
        .collect()
}

#[derive(Default)]
struct Dockerfile {
    text: String,
    files: Vec<ContextFile>,
}

impl Dockerfile {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Adds one layer, whose commands must all succeed.
    fn run(&mut self, commands: &[String]) {
        self.line(&format!("RUN {}", commands.join(" \\\n && ")));
    }

    fn copy_runtime(&mut self, chosen: &ResolvedDependency) {
        let (EntryKind::Runtime(runtime), Some(image)) =
            (&chosen.entry.kind, steps::image_of(chosen))
        else {
            return;
        };
        for path in &runtime.copy {
            self.line(&format!("COPY --from={image} {path} {path}"));
        }
    }

    /// Adds one layer with all variables.
    fn env(&mut self, variables: &[String]) {
        if !variables.is_empty() {
            self.line(&format!("ENV {}", variables.join(" \\\n    ")));
        }
    }

    /// Adds the variables of the entries. The image of a runtime has its variables already, which is harmless.
    fn environment(&mut self, chosen: &[ResolvedDependency]) {
        // The distribution's version of a runtime is in the distribution's directories.
        let is_distro = |chosen: &&ResolvedDependency| {
            matches!(chosen.entry.kind, EntryKind::Runtime(_)) && steps::image_of(chosen).is_none()
        };
        let (mut variables, mut paths) = (Vec::new(), Vec::new());
        for chosen in chosen.iter().filter(|chosen| !is_distro(chosen)) {
            let RegistryEntry { env, kind, .. } = &chosen.entry;
            variables.extend(
                env.iter()
                    .map(|(name, value)| format!("{}={}", env_name(name), quoted(value))),
            );
            if let EntryKind::Runtime(runtime) = kind {
                paths.extend(runtime.path.iter().map(String::as_str));
            }
        }
        if !paths.is_empty() {
            variables.push(format!("PATH={}:$PATH", paths.join(":")));
        }
        self.env(&variables);
    }

    fn step(&mut self, step: BuildStep) {
        for (name, content) in &step.files {
            self.files.push(ContextFile::new(name, content));
        }
        if let Some(dir) = step.copy {
            self.line(&format!("COPY {dir} {SHARE_DIR}/{dir}"));
        }
        self.run(&step.commands);
    }

    /// Adds the workload's user, then the hooks of the project.
    fn user_and_hooks(&mut self, wish: &ImageSpec<'_>) {
        let owner = format!("{}:{}", wish.uid, wish.gid);
        if wish.uid != 0 {
            self.run(&steps::user(wish.uid, wish.gid));
        }
        self.line("WORKDIR /workspace");
        let hooks = [
            ("post_build_root", wish.post_build_root),
            ("post_build", wish.post_build),
        ];
        for (name, script) in hooks {
            if let Some(script) = script {
                let name = format!("hooks/{name}.sh");
                self.files.push(ContextFile::new(&name, script));
            }
        }
        if wish.post_build_root.is_some() || wish.post_build.is_some() {
            self.line(&format!("COPY hooks {SHARE_DIR}/hooks"));
        }
        if wish.post_build_root.is_some() {
            self.run(&[format!("sh -e {SHARE_DIR}/hooks/post_build_root.sh")]);
        }
        if wish.uid != 0 {
            self.line("ENV HOME=/home/moatuser");
            self.line(&format!("USER {owner}"));
        }
        if wish.post_build.is_some() {
            self.run(&[format!("sh -e {SHARE_DIR}/hooks/post_build.sh")]);
        }
        // The entry point is empty, so that a container runs only the command of its run.
        self.line("ENTRYPOINT []");
    }
}

/// The name of an `ENV`, quoted if it is more than a word.
fn env_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match name.bytes().all(plain) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// Quotes the value of an `ENV`, so that nothing is expanded.
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for letter in value.chars() {
        if matches!(letter, '"' | '\\' | '$') {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
    out
}
