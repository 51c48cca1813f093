//! Files that nobody would write: seeds that are put together, cut, doubled and garbled, given to
//! everything that reads YAML.
//!
//! For each of them: no panic, no long time, and every problem inside the file. MOAT_FUZZ_SECONDS
//! says how long to go on (15), MOAT_FUZZ_SEED repeats the case that a failure names.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{Source, parse};
use crate::config;
use crate::error::Error;
use crate::registry;

/// What a case may take.
const LONGEST: Duration = Duration::from_secs(1);

/// A case is not made larger than this, in bytes, but by a few steps.
const LARGE: usize = 48 * 1024;

/// Good files: what stands in them gets into the depths of the loaders.
const GOOD: [&str; 12] = [
    "name: shop\nruntime: docker\nbase_image: debian:12\ndependencies: [node@22, \"npm:typescript@5\", jq]\n",
    "env: {A: 1.10, B: true, C: \"\", D: 0x10}\nenv_file: [.env]\nsecrets: {S: env://X, T: file://t}\n",
    "mounts:\n  - ../data:/data:ro\n  - {source: ~/src, target: /src, mode: ro, exclude: [a, b/c]}\n",
    "name: p\nvolumes:\n  - {name: c, target: /c}\n  - {name: d, target: /d, type: volume, readonly: true}\n",
    "workspace: {mode: volume}\ncommand: [npm, run, 5, \"\"]\ninteractive: true\ntimeout: 1h30m\n",
    "hooks:\n  post_build_root: |\n    a\n    b\n  post_build: >-\n    c\n  pre_run: \"x\\n\"\n",
    "container:\n  memory: 512\n  cpus: 1.5\n  pids: 100\n  dns: [1.1.1.1, \"::1\"]\n  host_ca: true\n",
    "container: {ulimits: {nofile: 1024, core: -1, stack: {soft: 1, hard: -1}}}\nports: {a: 80, b: \"1:2\"}\n",
    "x:\n  type: runtime\n  description: d\n  default: \"1\"\n  image: x:{version}\n  copy: [/a]\n  path: [/b]\n",
    "y: {type: github-binary, description: d, default: 1, repo: a/b, asset: \"{target}\", targets: {amd64: a, arm64: b}}\n",
    "z: {type: apt, description: d, packages: [a]}\nw: {type: meta, description: d, requires: [z]}\n",
    "v:\n  type: custom\n  description: d\n  versions: [1, 2.0, \"3\"]\n  script: |\n    echo\n  env: {A: b}\n",
];

/// What has a meaning of its own in YAML, or none, or not the one that one thinks.
const HOSTILE: [&str; 44] = [
    "&a ",
    "*a",
    "*a ",
    "<<: *a\n",
    "<<: ",
    "!!str ",
    "!tag ",
    "!!binary aGk=",
    "!!int ",
    "!<x> ",
    "\t",
    "\0",
    "\\0",
    "\r\n",
    "\r",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    "\u{202e}",
    "\u{1b}[2J",
    "---\n",
    "...\n",
    "%YAML 1.1\n---\n",
    "%TAG ! x\n",
    "? ",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "'",
    "\"",
    "|\n",
    ">+9\n",
    "~",
    ".nan",
    "-.inf",
    "1e999",
    "99999999999999999999999999999999999999999",
    "0o777",
    "18446744073709551616",
];

/// What may stand behind a key.
const VALUES: [&str; 24] = [
    "a",
    "''",
    "5",
    "-1",
    "1.5",
    "true",
    "~",
    "[a]",
    "[]",
    "{a: b}",
    "{}",
    "[[a], {b: c}]",
    "/a",
    "a:/b",
    "env://A",
    "x:{version}",
    "{target}",
    "{source: a, target: /b}",
    "[{name: a, target: /b}]",
    "{amd64: a, arm64: b}",
    "|\n  a",
    "9223372036854775807",
    "\"\\0\"",
    "&v [*v]",
];

/// A small generator, the same on every machine (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }

    /// A place between two letters.
    fn cut(&mut self, text: &str) -> usize {
        let mut at = self.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    fn range(&mut self, text: &str) -> (usize, usize) {
        let (one, other) = (self.cut(text), self.cut(text));
        (one.min(other), one.max(other))
    }
}

/// A text that depends on nothing but the seed.
fn case(seed: u64) -> String {
    let random = &mut Random(seed);
    let mut text = random.one_of(&GOOD).to_owned();
    // Many changes are seldom YAML any more, and few seldom strange.
    let changes = [1, 1, 2, 3, 5, 10][random.below(6)];
    for _ in 0..changes {
        match random.below(3) {
            0 => mutate(&mut text, random),
            1 => change_value(&mut text, random),
            _ => change_lines(&mut text, random),
        }
    }
    text
}

/// Puts another value behind a key, in the block or in the flow form.
fn change_value(text: &mut String, random: &mut Random) {
    let keys: Vec<usize> = text.match_indices(": ").map(|(at, _)| at + 2).collect();
    if keys.is_empty() {
        return;
    }
    let from = keys[random.below(keys.len())];
    let length = text[from..]
        .find([',', '}', '\n'])
        .unwrap_or(text.len() - from);
    text.replace_range(from..from + length, random.one_of(&VALUES));
}

/// Doubles a line, takes one away, or changes how deep it stands.
fn change_lines(text: &mut String, random: &mut Random) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(4) {
        0 => lines.insert(other, lines[one].clone()),
        1 => drop(lines.remove(one)),
        2 => lines[one].insert_str(0, "  "),
        _ => lines.swap(one, other),
    }
    *text = lines.join("\n") + "\n";
}

fn mutate(text: &mut String, random: &mut Random) {
    let at = random.cut(text);
    match random.below(11) {
        0 | 1 => text.insert_str(at, random.one_of(&HOSTILE)),
        2 => text.push_str(random.one_of(&GOOD)),
        3 => {
            let (from, to) = random.range(text);
            text.replace_range(from..to, "");
        }
        // Something from one place to another.
        4 => {
            let (from, to) = random.range(text);
            let piece = text[from..to].to_owned();
            text.insert_str(at, &piece);
        }
        5 => {
            let line = random.one_of(&GOOD).lines().next().unwrap_or_default();
            text.insert_str(at, line);
        }
        6 => text.insert(at, char::from(random.below(128) as u8)),
        7 => text.truncate(at),
        // Much of one.
        8 => {
            let times = [10, 100, 1_000, 5_000][random.below(4)];
            let piece = random.one_of(&HOSTILE);
            if text.len() + piece.len() * times < LARGE {
                text.insert_str(at, &piece.repeat(times));
            }
        }
        // An anchor and many aliases of it.
        9 => {
            let (from, to) = random.range(text);
            let piece = text[from..to].replace('\n', " ");
            let aliases = "*q, ".repeat(random.below(3_000));
            text.push_str(&format!("\nq: &q [{piece}]\nr: [{aliases}]\n"));
        }
        _ => {
            while !text.is_empty() && text.len() * 2 < LARGE && random.below(3) > 0 {
                let again = text.clone();
                text.push_str(&again);
            }
        }
    }
}

type Reader<'a> = &'a dyn Fn() -> Result<(), Error>;

/// Reads a text in every way, and says what is not as it should be.
fn complaint(text: &str, dir: &config::tests::TempDir) -> Option<String> {
    dir.write("moat.yaml", text);
    let readers: [(&str, Reader<'_>); 3] = [
        ("tree", &|| tree(text)),
        ("moat.yaml", &|| {
            let file = config::project(dir.path(), "".as_ref())?;
            file.map_or(Ok(()), |file| file.source.finish())
        }),
        ("registry", &|| registry::tests::of_text(text).map(drop)),
    ];
    for (what, read) in readers {
        let start = Instant::now();
        let Ok(result) = catch_unwind(AssertUnwindSafe(read)) else {
            return Some(format!("{what}: it panics"));
        };
        if start.elapsed() > LONGEST {
            return Some(format!("{what}: it takes {:?}", start.elapsed()));
        }
        let outside = result.err().and_then(|error| outside(text, &error));
        if let Some(why) = outside {
            return Some(format!("{what}: {why}"));
        }
    }
    None
}

/// The tree alone: every node has a place.
fn tree(text: &str) -> Result<(), Error> {
    let (source, root) = Source::parse("x", text.to_owned())?;
    let mut places = Vec::new();
    parse::scalars_below(&root, &mut places);
    let last = places.last().copied().unwrap_or(root.at);
    source.report(root.at, "the first");
    source.report(last, "the last");
    source.finish()
}

/// A problem that is nowhere in the file, or says nothing.
fn outside(text: &str, error: &Error) -> Option<String> {
    // Every kind of end of a line counts, as for the reader of YAML.
    let ends = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let lines = text.matches(ends).count() + 1;
    let inside = |problem: &&crate::error::FileProblem| {
        let line = problem
            .line
            .is_none_or(|line| (1..=lines + 1).contains(&line));
        let column = problem
            .column
            .is_none_or(|column| (1..=text.len() + 2).contains(&column));
        line && column && !problem.message.is_empty()
    };
    if error.problems.is_empty() {
        // Only the file as a whole: too large, and the like.
        return (error.message.is_empty()).then(|| "an error without a word".to_owned());
    }
    let found = error.problems.iter().find(|problem| !inside(problem));
    found.map(|problem| format!("a problem outside of the file: {problem}"))
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_text_panics_hangs_or_has_problems_elsewhere() {
    let dir = config::tests::TempDir::new();
    let check = |seed: u64| {
        let text = case(seed);
        let shown: String = text.chars().take(2_000).collect();
        let found = complaint(&text, &dir);
        assert!(
            found.is_none(),
            "MOAT_FUZZ_SEED={seed}: {}\n{shown:?}",
            found.unwrap_or_default()
        );
    };
    if let Some(seed) = setting("MOAT_FUZZ_SEED") {
        return check(seed);
    }
    let length = Duration::from_secs(setting("MOAT_FUZZ_SECONDS").unwrap_or(15));
    let start = Instant::now();
    let mut seed = 0;
    // The first ones always: they are the same on a slow machine.
    while seed < 500 || start.elapsed() < length {
        check(seed);
        seed += 1;
    }
}

/// The seeds are what the loaders take, else the cases are all refused at the door.
#[test]
fn the_seeds_are_good() {
    let dir = config::tests::TempDir::new();
    for text in GOOD {
        dir.write("moat.yaml", text);
        let file = config::project(dir.path(), "".as_ref());
        let project = file
            .ok()
            .flatten()
            .is_some_and(|file| file.source.finish().is_ok());
        let entry = registry::tests::of_text(text).is_ok();
        assert!(project || entry, "{text}");
    }
}
