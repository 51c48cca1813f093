//! `moat run --dry-run`: print the plan, as text or as JSON.

use super::args::Args;
use super::{flags, output};
use crate::error::Result;
use crate::plan::{Plan, PlannedService};
use crate::store::{RunName, WorkspaceMode};

pub(super) fn print(args: &Args, plan: &Plan) -> Result<u8> {
    if args.has(&flags::JSON) {
        output::json(plan)?;
        return Ok(0);
    }
    let mut text = String::new();
    for (what, value) in lines(plan).iter().filter(|(_, value)| !value.is_empty()) {
        for (number, line) in value.lines().enumerate() {
            let what = if number == 0 { *what } else { "" };
            text.push_str(format!("{what:<12} {}", crate::term::escape_unsafe(line)).trim_end());
            text.push('\n');
        }
    }
    output::print_result(&text)?;
    Ok(0)
}

fn lines(plan: &Plan) -> Vec<(&'static str, String)> {
    let name = plan.name.as_ref().map(RunName::to_string);
    let image = plan.image.clone().map(|image| match &plan.build {
        Some(build) => format!("{image}, built from {}", build.base),
        None => image,
    });
    let copy = match plan.workspace_mode {
        WorkspaceMode::Bind => "",
        WorkspaceMode::Volume => " (a copy)",
    };
    let mut lines = vec![
        (
            "name",
            name.unwrap_or_else(|| "chosen at the start".to_owned()),
        ),
        ("runtime", plan.runtime.clone()),
        ("image", image.unwrap_or_else(|| "none".to_owned())),
        (
            "rootfs",
            or_dash(plan.rootfs.as_ref().map(|path| path.display())),
        ),
    ];
    lines.extend(
        plan.dependencies
            .iter()
            .map(|dependency| ("dependency", dependency.to_string())),
    );
    for service in &plan.services {
        lines.push(("service", described(service)));
    }
    if let Some(session) = &plan.session {
        let services = session.services.join(", ");
        let with = match services.is_empty() {
            true => String::new(),
            false => format!(", with its {services}"),
        };
        lines.push(("session", format!("{}{with}", session.key)));
    }
    lines.extend([
        ("workspace", format!("{}{copy}", plan.workspace.display())),
        ("user", format!("{}:{}", plan.uid, plan.gid)),
        ("pre_run", plan.pre_run.clone().unwrap_or_default()),
        ("command", command(&plan.command)),
        (
            "env",
            words(plan.env.iter().map(|variable| variable.name.as_str())),
        ),
        (
            "secrets",
            words(plan.secrets.iter().map(|secret| secret.name.as_str())),
        ),
    ]);
    for mount in &plan.mounts {
        let mode = mode(mount.readonly);
        lines.push((
            "mount",
            format!("{} at {} ({mode})", mount.source.display(), mount.target),
        ));
    }
    for volume in &plan.volumes {
        let mode = mode(volume.readonly);
        lines.push((
            "volume",
            format!("{} at {} ({mode})", volume.name, volume.target),
        ));
    }
    lines.extend(plan.tmpfs.iter().map(|path| ("tmpfs", path.clone())));
    for port in &plan.ports {
        let host = port
            .host
            .map_or_else(|| "a free port".to_owned(), |host| host.to_string());
        let container = port.container;
        lines.push((
            "port",
            format!("{} {container} on 127.0.0.1, {host}", port.name),
        ));
    }
    lines.extend([
        (
            "memory",
            or_dash(plan.memory_bytes.map(|bytes| format!("{bytes} bytes"))),
        ),
        ("cpus", or_dash(plan.cpus)),
        ("pids", or_dash(plan.pids)),
        ("dns", words(plan.dns.iter().map(ToString::to_string))),
    ]);
    for limit in &plan.ulimits {
        let number =
            |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let (soft, hard) = (number(limit.soft), number(limit.hard));
        lines.push(("ulimit", format!("{} soft {soft}, hard {hard}", limit.name)));
    }
    lines.push((
        "timeout",
        or_dash(plan.timeout_seconds.map(|seconds| format!("{seconds} s"))),
    ));
    if let Some(seconds) = plan.start_timeout_seconds {
        lines.push(("start timeout", format!("{seconds} s")));
    }
    let modes = [
        ("background", plan.background),
        ("interactive", plan.interactive),
        ("keep", plan.keep),
        ("rebuild", plan.rebuild),
    ];
    lines.push((
        "mode",
        words(
            modes
                .into_iter()
                .filter(|(_, on)| *on)
                .map(|(mode, _)| mode),
        ),
    ));
    if let Some(build) = &plan.build {
        lines.push(("Dockerfile", build.dockerfile.clone()));
        for file in &build.files {
            lines.push(("context", format!("{} ({} bytes)", file.name, file.bytes)));
        }
    }
    lines
}

fn mode(readonly: bool) -> &'static str {
    if readonly { "ro" } else { "rw" }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn words<T: AsRef<str>>(words: impl Iterator<Item = T>) -> String {
    let words: Vec<T> = words.collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    words.join(" ")
}

/// Returns a command quoted for a shell, so that its words can be told apart.
fn command(words: &[String]) -> String {
    let quoted = shlex::try_join(words.iter().map(String::as_str));
    quoted.unwrap_or_else(|_| words.join(" "))
}

/// Describes a service and the variables that it gives to the workload.
fn described(service: &PlannedService) -> String {
    let mut text = format!(
        "{} ({}@{}), image {}",
        service.name, service.service, service.version, service.image
    );
    if !service.wait {
        text.push_str(", which the workload does not wait for");
    }
    if service.restart {
        text.push_str(", restarted when it ends");
    }
    if let Some(wanted) = &service.provision {
        text.push_str(&format!("\n{}: {}", wanted.key, wanted.items.join(" ")));
    }
    let told = words(
        service
            .exports
            .iter()
            .map(|variable| variable.name.as_str()),
    );
    text.push_str(&format!("\ntells the workload: {told}"));
    text
}
