//! The tmux session of a session (`session.tmux`): window 0 is a shell in the worktree, and each process has a
//! window, which stays open after the process has exited.
//!
//! The tmux server belongs to the user. moat identifies its own objects by options: `@moat` of the tmux session holds
//! the incarnation, `@moat_window` of a window the process name. Targets are tmux ids, because tmux accepts any
//! prefix of a name. The socket is in the record, so that `down` asks the server that `up` used.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::marked_processes::PROCESS_MARK_VARIABLE;
use super::monitor::MONITOR;
use super::variables;
use crate::config::HostProcess;
use crate::error::{Error, ErrorKind, Result, os_error_text};
use crate::failpoint::checkpoint;
use crate::program::clear_git_repository;
use crate::runtime::child;
use crate::store::{Claim, Home, ProcessIdentity, Session, Tmux, write_atomically};

const TMUX_TIMEOUT: Duration = Duration::from_secs(10);

/// Fails if tmux is not installed.
pub(super) fn require() -> Result<()> {
    match crate::program::is_on_path("tmux") {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Failed,
            "session.tmux is set, but there is no tmux on PATH",
        )
        .hint("install tmux, or set session.tmux to false in moat.yaml")),
    }
}

/// The socket of the surrounding tmux.
fn inside() -> Option<PathBuf> {
    let inside = std::env::var("TMUX").ok()?;
    let socket = inside.split(',').next()?;
    (!socket.is_empty()).then(|| PathBuf::from(socket))
}

/// The name of tmux's directory of sockets.
fn directory() -> String {
    format!("tmux-{}", rustix::process::getuid().as_raw())
}

/// The socket to use: that of the surrounding tmux, or the user's default.
fn default_socket() -> PathBuf {
    inside().unwrap_or_else(|| {
        let base = std::env::var_os("TMUX_TMPDIR").filter(|dir| !dir.is_empty());
        let base = base.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        base.join(directory()).join("default")
    })
}

/// Creates the directory of a socket, which tmux does not do with -S: after a reboot the directory is gone.
fn create_socket_dir(socket: &Path) -> Result<()> {
    let dir = socket.parent().unwrap_or(socket);
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io(ErrorKind::Failed, "create", dir, &error));
        }
        _ => {}
    }
    match foreign_user(socket)? {
        Some(uid) => Err(untrusted_socket_error(
            dir,
            &format!("belongs to user {uid}"),
        )),
        None => Ok(()),
    }
}

/// The other user who owns the directory of a socket: that user's server would receive moat's whole environment. tmux
/// checks its own directory in the same way, but not with -S.
fn foreign_user(socket: &Path) -> Result<Option<u32>> {
    let dir = socket.parent().unwrap_or(socket);
    let is_tmuxs = dir.ends_with(directory()) && inside().is_none_or(|inside| inside != socket);
    let Some(about) = is_tmuxs.then(|| dir.symlink_metadata().ok()).flatten() else {
        return Ok(None);
    };
    if about.uid() != rustix::process::getuid().as_raw() {
        return Ok(Some(about.uid()));
    }
    match about.is_dir() && about.mode() & 0o007 == 0 {
        true => Ok(None),
        false => Err(untrusted_socket_error(dir, "is not a private directory")),
    }
}

fn untrusted_socket_error(dir: &Path, why: &str) -> Error {
    failed(&format!(
        "{} {why}: another user's server may listen there",
        dir.display()
    ))
    .hint(
        "set TMUX_TMPDIR to a directory of your own, or fix the owner and mode (0700) of that one",
    )
}

/// The output of tmux; `Err`: its error message.
fn run_tmux(socket: &Path, args: &[&str]) -> std::result::Result<String, String> {
    // A server that tmux starts must inherit nothing, least of all the lock.
    close_fds::set_fds_cloexec(3, &[]);
    let mut command = Command::new("tmux");
    // tmux takes a ';' at the end of an argument for the end of its command.
    let args = args.iter().map(|word| match word.strip_suffix(';') {
        Some(word) if !word.is_empty() => format!("{word}\\;"),
        _ => (*word).to_owned(),
    });
    clear_git_repository(&mut command).env_remove(PROCESS_MARK_VARIABLE);
    command.arg("-S").arg(socket).args(args);
    match child::run(&mut command, b"", TMUX_TIMEOUT, &|| true) {
        Ok(output) if output.success => Ok(output.stdout),
        Ok(output) => Err(output.stderr.trim().to_owned()),
        Err(error) => Err(os_error_text(&error)),
    }
}

fn failed(why: &str) -> Error {
    let why = crate::term::escape_unsafe(why);
    Error::new(ErrorKind::Failed, format!("tmux: {why}"))
}

/// Splits arguments that contain no spaces.
fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// Quotes a word for a shell.
fn quote(text: &str) -> String {
    shlex::try_quote(text).unwrap_or_default().into_owned()
}

/// Escapes text for a place where tmux expands formats.
fn format_text(text: &str) -> String {
    text.replace('#', "##")
}

/// The id of the tmux session, if it exists.
fn find(socket: &Path, incarnation: &str) -> Result<Option<String>> {
    // A directory of another user may hold a foreign server.
    if foreign_user(socket)?.is_some() {
        return Ok(None);
    }
    let sessions = match run_tmux(socket, &["list-sessions", "-F", "#{session_id} #{@moat}"]) {
        Ok(sessions) => sessions,
        Err(why) => {
            let silent = [
                "no server running",
                "No such file or directory",
                "Connection refused",
            ];
            return match silent.iter().any(|words| why.contains(words)) {
                true => Ok(None),
                false => Err(failed(&why)),
            };
        }
    };
    let mut lines = sessions.lines().filter_map(|line| line.split_once(' '));
    let ours = lines.find(|(_, mark)| *mark == incarnation);
    Ok(ours.map(|(id, _)| id.to_owned()))
}

/// Writes the session's variables to a private file for a shell to read; returns its path.
fn shell_variables(home: &Home, session: &Session) -> Result<String> {
    let path = home.shell_variables(&session.key);
    let lines = variables::shared(session).into_iter();
    let lines = lines.map(|(name, value)| format!("export {name}={}\n", quote(&value)));
    let text: String = lines.collect();
    write_atomically(&path, text.as_bytes())
        .map_err(|error| Error::io(ErrorKind::Store, "write", &path, &error))?;
    Ok(format_text(&path.to_string_lossy()))
}

/// Ensures that the server and the tmux session exist.
fn ensure(home: &Home, claim: &mut Claim, session: &Session) -> Result<(PathBuf, String)> {
    let recorded = session.tmux.as_ref().map(|tmux| tmux.socket.clone());
    if let Some(socket) = &recorded
        && let Some(id) = find(socket, &session.incarnation)?
    {
        return Ok((socket.clone(), id));
    }
    let socket = match recorded {
        Some(socket) if foreign_user(&socket)?.is_none() => socket,
        _ => default_socket(),
    };
    let made = Tmux {
        name: format!("moat-{}", session.key),
        socket: socket.clone(),
        operation: claim.id().to_owned(),
    };
    create_socket_dir(&socket)?;
    claim.update(&mut |session| session.tmux = Some(made.clone()))?;
    checkpoint("session-tmux-intent");
    let id = new_session(home, session, &made)?;
    checkpoint("session-tmux-made");
    Ok((socket, id))
}

/// Creates the tmux session; returns its id.
fn new_session(home: &Home, session: &Session, made: &Tmux) -> Result<String> {
    let dir = format_text(&session.worktree.path.to_string_lossy());
    let shell = std::env::var("SHELL").ok();
    let shell = shell.filter(|shell| !shell.is_empty());
    let shell = shell.unwrap_or_else(|| "/bin/sh".to_owned());
    let variables = shell_variables(home, session)?;
    let mut args = words("new-session -d -x 220 -y 50 -n shell -P -F #{session_id}");
    // Every user can read arguments, and the variables may contain passwords.
    let script = ". \"$1\"; exec \"$2\"";
    args.extend(["-s", &made.name, "-c", &dir, "sh", "-c", script]);
    args.extend(["sh", &variables, &shell]);
    // One call, so that the window never exists without its mark. A shell that exits or is missing must not end the
    // tmux session. The user's `destroy-unattached` would end it before anybody attaches.
    let (target, incarnation) = (format!("={}:", made.name), &session.incarnation);
    let options = format!(
        "; set-option -t {target} @moat {incarnation} ; set-option -w -t {target} remain-on-exit on ; \
         set-option -t {target} destroy-unattached off"
    );
    args.extend(words(&options));
    let id = run_tmux(&made.socket, &args).map_err(|why| {
        let error = failed(&why);
        match why.starts_with("duplicate session") {
            true => {
                error.hint("moat did not create that tmux session: end it, or rename it with 'tmux rename-session'")
            }
            false if why.contains("server exited") || why.contains("no server running") => error.hint(
                "if your tmux.conf sets exit-unattached, tmux ends without a terminal: unset it, or run moat inside tmux",
            ),
            false => error,
        }
    })?;
    Ok(id.trim().to_owned())
}

/// Creates the window of a process, with a monitor in it that waits for its release.
pub(super) fn window(
    home: &Home,
    claim: &mut Claim,
    process: &HostProcess,
    dir: &Path,
) -> Result<ProcessIdentity> {
    let name = process.name.as_str();
    let gone = || failed("the window closed at once");
    let session = claim.record()?.clone();
    let (socket, id) = ensure(home, claim, &session)?;
    end_windows(&socket, &id, &[name])?;
    let owner = ProcessIdentity::current().ok_or_else(gone)?;
    let pid = owner.pid.to_string();
    // tmux starts the monitor, so the path of this program is passed; this process exists until the monitor has
    // started.
    let program = crate::run::own_executable()?
        .to_string_lossy()
        .replace("/self/", &format!("/{pid}/"));
    let dir = format_text(&dir.to_string_lossy());
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let state = path(home.process_state_file(&session.key, name));
    let go = path(home.process_go_file(&session.key, name));
    let mark = format!("{PROCESS_MARK_VARIABLE}={}", session.mark(name));
    let target = format!("{id}:");
    let mut args = vec!["new-window", "-d", "-P", "-F", "#{pane_id} #{pane_pid}"];
    args.extend(["-t", &target, "-n", name, "-c", &dir]);
    args.extend(["env", &mark, &program, MONITOR, &state, &process.command]);
    args.extend([go.as_str(), &pid, &owner.token]);
    let made = run_tmux(&socket, &args).map_err(|why| failed(&why))?;
    checkpoint("session-window-made");
    let (pane, pid) = made.trim().split_once(' ').ok_or_else(gone)?;
    // The monitor waits, so the log exists before the first output of the process, and no output is lost with the
    // window.
    let log = path(home.process_log(&session.key, name));
    let copy = format!("exec {} {MONITOR} {}", quote(&program), quote(&log));
    // tmux expands '%' here as a time format.
    let copy = format_text(&copy).replace('%', "%%");
    let options = format!(
        "set-option -w -t {pane} @moat_window {name} ; set-option -w -t {pane} remain-on-exit on ; pipe-pane -t {pane}"
    );
    let mut args = words(&options);
    args.push(&copy);
    run_tmux(&socket, &args).map_err(|why| failed(&why))?;
    let pid = pid.parse().ok();
    pid.and_then(ProcessIdentity::of_pid).ok_or_else(gone)
}

/// Removes the windows of exited processes.
fn end_windows(socket: &Path, id: &str, names: &[&str]) -> Result<()> {
    let target = format!("{id}:");
    let format = "#{window_id} #{@moat_window}";
    let windows = run_tmux(socket, &["list-windows", "-t", &target, "-F", format]);
    let windows = windows.map_err(|why| failed(&why))?;
    let windows = windows.lines().filter_map(|line| line.split_once(' '));
    for (window, _) in windows.filter(|(_, name)| names.contains(name)) {
        // The user may have closed the window meanwhile.
        let _ = run_tmux(socket, &["kill-window", "-t", window]);
    }
    Ok(())
}

/// Removes the windows of some exited processes.
pub(super) fn remove_windows(session: &Session, names: &[&str]) -> Result<()> {
    let Some(tmux) = &session.tmux else {
        return Ok(());
    };
    match find(&tmux.socket, &session.incarnation)? {
        Some(id) => end_windows(&tmux.socket, &id, names),
        None => Ok(()),
    }
}

/// Removes the tmux session after its processes have ended; other programs in it receive a hangup.
pub(super) fn end(session: &Session) -> Result<()> {
    let Some(tmux) = &session.tmux else {
        return Ok(());
    };
    let Some(id) = find(&tmux.socket, &session.incarnation)? else {
        return Ok(());
    };
    match run_tmux(&tmux.socket, &["kill-session", "-t", &id]) {
        Err(why) if find(&tmux.socket, &session.incarnation)?.is_some() => Err(failed(&why)),
        _ => Ok(()),
    }
}

/// The command that shows a session's windows on this terminal; `None`: the session has no windows.
pub(crate) fn attach(session: &Session) -> Result<Option<Command>> {
    let Some(tmux) = &session.tmux else {
        return Ok(None);
    };
    let id = find(&tmux.socket, &session.incarnation)?;
    let inside = std::env::var_os("TMUX").is_some_and(|value| !value.is_empty());
    let how = if inside {
        "switch-client"
    } else {
        "attach-session"
    };
    Ok(id.map(|id| {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&tmux.socket).args([how, "-t", &id]);
        command
    }))
}
