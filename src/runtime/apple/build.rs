//! The arguments of `container build`, and its preparation. The builder is a virtual machine that sees only files
//! below the user's home, and rejects a Dockerfile of 16 KiB or more.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::client_call::{HOME_LABEL, ROLE_LABEL};
use super::super::error::Result;
use super::super::{BuildEvent, ImageBuild, build_output, child};
use super::{CHANGE_TIMEOUT, client};
use crate::store::make_dir;

/// From this size on, in bytes, moat shortens a Dockerfile. Some Dockerfiles just below the builder's limit were
/// rejected, too.
const MAX_DOCKERFILE_BYTES: usize = 15 * 1024;

/// The maximum size of a step in a shortened Dockerfile, in bytes. A longer step becomes a file.
const MAX_STEP_BYTES: usize = 256;

/// The memory of the builder. The default is too small for large images. `build` creates the builder again if its
/// memory differs.
const BUILDER_MEMORY: &str = "4096MB";
const BUILDER_CPUS: &str = "4";

/// Timeout of a build, which includes the first start of the builder and the pull of its image.
const BUILD_TIMEOUT: Duration = Duration::from_secs(4 * 3600);
const BUILDER_START_TIMEOUT: Duration = Duration::from_secs(300);

/// A script that makes its arguments the name servers of a builder.
const SET_NAME_SERVERS_SCRIPT: &str = r#"printf 'nameserver %s\n' "$@" >/etc/resolv.conf"#;

/// Number of lines at the end of a failed build that are searched for the reason.
const ERROR_LINES: usize = 40;

/// The directory in an image for the steps that moat moved out of the Dockerfile.
const STEPS_DIR: &str = "/usr/local/share/moat/steps";

/// The files of a build, in a directory that the builder sees.
pub(super) struct StagedBuild {
    pub(super) dockerfile: PathBuf,
    pub(super) context: PathBuf,
}

/// Writes the files of a build into `dir`, which belongs to the run.
pub(super) fn stage(build: &ImageBuild, dir: &Path) -> io::Result<StagedBuild> {
    let context = dir.join("context");
    copy(&build.context, &context)?;
    let text = fs::read_to_string(&build.dockerfile)?;
    let (text, steps) = shortened(&text);
    for (name, script) in &steps {
        let path = context.join(name);
        make_dir(path.parent().unwrap_or(&context))?;
        fs::write(path, script)?;
    }
    let dockerfile = dir.join("Dockerfile");
    fs::write(&dockerfile, text)?;
    Ok(StagedBuild {
        dockerfile,
        context,
    })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    make_dir(to)?;
    // The image gets the mode of each file.
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}

/// Returns a Dockerfile that is small enough, and the scripts of its long steps. A long step becomes a step that runs
/// a file of the build context.
fn shortened(text: &str) -> (String, Vec<(String, String)>) {
    let (mut out, mut steps) = (String::new(), Vec::new());
    if text.len() < MAX_DOCKERFILE_BYTES {
        return (text.to_owned(), steps);
    }
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let mut instruction = line.to_owned();
        while instruction.trim_end().ends_with('\\') {
            match lines.next() {
                Some(more) => instruction.push_str(more),
                None => break,
            }
        }
        match instruction.strip_prefix("RUN ") {
            Some(script) if script.len() > MAX_STEP_BYTES => {
                let name = format!("moat-steps/{}.sh", steps.len() + 1);
                let place = format!("{STEPS_DIR}/{}.sh", steps.len() + 1);
                out.push_str(&format!("COPY {name} {place}\nRUN sh {place}\n"));
                steps.push((name, script.to_owned()));
            }
            _ => out.push_str(&instruction),
        }
    }
    (out, steps)
}

/// Returns the arguments of the build.
pub(super) fn args(build: &ImageBuild, staged: &StagedBuild) -> Vec<String> {
    let mut args = words(&["build", "--tag", &build.tag, "--progress", "plain"]);
    for (name, value) in [
        (HOME_LABEL, build.home_label.as_str()),
        (ROLE_LABEL, "build"),
    ] {
        args.extend(words(&["--label", &format!("{name}={value}")]));
    }
    args.extend(words(&["--file", &staged.dockerfile.to_string_lossy()]));
    if build.no_cache {
        args.push("--no-cache".to_owned());
    }
    args.extend(resources(&build.dns));
    args.push(staged.context.to_string_lossy().into_owned());
    args
}

/// Returns the arguments that start the builder, with the same settings as the build.
pub(super) fn start(dns: &[IpAddr]) -> Vec<String> {
    let mut args = words(&["builder", "start"]);
    args.extend(resources(dns));
    args
}

fn resources(dns: &[IpAddr]) -> Vec<String> {
    let mut args = words(&["--cpus", BUILDER_CPUS, "--memory", BUILDER_MEMORY]);
    for server in dns {
        args.extend(words(&["--dns", &server.to_string()]));
    }
    args
}

/// Runs one build. Returns the builder's last output if the build failed.
pub(super) fn attempt(
    args: &[String],
    tell: &mut dyn FnMut(BuildEvent<'_>),
    should_continue: &dyn Fn() -> bool,
) -> Result<Option<String>> {
    let mut last = VecDeque::with_capacity(ERROR_LINES);
    let mut client = client::client();
    let ended = child::run_lines(
        client.args(args),
        BUILD_TIMEOUT,
        should_continue,
        &mut |line| {
            if last.len() == ERROR_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
            tell(build_output::event(line));
        },
    );
    let ended = ended.map_err(|error| client::failed(&error))?;
    Ok((!ended.success()).then(|| last.make_contiguous().join("\n")))
}

/// Sets the name servers of a running builder, because a release with a running builder ignores those of a build.
/// moat does not create the builder again, because another build may use the builder.
pub(super) fn set_name_servers(build: &ImageBuild) -> Result<()> {
    let set = || {
        let mut client = client::client();
        client.args([
            "exec",
            "buildkit",
            "sh",
            "-c",
            SET_NAME_SERVERS_SCRIPT,
            "moat",
        ]);
        client.args(build.dns.iter().map(IpAddr::to_string));
        client::run(&mut client, b"", CHANGE_TIMEOUT)
    };
    if set().is_err() {
        // The builder is not running, so the build starts it with these name servers.
        client::run(
            client::client().args(start(&build.dns)),
            b"",
            BUILDER_START_TIMEOUT,
        )?;
        set()?;
    }
    Ok(())
}

/// Restarts the builder after its connection broke.
pub(super) fn restart(build: &ImageBuild) -> Result<()> {
    // A missing builder is fine.
    let _ = client::run(
        client::client().args(["builder", "stop"]),
        b"",
        CHANGE_TIMEOUT,
    );
    let _ = client::run(
        client::client().args(["builder", "delete", "--force"]),
        b"",
        CHANGE_TIMEOUT,
    );
    client::run(
        client::client().args(start(&build.dns)),
        b"",
        BUILDER_START_TIMEOUT,
    )
    .map(drop)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_dockerfile_becomes_small_and_does_the_same() {
        let long = format!(
            "RUN echo 1 \\\n && echo {} \\\n && echo 3\n",
            "x".repeat(2 * MAX_DOCKERFILE_BYTES)
        );
        let text = format!("FROM a\nENV A=1 \\\n    B=2\n{long}RUN echo short\n");
        let (out, steps) = shortened(&text);
        assert_eq!(
            out,
            "FROM a\nENV A=1 \\\n    B=2\nCOPY moat-steps/1.sh /usr/local/share/moat/steps/1.sh\n\
             RUN sh /usr/local/share/moat/steps/1.sh\nRUN echo short\n"
        );
        assert_eq!(steps[0].0, "moat-steps/1.sh");
        assert_eq!(format!("RUN {}", steps[0].1), long);
        let small = "FROM a\nRUN echo short\n";
        assert_eq!(shortened(small), (small.to_owned(), Vec::new()));
    }
}
