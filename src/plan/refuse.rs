//! What a runtime cannot honour is refused by name, not ignored.

use super::{Files, Host, Request, finish};
use crate::config::{Base, File, VolumeKind};
use crate::error::{Error, Kind, Result};
use crate::runtime;
use crate::store::WorkspaceMode;
use crate::yaml::Place;

/// Refuses flags at once, and reports keys to their files.
pub(super) fn check(request: &Request, files: Files<'_>, runtime: runtime::Name) -> Result<()> {
    for file in files {
        check_word(file);
    }
    if runtime.has_images() {
        for file in files {
            if let Some(base) = &file.settings.base
                && let Base::Rootfs(_) = base.value
            {
                let why = format!("rootfs: is for runtimes without images; {runtime} has them");
                file.source.report(base.at, why);
            }
        }
        return Ok(());
    }
    check_flags(request, runtime)?;
    for file in files {
        for (at, key) in unhonoured(file) {
            let why = format!(
                "'{key}' does not work on {runtime}, which has {}; use the runtime {}",
                reason(key),
                runtime::Name::Docker
            );
            file.source.report(at, why);
        }
    }
    Ok(())
}

/// On a runtime without images moat's own directory is where copies and volumes are kept. Where root
/// runs for another owner, that one cannot get there.
pub(super) fn check_owner(files: Files<'_>, host: &Host, uid: u32) {
    if host.runtime.has_images() || uid == 0 || !rustix::process::geteuid().is_root() {
        return;
    }
    for file in files {
        let settings = &file.settings;
        let copy = settings.workspace_mode.as_ref();
        let copy = copy.filter(|mode| mode.value == WorkspaceMode::Volume);
        let places = copy.map(|mode| mode.at).into_iter();
        for at in places.chain(settings.volumes.iter().map(|volume| volume.at)) {
            let why = format!(
                "this does not work on {} as root with a workspace of another owner (uid {uid}); \
                 run moat as that user",
                host.runtime
            );
            file.source.report(at, why);
        }
    }
}

/// Checks a file by itself: what can be known without making a plan.
pub(crate) fn check_file(files: Files<'_>, host: &Host) -> Result<()> {
    let request = Request::default();
    let mut problems = Vec::new();
    check(&request, files, host.runtime)?;
    super::merge::env(&[], files, host, &mut problems);
    super::merge::mounts(&[], files, host)?;
    super::image::choose(files, host)?;
    finish(files, problems)
}

/// The runtime that a file names must be one.
fn check_word(file: &File) {
    if let Some(word) = &file.settings.runtime
        && runtime::Name::parse(&word.value).is_none()
    {
        let known = runtime::WORDS.join(", ");
        let message = crate::yaml::unknown("runtime", &word.value, runtime::WORDS);
        let why = format!("{message}; this moat drives: {known}");
        file.source.report(word.at, why);
    }
}

fn check_flags(request: &Request, runtime: runtime::Name) -> Result<()> {
    let asked = [
        ("--image", request.image.is_some()),
        ("--rebuild", request.rebuild),
        ("--keep", request.keep),
        ("--memory", request.memory.is_some()),
        ("--cpus", request.cpus.is_some()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::new(
            Kind::Runtime,
            format!("{flag} does not work on {runtime}, which has no images and no limits"),
        )
        .hint(format!(
            "leave out {flag}, or use --runtime {}",
            runtime::Name::Docker
        ))),
    }
}

/// The keys of a file that a sandbox cannot honour.
fn unhonoured(file: &File) -> Vec<(Place, &'static str)> {
    let settings = &file.settings;
    let container = &settings.container;
    let mut found = Vec::new();
    let mut add = |key, at: Option<Place>| found.extend(at.map(|at| (at, key)));
    let image = settings
        .base
        .as_ref()
        .filter(|base| matches!(base.value, Base::Image(_)));
    add("base_image", image.map(|base| base.at));
    add(
        "dependencies",
        settings.dependencies.first().map(|first| first.at),
    );
    add(
        "post_build_root",
        settings.hooks.post_build_root.as_ref().map(|hook| hook.at),
    );
    add(
        "post_build",
        settings.hooks.post_build.as_ref().map(|hook| hook.at),
    );
    add("ports", settings.ports.first().map(|port| port.at));
    add(
        "memory",
        container.memory_bytes.as_ref().map(|limit| limit.at),
    );
    add("cpus", container.cpus.as_ref().map(|limit| limit.at));
    let rootfs = matches!(&settings.base, Some(base) if matches!(base.value, Base::Rootfs(_)));
    let host_ca = container.host_ca.as_ref();
    add("host_ca", host_ca.filter(|wanted| rootfs && wanted.value).map(|wanted| wanted.at));
    add("pids", container.pids.as_ref().map(|limit| limit.at));
    add("dns", container.dns.first().map(|server| server.at));
    for volume in &settings.volumes {
        let of_engine = volume.value.kind == VolumeKind::Volume;
        add("type: volume", of_engine.then_some(volume.at));
    }
    found
}

fn reason(key: &str) -> &'static str {
    match key {
        "ports" | "dns" => "no network",
        "memory" | "cpus" | "pids" => "no such limits",
        "host_ca" => "the certificates of that root filesystem",
        "type: volume" => "no volumes of its own",
        _ => "no images",
    }
}
