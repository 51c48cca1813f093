//! `moat run`: start a run, and follow it unless it runs in the background.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::args::Args;
use super::command_table::Flag;
use super::{docker_habits, dry_run, flags, output, usage_error};
use crate::error::{Error, Result};
use crate::launch::{self, LaunchRequest};
use crate::plan::{GitAccess, RunRequest};
use crate::store::{self, Home};

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    check_path(args)?;
    let session = session(args, &home)?;
    let request = LaunchRequest {
        run: request(args)?,
        session,
        runtime: text(args, &flags::RUNTIME)?,
        context: text(args, &flags::CONTEXT)?,
        follow: args.has(&flags::FOLLOW),
        export_to: args.value(&flags::EXPORT).map(PathBuf::from),
    };
    let ui = output::ui(args);
    let prepared = launch::prepare(&home, request, &ui)?;
    match args.has(&flags::DRY_RUN) {
        true => dry_run::print(args, &prepared.plan),
        false => prepared.launch(&home, &ui),
    }
}

/// Returns the session of `--session`.
fn session(args: &Args, home: &Home) -> Result<Option<store::Session>> {
    let Some(branch) = args.text(&flags::SESSION)? else {
        return Ok(None);
    };
    if !args.positional().is_empty() {
        let message =
            "--session and PATH exclude each other: the workspace is the session's worktree";
        return Err(Error::usage(message).hint("leave out one of them"));
    }
    super::session_commands::find(home, Some(branch)).map(Some)
}

/// Refuses words of docker in the place of a directory: `-v SRC:DST`, which the parser reads as `--verbose` and a
/// workspace, and `IMAGE`.
fn check_path(args: &Args) -> Result<()> {
    let Some(path) = args.positional().first() else {
        return Ok(());
    };
    let Some(word) = path.to_str().filter(|word| !Path::new(word).exists()) else {
        return Ok(());
    };
    if args.has(&flags::VERBOSE)
        && let Some(error) = docker_habits::volume_error([word].into_iter())
    {
        return Err(error);
    }
    if docker_habits::is_image(word) {
        let workload = args.rest().unwrap_or_default();
        return Err(usage_error::image_for_path(args.command, path, workload));
    }
    Ok(())
}

fn workspace(args: &Args) -> PathBuf {
    args.positional()
        .first()
        .map_or_else(|| ".".into(), PathBuf::from)
}

/// Returns the request of the flags and arguments, as text.
fn request(args: &Args) -> Result<RunRequest> {
    let text = |flag: &Flag| text(args, flag);
    let command = args.rest().unwrap_or_default();
    Ok(RunRequest {
        workspace: workspace(args),
        name: text(&flags::NAME)?,
        image: text(&flags::IMAGE)?,
        command: all_text(command.iter().map(AsRef::as_ref), "the command")?,
        env: all_text(args.values(&flags::ENV), "--env")?,
        env_files: all_text(args.values(&flags::ENV_FILE), "--env-file")?,
        mounts: all_text(args.values(&flags::MOUNT), "--mount")?,
        publish: all_text(args.values(&flags::PUBLISH), "--publish")?,
        workdir: text(&flags::RUN_WORKDIR)?,
        user: text(&flags::USER)?,
        shm_size: text(&flags::SHM_SIZE)?,
        timeout: text(&flags::TIMEOUT)?,
        start_timeout: text(&flags::START_TIMEOUT)?,
        memory: text(&flags::MEMORY)?,
        cpus: text(&flags::CPUS)?,
        interactive: args.has(&flags::INTERACTIVE),
        background: args.has(&flags::BACKGROUND),
        keep: args.has(&flags::KEEP),
        rebuild: args.has(&flags::REBUILD),
        git: GitAccess::default(),
    })
}

/// Converts arguments to text, because engines take only text. Other bytes must go through `-i`.
pub(super) fn all_text<'a>(
    words: impl Iterator<Item = &'a OsStr>,
    what: &str,
) -> Result<Vec<String>> {
    let text = |word: &OsStr| {
        word.to_str().map(str::to_owned).ok_or_else(|| {
            Error::usage(format!("a word of {what} is not UTF-8"))
                .hint("pass bytes to the workload on stdin: moat run -i -- CMD < FILE")
        })
    };
    words.map(text).collect()
}

pub(super) fn text(args: &Args, flag: &Flag) -> Result<Option<String>> {
    Ok(args.text(flag)?.map(str::to_owned))
}
