//! What `container build` is called with, and what has to be arranged for it: the builder is a virtual
//! machine that sees only what is below the person's home, and takes no Dockerfile of 16 KiB or more.

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

/// The size from which on a Dockerfile is made smaller, in bytes. Some of those just below the limit did
/// not get through either.
const MAX_DOCKERFILE_BYTES: usize = 15 * 1024;

/// So much of a step stays in the Dockerfile, in bytes.
const MAX_STEP_BYTES: usize = 256;

/// What the builder gets. The default is too little for large images. `build` makes the builder anew where
/// that differs from what it was started with.
const BUILDER_MEMORY: &str = "4096MB";
const BUILDER_CPUS: &str = "4";

/// How long a build may take, and the start of the builder, which gets its image the first time.
const BUILD_TIMEOUT: Duration = Duration::from_secs(4 * 3600);
const BUILDER_START_TIMEOUT: Duration = Duration::from_secs(300);

/// Makes its arguments the name servers of a builder.
const SET_NAME_SERVERS_SCRIPT: &str = r#"printf 'nameserver %s\n' "$@" >/etc/resolv.conf"#;

/// So much of a failed build is looked at for its reason.
const ERROR_LINES: usize = 40;

/// Where the steps are in an image that were moved out of the Dockerfile.
const STEPS_DIR: &str = "/usr/local/share/moat/steps";

/// The files of a build, where the builder sees them.
pub(super) struct StagedBuild {
    pub(super) dockerfile: PathBuf,
    pub(super) context: PathBuf,
}

/// Puts the files of a build into `dir`, which is the run's own.
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
    // Modes go into the image.
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

/// A Dockerfile that is small enough, and the scripts that are files of the context instead: a long step
/// becomes one that runs such a file.
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

/// The arguments of the build.
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

/// The arguments that start the builder, the same as those of the build.
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

/// Builds once. What the builder said last, if it failed.
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

/// Tells the builder whom to ask for names, as a release does not that has one running already. It is not
/// made anew for that: somebody else may be building.
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
        // It does not run yet.
        client::run(
            client::client().args(start(&build.dns)),
            b"",
            BUILDER_START_TIMEOUT,
        )?;
        set()?;
    }
    Ok(())
}

/// Starts the builder anew, after its connection broke.
pub(super) fn restart(build: &ImageBuild) -> Result<()> {
    // Whether it was there does not matter.
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
