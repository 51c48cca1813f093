//! Calls of the stand-in for Apple's `container` (testdata/bin) go through a script of the same name whose first line
//! names the interpreter. `python3` on PATH may be a script that searches for an interpreter, which takes longer than
//! the stand-in's own work. Python keeps its compiled files beside that script, not in the tree.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::fnv1a;

/// Returns the directory that the stand-in needs at the beginning of PATH.
pub(crate) fn stand_in() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| make().unwrap_or_else(source))
}

/// Whether the script and its interpreter exist.
fn names_an_interpreter(script: &Path) -> bool {
    let text = fs::read_to_string(script).unwrap_or_default();
    let program = text
        .strip_prefix("#!")
        .and_then(|rest| rest.split(' ').next());
    program.is_some_and(|program| Path::new(program).is_file())
}

/// Returns the stand-in in the source tree, which works the same but starts more slowly.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/bin")
}

/// Returns `None` if there is no interpreter that the script could name.
fn make() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("python3"));
    let found = found.into_iter().find(|program| program.is_file())?;
    let source = source();
    // Each test's process needs the interpreter; only one searches for it.
    let key = format!("{}\n{}", found.display(), source.display());
    let dir =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stand-in-{}", fnv1a(key.as_bytes())));
    let script = dir.join("container");
    if names_an_interpreter(&script) {
        return Some(dir);
    }
    let print = ["-c", "import sys; print(sys.executable)"];
    let python = Command::new(found).args(print).output().ok()?;
    let python = String::from_utf8(python.stdout).ok()?;
    let python = python.trim_end();
    // Some systems limit the length of a script's first line, and none accepts a blank in the interpreter's path.
    if !Path::new(python).is_file() || python.len() > 100 || python.contains(' ') {
        return None;
    }
    let (source, compiled) = (source.to_str()?, dir.join("compiled"));
    let text = format!(
        "#!{python} -ES\nimport sys\n\nsys.pycache_prefix = {:?}\nsys.path[0] = {source:?}\n\n\
         from standin.main import main\n\nmain(sys.argv[1:])\n",
        compiled.to_str()?
    );
    fs::create_dir_all(&dir).ok()?;
    let new = dir.join(format!("container.{}", std::process::id()));
    fs::write(&new, text).ok()?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).ok()?;
    // Renamed into place complete, because another process may create the script at the same time.
    fs::rename(&new, &script).ok()?;
    Some(dir)
}
