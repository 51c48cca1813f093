//! The invariants of docs/architecture.md that the source text shows.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from top to bottom. A module may use those after it, never one before it.
const LAYERS: [&str; 19] = [
    "fuzzing",
    "cli",
    "launch",
    "session",
    "run",
    "service",
    "container",
    "plan",
    "image",
    "runtime",
    "config",
    "registry",
    "store",
    "program",
    "secret",
    "variable_name",
    "yaml",
    "term",
    "error",
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Returns whether a whole file is tests or test helpers, which may use every module.
fn is_test(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    in_tests || matches!(name, Some("tests.rs" | "fake.rs" | "scratch.rs"))
}

/// Returns the code of a file without its comments and its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_module_knows_only_those_below_it() {
    let mut wrong = Vec::new();
    for (rank, layer) in LAYERS.iter().enumerate() {
        let place = root().join(layer);
        let files = if place.is_dir() {
            sources(&place)
        } else {
            vec![place.with_extension("rs")]
        };
        assert!(!files.is_empty(), "{layer} has no sources");
        for file in files.into_iter().filter(|file| !is_test(file)) {
            let code = code(&file);
            for above in &LAYERS[..rank] {
                if code.contains(&format!("crate::{above}::"))
                    || code.contains(&format!("crate::{{{above}"))
                {
                    wrong.push(format!("{} uses {above}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_store_knows_the_files_of_a_home() {
    let names = ["run.json", "owner.lock", "logs.jsonl", "supervisor.log"];
    for file in sources(&root()) {
        let inside = file.components().any(|part| part.as_os_str() == "store");
        // The man page names these files for its readers.
        let tells = file.file_name().is_some_and(|name| name == "man_page.rs");
        if !inside && !tells {
            let code = code(&file);
            for name in names {
                assert!(!code.contains(name), "{} names {name}", file.display());
            }
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for file in sources(&root()) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} has no opening paragraph",
            file.display()
        );
    }
}

/// The folders whose files import each other without a circle.
const FREE_OF_CIRCLES: [&str; 4] = ["container", "runtime", "session", "store"];

/// Expands the braces of a `use`: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(import: &str) -> Vec<String> {
    let Some((prefix, rest)) = import.split_once('{') else {
        let path = import.split(" as ").next().unwrap();
        return vec![path.trim().to_owned()];
    };
    let inner = rest.rsplit_once('}').unwrap().0;
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                start = at + 1;
                if !part.is_empty() {
                    found.extend(paths(&format!("{}{part}", prefix.trim_start())));
                }
            }
            _ => {}
        }
    }
    found
}

/// Returns the files of a folder that a file imports from. A re-export is no import.
fn imported(folder: &Path, file: &Path) -> Vec<PathBuf> {
    let own = file.with_extension("");
    let module = if own.ends_with("mod") {
        own.parent().unwrap()
    } else {
        &own
    };
    let code = code(file);
    let private = code.split("\nuse ").skip(1);
    let imports = private.map(|rest| rest.split(';').next().unwrap());
    let mut found = Vec::new();
    for path in imports.flat_map(|import| paths(&import.replace('\n', " "))) {
        let mut words = path.split("::").map(str::trim).peekable();
        let mut place = if words.next_if_eq(&"crate").is_some() {
            root()
        } else {
            module.to_owned()
        };
        while words.next_if_eq(&"super").is_some() {
            place.pop();
        }
        let exists = |place: &Path| {
            let files = [place.with_extension("rs"), place.join("mod.rs")];
            files.into_iter().find(|file| file.is_file())
        };
        let mut target = exists(&place);
        for word in words {
            place.push(word);
            match exists(&place) {
                Some(file) => target = Some(file),
                None => break,
            }
        }
        found.extend(target.filter(|target| target.starts_with(folder) && target != file));
    }
    found
}

#[test]
fn files_of_a_folder_import_each_other_without_a_circle() {
    for name in FREE_OF_CIRCLES {
        let folder = root().join(name);
        let files = sources(&folder);
        let mut left: Vec<(PathBuf, Vec<PathBuf>)> = files
            .into_iter()
            .filter(|file| !is_test(file))
            .map(|file| (file.clone(), imported(&folder, &file)))
            .collect();
        let edges: usize = left.iter().map(|(_, imports)| imports.len()).sum();
        assert!(edges > 0, "{name}: no import was understood");
        // Files that import none of the others go, until only circles and their users are left.
        loop {
            let known: Vec<PathBuf> = left.iter().map(|(file, _)| file.clone()).collect();
            left.retain(|(_, imports)| imports.iter().any(|import| known.contains(import)));
            if left.len() == known.len() {
                break;
            }
        }
        assert!(left.is_empty(), "{name}: {left:#?}");
    }
}
