//! Texts in `testdata/snapshots/`, so that a change shows in review.

use std::fs;
use std::path::Path;

/// Compares with `testdata/snapshots/NAME.txt`; with MOAT_UPDATE_SNAPSHOTS=1 rewrites the file.
#[track_caller]
pub(crate) fn assert_snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/snapshots")
        .join(format!("{name}.txt"));
    if std::env::var("MOAT_UPDATE_SNAPSHOTS").is_ok_and(|value| value == "1") {
        fs::create_dir_all(path.parent().expect("it has a parent")).expect("snapshot directory");
        fs::write(&path, text).expect("the snapshot can be written");
        return;
    }
    let kept = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}{AGAIN}", path.display()));
    assert!(kept == text, "{}", difference(name, &kept, text));
}

const AGAIN: &str =
    "\nif the new text is right, run the test with MOAT_UPDATE_SNAPSHOTS=1 and look at git diff";

fn difference(name: &str, kept: &str, text: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (kept.lines().collect(), text.lines().collect());
    let at = (0..old.len().max(new.len()))
        .find(|&line| old.get(line) != new.get(line))
        .unwrap_or(0);
    let line = |lines: &[&str]| lines.get(at).unwrap_or(&"(end)").to_string();
    format!(
        "the snapshot {name} differs from line {} on:\n- {}\n+ {}{AGAIN}\n--- now ---\n{text}",
        at + 1,
        line(&old),
        line(&new)
    )
}
