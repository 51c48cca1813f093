//! The single steps of a build. Everything from a registry was checked to be a plain word, so only scripts need
//! quoting, and they are files.

use super::ImageSpec;
use super::dockerfile::SHARE_DIR;
use crate::registry::{EntryKind, GithubBinary, ResolvedDependency};

/// The commands of one layer, and their files.
pub(super) struct BuildStep {
    /// Names in the build context, and contents.
    pub(super) files: Vec<(String, String)>,
    /// The directory of the build context that is copied first.
    pub(super) copy: Option<&'static str>,
    pub(super) commands: Vec<String>,
}

fn step(commands: Vec<String>) -> BuildStep {
    BuildStep {
        files: Vec::new(),
        copy: None,
        commands,
    }
}

/// The image that contains a runtime; `None` for the distribution's own version.
pub(super) fn image_of(chosen: &ResolvedDependency) -> Option<String> {
    let EntryKind::Runtime(runtime) = &chosen.entry.kind else {
        return None;
    };
    let version = chosen.version.as_deref()?;
    (version != "distro").then(|| runtime.image.replace("{version}", version))
}

/// The distribution's packages that the image needs, sorted.
pub(super) fn packages(wish: &ImageSpec<'_>, copied: &[&ResolvedDependency]) -> Vec<String> {
    let mut packages = Vec::new();
    let mut add = |names: &[&str]| packages.extend(names.iter().map(|name| (*name).to_owned()));
    if wish.host_ca.is_some() {
        add(&["ca-certificates"]);
    }
    for chosen in wish.chosen {
        let entry = &chosen.entry;
        match &entry.kind {
            EntryKind::Apt(names) => add(&names.iter().map(String::as_str).collect::<Vec<_>>()),
            EntryKind::Runtime(runtime) if image_of(chosen).is_none() => {
                add(&runtime
                    .distro
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>());
            }
            EntryKind::GithubBinary(binary) => {
                add(&["ca-certificates", "curl"]);
                add(unpacker(&binary.asset).package);
            }
            EntryKind::Custom(_) => add(&["ca-certificates", "curl", "gnupg", "unzip", "xz-utils"]),
            _ => {}
        }
        let in_base = matches!(entry.kind, EntryKind::Runtime(_))
            && !copied.iter().any(|other| other.entry.name == entry.name);
        if !in_base {
            add(&entry.apt.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    packages.sort();
    packages.dedup();
    packages
}

pub(super) fn apt(packages: &[String]) -> Vec<String> {
    vec![
        "if ! command -v apt-get >/dev/null; then \
         echo 'moat: the base image has no apt-get: it must be Debian-like' >&2; exit 1; fi"
            .to_owned(),
        "apt-get update".to_owned(),
        format!(
            "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n    {}",
            packages.join(" \\\n    ")
        ),
        "rm -rf /var/lib/apt/lists/*".to_owned(),
    ]
}

/// Commands that run each copied runtime, so that an incompatible base image fails the build and not the first run.
pub(super) fn checks(copied: &[&ResolvedDependency]) -> Vec<String> {
    let check = |chosen: &&ResolvedDependency| match &chosen.entry.kind {
        EntryKind::Runtime(runtime) => runtime.check.clone(),
        _ => None,
    };
    copied.iter().filter_map(check).collect()
}

/// The steps that install tools, one for each package manager.
pub(super) fn tools(chosen: &[ResolvedDependency]) -> Vec<BuildStep> {
    let steps = [
        github(chosen),
        npm(chosen),
        pip(chosen),
        uv(chosen),
        cargo(chosen),
        go(chosen),
        custom(chosen),
    ];
    steps.into_iter().flatten().collect()
}

/// The packages of one package manager, with the version after `separator`.
fn named(
    chosen: &[ResolvedDependency],
    separator: &str,
    package: impl Fn(&EntryKind) -> Option<&String>,
) -> Vec<String> {
    let mut names = Vec::new();
    for chosen in chosen {
        if let Some(name) = package(&chosen.entry.kind) {
            names.push(match &chosen.version {
                Some(version) => format!("{name}{separator}{version}"),
                None => name.clone(),
            });
        }
    }
    names.sort();
    names
}

fn github(chosen: &[ResolvedDependency]) -> Option<BuildStep> {
    let mut commands = Vec::new();
    for chosen in chosen {
        if let EntryKind::GithubBinary(binary) = &chosen.entry.kind {
            let version = chosen.version.as_deref().unwrap_or_default();
            commands.push(download(&chosen.entry.name, binary, version));
        }
    }
    if commands.is_empty() {
        return None;
    }
    let mut all = vec![
        "arch=$(dpkg --print-architecture)".to_owned(),
        "dir=$(mktemp -d)".to_owned(),
        "cd \"$dir\"".to_owned(),
    ];
    all.extend(commands);
    all.extend(["cd /".to_owned(), "rm -rf \"$dir\"".to_owned()]);
    Some(step(all))
}

fn download(name: &str, binary: &GithubBinary, version: &str) -> String {
    let (amd64, arm64) = match &binary.targets {
        Some((amd64, arm64)) => (amd64.as_str(), arm64.as_str()),
        None => ("amd64", "arm64"),
    };
    let fill = |template: &str| {
        template
            .replace("{version}", version)
            .replace("{arch}", "$arch")
            .replace("{target}", "$target")
    };
    let (repo, tag, asset) = (&binary.repo, fill(&binary.tag), fill(&binary.asset));
    let command = &binary.command;
    let unpack = unpacker(&binary.asset);
    let program = match (&binary.bin, unpack.command) {
        (_, "") => "asset".to_owned(),
        (Some(path), _) => fill(path),
        (None, _) => command.clone(),
    };
    let unpacked = match unpack.command {
        "" => String::new(),
        command => format!(" \\\n && {command} asset"),
    };
    format!(
        "case $arch in amd64) target={amd64} ;; arm64) target={arm64} ;; \
         *) echo \"moat: there is no {name} for $arch\" >&2; exit 1 ;; esac \\\n && \
         curl -fsSL --retry 3 -o asset \"https://github.com/{repo}/releases/download/{tag}/{asset}\"{unpacked} \\\n && \
         install -m 0755 \"{program}\" /usr/local/bin/{command} \\\n && \
         find . -mindepth 1 -delete"
    )
}

/// The command that unpacks a file, and the package that contains the command.
struct Unpacker {
    command: &'static str,
    package: &'static [&'static str],
}

fn unpacker(asset: &str) -> Unpacker {
    let (command, package): (&str, &[&str]) = if asset.ends_with(".zip") {
        ("unzip -q", &["unzip"])
    } else if asset.ends_with(".tar.gz") || asset.ends_with(".tgz") {
        ("tar -xzf", &[])
    } else if asset.ends_with(".tar.xz") {
        ("tar -xJf", &["xz-utils"])
    } else {
        ("", &[])
    };
    Unpacker { command, package }
}

fn npm(chosen: &[ResolvedDependency]) -> Option<BuildStep> {
    let names = named(chosen, "@", |kind| match kind {
        EntryKind::Npm(name) => Some(name),
        _ => None,
    });
    (!names.is_empty()).then(|| {
        step(vec![
            format!(
                "npm install --global --no-audit --no-fund --cache /tmp/npm {}",
                names.join(" ")
            ),
            "rm -rf /tmp/npm".to_owned(),
        ])
    })
}

fn pip(chosen: &[ResolvedDependency]) -> Option<BuildStep> {
    let names = named(chosen, "==", |kind| match kind {
        EntryKind::Pip(name) => Some(name),
        _ => None,
    });
    // The protection of the distribution's Python serves no purpose in this image.
    (!names.is_empty()).then(|| {
        step(vec![format!(
            "PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore \
             python3 -m pip install --no-cache-dir {}",
            names.join(" ")
        )])
    })
}

fn uv(chosen: &[ResolvedDependency]) -> Option<BuildStep> {
    let names = named(chosen, "==", |kind| match kind {
        EntryKind::UvTool(name) => Some(name),
        _ => None,
    });
    let install = |name: &String| format!("uv tool install --no-cache {name}");
    (!names.is_empty()).then(|| step(names.iter().map(install).collect()))
}

fn cargo(chosen: &[ResolvedDependency]) -> Option<BuildStep> {
    let names = named(chosen, "@", |kind| match kind {
        EntryKind::Cargo(name) => Some(name),
        _ => None,
    });
    (!names.is_empty()).then(|| {
        step(vec![
            format!(
                "CARGO_HOME=/tmp/cargo cargo install --locked --root /usr/local {}",
                names.join(" ")
            ),
            "rm -rf /tmp/cargo".to_owned(),
        ])
    })
}

fn go(chosen: &[ResolvedDependency]) -> Option<BuildStep> {
    let mut names = Vec::new();
    for chosen in chosen {
        if let EntryKind::GoInstall(name) = &chosen.entry.kind {
            // The versions of Go itself begin without a v; those of packages from `go:` may begin with one.
            let version = match chosen.version.as_deref() {
                Some(version) if version.starts_with(|first: char| first.is_ascii_digit()) => {
                    format!("v{version}")
                }
                Some(version) => version.to_owned(),
                None => "latest".to_owned(),
            };
            names.push(format!("{name}@{version}"));
        }
    }
    names.sort();
    let install = |name: &String| {
        format!(
            "GOBIN=/usr/local/bin GOPATH=/tmp/go GOCACHE=/tmp/go-cache GOFLAGS=-modcacherw go install {name}"
        )
    };
    let mut commands: Vec<String> = names.iter().map(install).collect();
    commands.push("rm -rf /tmp/go /tmp/go-cache".to_owned());
    (!names.is_empty()).then(|| step(commands))
}

fn custom(chosen: &[ResolvedDependency]) -> Option<BuildStep> {
    let (mut files, mut commands) = (Vec::new(), Vec::new());
    for chosen in chosen {
        if let EntryKind::Custom(script) = &chosen.entry.kind {
            let file = format!("install/{}.sh", chosen.entry.name);
            let version = chosen.version.as_deref().unwrap_or_default();
            commands.push(format!(
                "VERSION={version} ARCH=\"$arch\" sh -eu {SHARE_DIR}/{file}"
            ));
            files.push((file, script.clone()));
        }
    }
    if commands.is_empty() {
        return None;
    }
    let guard = "arch=$(dpkg --print-architecture) \
         && case $arch in amd64|arm64) ;; *) echo \"moat: not for $arch\" >&2; exit 1 ;; esac";
    commands.insert(0, guard.to_owned());
    Some(BuildStep {
        files,
        copy: Some("install"),
        commands,
    })
}

/// Creates the workload's user with plain shell commands, which work on every base image.
pub(super) fn user(uid: u32, gid: u32) -> Vec<String> {
    vec![
        format!("sed -i '/^moatuser:/d;/^[^:]*:[^:]*:{uid}:/d' /etc/passwd"),
        "sed -i '/^moatuser:/d' /etc/group".to_owned(),
        format!("echo 'moatuser:x:{uid}:{gid}::/home/moatuser:/bin/sh' >>/etc/passwd"),
        format!("echo 'moatuser:x:{gid}:' >>/etc/group"),
        "mkdir -p /home/moatuser /workspace".to_owned(),
        format!("chown {uid}:{gid} /home/moatuser /workspace"),
    ]
}
