//! Bad input for each command: an unknown flag, an argument that is not UTF-8, a broken file, a full disk as stdout.
//! Each must end in an error with the right exit code, never in a panic.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;

use crate::cli::fixture::{FIRST, plant, plant_text};
use crate::harness::{Call, Moat};
use crate::sessions::project::Project;
use crate::smoke::{assert_no_panic, place};

/// The damage around a call.
#[derive(Clone, Copy)]
enum Broken {
    Nothing,
    /// No damage; a run exists that the command can name.
    EndedRun,
    /// The record of the run [`FIRST`] ends in the middle.
    Record,
    MoatYaml,
    ConfigYaml,
    /// A file of registry.d is not UTF-8.
    Registry,
    /// The record of a session ends in the middle.
    Session,
    /// MOAT_HOME is a file.
    Home,
    /// Nothing can be written to stdout.
    Stdout,
}

use Broken::{ConfigYaml, EndedRun, Home, MoatYaml, Nothing, Record, Registry, Session, Stdout};

const NOT_UTF_8: &[u8] = b"a\xff\xfe";

/// A command, its exit code for an argument that is not UTF-8, and further cases of damage, arguments and exit code.
type Case = (
    &'static str,
    i32,
    &'static [(Broken, &'static [&'static str], i32)],
);

const CASES: &[Case] = &[
    (
        "run",
        125,
        &[
            (MoatYaml, &["--", "true"], 125),
            (ConfigYaml, &["--", "true"], 125),
            (Home, &["--", "true"], 125),
            (Nothing, &["--timeout", "never", "--", "true"], 2),
            (Nothing, &["--memory", "-1", "--", "true"], 2),
            (Nothing, &["--mount", ":", "--", "true"], 2),
        ],
    ),
    ("check", 1, &[(Nothing, &["nowhere"], 1)]),
    ("logs", 3, &[(EndedRun, &["-n", "-1"], 2), (Home, &[], 1)]),
    ("list", 2, &[(Nothing, &["--state", "lost"], 2)]),
    ("wait", 3, &[(Record, &[FIRST], 1)]),
    ("stop", 3, &[(Record, &[FIRST], 1)]),
    ("kill", 3, &[(Record, &[FIRST], 1)]),
    ("exec", 3, &[(Record, &[FIRST, "--", "true"], 125)]),
    ("inspect", 3, &[(Record, &[FIRST], 1)]),
    ("services", 3, &[(Record, &[FIRST], 1)]),
    ("export", 2, &[(Record, &[FIRST, "out"], 1)]),
    ("destroy", 3, &[(Record, &[FIRST], 1)]),
    ("clean", 2, &[(Nothing, &["--older-than", "never"], 2)]),
    ("volumes", 2, &[(Nothing, &["rm", "nothing"], 1)]),
    ("up", 2, &[(MoatYaml, &["a"], 1), (Session, &["a"], 1)]),
    ("down", 2, &[(Session, &["a"], 1)]),
    (
        "wt",
        2,
        &[
            (Session, &["list"], 1),
            (MoatYaml, &["a", "--", "true"], 125),
        ],
    ),
    ("shell", 2, &[(Session, &["a"], 1)]),
    ("whose", 2, &[(Session, &["1"], 1)]),
    (
        "deps",
        2,
        &[(Registry, &["list"], 1), (Nothing, &["info", "nothing"], 1)],
    ),
    ("status", 2, &[(Home, &[], 1)]),
    ("doctor", 2, &[(Stdout, &[], 1)]),
    ("help", 2, &[(Stdout, &[], 1), (Nothing, &["nothing"], 2)]),
    (
        "completions",
        2,
        &[(Stdout, &["bash"], 1), (Nothing, &["tcsh"], 2)],
    ),
    ("man", 2, &[(Stdout, &[], 1)]),
    ("version", 2, &[(Stdout, &[], 1)]),
];

pub(super) fn is_refused(command: &str) {
    let Some(moat) = place() else { return };
    let project = Project::at(moat, "  slots: 3");
    let (_, code, more) = CASES
        .iter()
        .find(|(name, ..)| *name == command)
        .expect("the command has bad input");
    let call = || project.moat.args([command]);
    refused(call().arg("--no-such-flag"), 2);
    refused(call().arg(OsStr::from_bytes(NOT_UTF_8)), *code);
    for (broken, args, code) in *more {
        damage(&project, *broken);
        let mut call = call().args(*args);
        if let Stdout = broken {
            call = call.stdout_to(File::options().write(true).open("/dev/full").unwrap());
        }
        refused(call, *code);
        repair(&project.moat);
    }
}

/// Asserts that a call fails with this exit code, an error on stderr, and nothing on stdout.
#[track_caller]
fn refused(call: Call<'_>, code: i32) {
    let done = call.any_stderr().run();
    assert_no_panic(&done);
    assert_eq!(done.code, Some(code), "{done}");
    let mut lines = done.stderr.split(|byte| *byte == b'\n');
    assert!(lines.any(|line| line.starts_with(b"error: ")), "{done}");
    assert!(std::str::from_utf8(&done.stderr).is_ok(), "{done}");
}

fn damage(project: &Project, broken: Broken) {
    let home = project.moat.home();
    let write = |path: &str, content: &[u8]| {
        let path = home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    match broken {
        Nothing | Stdout => {}
        EndedRun => plant(&project.moat, FIRST, "stopped"),
        Record => plant_text(&project.moat, FIRST, "{\"schema\": 1, \"id\": \"run_0"),
        MoatYaml => fs::write(project.repo.join("moat.yaml"), "name: [\n").unwrap(),
        ConfigYaml => write("config.yaml", b"run: {background: perhaps}\n"),
        Registry => write("registry.d/bad.yaml", b"\xff\n"),
        Session => write("sessions/bad.json", b"{\"schema\": 1, \"key\": \"b"),
        Home => fs::write(home, "a file\n").unwrap(),
    }
}

/// Repairs all damage.
fn repair(moat: &Moat) {
    let home = moat.home();
    if home.is_dir() {
        fs::remove_dir_all(home).unwrap();
    } else if home.exists() {
        fs::remove_file(home).unwrap();
    }
    moat.write("moat.yaml", "session:\n  slots: 3\n");
}
