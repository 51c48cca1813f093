//! Exact Dockerfiles, and the inputs of their tags.
//!
//! `testdata/golden/NAME.yaml` is a moat.yaml; `NAME.Dockerfile` is its Dockerfile, followed by the files of the
//! build context. MOAT_UPDATE_SNAPSHOTS=1 rewrites them.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::tests::read_project;
use crate::config::{ConfigFile, RootFilesystem};
use crate::registry::{self, Registry};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// All inputs of an image.
#[derive(Clone)]
struct Inputs {
    text: String,
    own: String,
    uid: u32,
    certificates: String,
}

impl Inputs {
    fn of(text: &str) -> Inputs {
        let root = text.starts_with("# uid 0\n");
        Inputs {
            text: text.to_owned(),
            own: String::new(),
            uid: if root { 0 } else { 1000 },
            certificates: CERTIFICATE.to_owned(),
        }
    }

    fn build(&self) -> ImageRecipe {
        let file = read_project(&self.text).unwrap();
        let chosen = self.chosen(&file);
        let settings = &file.settings;
        let hooks = &settings.hooks;
        let host_ca = settings.container.host_ca.as_ref();
        let base = settings.base.as_ref().map(|base| match &base.value {
            RootFilesystem::Image(image) => image.as_str(),
            RootFilesystem::Rootfs(_) => panic!("not for an image"),
        });
        let wish = ImageSpec {
            base,
            chosen: &chosen,
            post_build_root: hooks
                .post_build_root
                .as_ref()
                .map(|hook| hook.value.as_str()),
            post_build: hooks.post_build.as_ref().map(|hook| hook.value.as_str()),
            uid: self.uid,
            gid: self.uid,
            host_ca: host_ca
                .filter(|on| on.value)
                .map(|_| self.certificates.as_str()),
        };
        assert!(wish.needs_build(), "{}", self.text);
        build(&wish, "debian:bookworm-slim")
    }

    fn chosen(&self, file: &ConfigFile) -> Vec<ResolvedDependency> {
        registry::choose(&self.registry(), &file.settings.dependencies).unwrap()
    }

    fn registry(&self) -> Registry {
        let dir = crate::config::tests::TempDir::new();
        dir.write("own.yaml", &self.own);
        registry::load(dir.path()).unwrap()
    }

    fn tag(&self) -> String {
        self.build().tag()
    }
}

/// The tag of this text with one input changed.
fn tag_with(text: &str, change: impl Fn(&mut Inputs)) -> String {
    let mut inputs = Inputs::of(text);
    change(&mut inputs);
    inputs.tag()
}

fn golden() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    paths.sort();
    paths
}

#[test]
fn dockerfiles_are_reviewed() {
    let update = std::env::var("MOAT_UPDATE_SNAPSHOTS").is_ok_and(|value| value == "1");
    let mut wrong = Vec::new();
    for path in golden() {
        let inputs = Inputs::of(&std::fs::read_to_string(&path).unwrap());
        let build = inputs.build();
        assert_eq!(inputs.build(), build, "the same bytes again");
        let mut text = build.dockerfile;
        for file in &build.files {
            assert_eq!(file.bytes, file.content.len());
            text.push_str(&format!("\n# ---- {} ----\n{}", file.name, file.content));
        }
        let kept = path.with_extension("Dockerfile");
        if update {
            std::fs::write(&kept, &text).unwrap();
        } else if std::fs::read_to_string(&kept).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", kept.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nsee MOAT_UPDATE_SNAPSHOTS=1",
        wrong.join("\n")
    );
}

#[test]
fn what_dockerfiles_have_in_common() {
    for path in golden() {
        let name = path.display();
        let inputs = Inputs::of(&std::fs::read_to_string(&path).unwrap());
        let ImageRecipe {
            dockerfile,
            files,
            base,
        } = inputs.build();
        let lines: Vec<&str> = dockerfile.lines().collect();
        assert_eq!(lines[1], format!("FROM {base}"), "{name}");
        assert_eq!(lines.last(), Some(&"ENTRYPOINT []"), "{name}");
        assert!(
            dockerfile.is_ascii() && !dockerfile.contains('\t'),
            "{name}"
        );
        let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
        assert!(count("RUN ") <= 12, "{name}");
        assert!(dockerfile.matches("apt-get update").count() <= 1, "{name}");
        let installs = dockerfile.matches("apt-get install").count();
        assert_eq!(
            dockerfile.matches("rm -rf /var/lib/apt/lists/*").count(),
            installs,
            "{name}"
        );
        // The workload is not root, except if root owns the workspace.
        assert_eq!(
            dockerfile.contains("\nUSER 1000:1000\n"),
            inputs.uid == 1000,
            "{name}"
        );
        for file in files {
            let top = file.name.split('/').next().unwrap();
            assert!(
                dockerfile.contains(&format!("COPY {top} ")),
                "{name}: {top} is used"
            );
        }
    }
}

/// A text that uses every input.
const ALL: &str = "\
base_image: debian:bookworm
dependencies: [mine@1, node@22, jq]
hooks: {post_build_root: a, post_build: b, pre_run: c}
container: {host_ca: true}
";

const MINE: &str =
    "mine: {type: custom, description: d, versions: [1, 2], default: 1, script: one}\n";

#[test]
fn every_input_changes_the_tag_and_changing_it_back_gives_the_old_one() {
    let with = |change: &dyn Fn(&mut Inputs)| {
        tag_with(ALL, |inputs| {
            inputs.own = MINE.to_owned();
            change(inputs);
        })
    };
    let first = with(&|_| {});
    let text = |from: &'static str, to: &'static str| {
        assert!(ALL.contains(from), "{from}");
        with(&|inputs| inputs.text = inputs.text.replace(from, to))
    };
    let own = |from: &str, to: &str| {
        assert!(MINE.contains(from), "{from}");
        with(&|inputs| inputs.own = inputs.own.replace(from, to))
    };
    let others = [
        ("a version", text("node@22", "node@20")),
        ("a version of a script", text("mine@1", "mine@2")),
        ("another dependency", text("jq]", "jq, less]")),
        ("one less", text(", jq]", "]")),
        ("the base", text("bookworm", "trixie")),
        (
            "a hook as root",
            text("post_build_root: a", "post_build_root: x"),
        ),
        ("a hook", text("post_build: b", "post_build: x")),
        ("a hook less", text("post_build: b, ", "")),
        (
            "hooks changed about",
            text("root: a, post_build: b", "root: b, post_build: a"),
        ),
        ("no certificates", text("host_ca: true", "host_ca: false")),
        (
            "a script of the registry",
            own("script: one", "script: two"),
        ),
        (
            "packages of an entry",
            own("script: one", "script: one, apt: [tree]"),
        ),
        (
            "variables of an entry",
            own("script: one", "script: one, env: {A: b}"),
        ),
        (
            "a file of the context",
            with(&|inputs| inputs.certificates += CERTIFICATE),
        ),
        ("the owner", with(&|inputs| inputs.uid = 1001)),
        ("root", with(&|inputs| inputs.uid = 0)),
    ];
    for (index, (what, tag)) in others.iter().enumerate() {
        assert_ne!(*tag, first, "{what}");
        for (other, earlier) in &others[..index] {
            assert_ne!(tag, earlier, "{what} and {other}");
        }
    }
    assert_eq!(with(&|_| {}), first);
    assert!(
        first.starts_with("moat/run:") && first.len() == "moat/run:".len() + 32,
        "{first}"
    );
}

#[test]
fn what_is_not_in_the_image_does_not_change_the_tag() {
    let first = tag_with("dependencies: [jq]\n", |_| {});
    for text in [
        "dependencies: [ \"jq\" ] # the same\n",
        "dependencies: [jq]\nhooks: {pre_run: c}\nenv: {A: b}\ncommand: [x]\nname: y\ntimeout: 5s\n",
        "dependencies: [jq]\ncontainer: {memory: 1g, host_ca: false}\nmounts: ['/a:/b']\n",
    ] {
        assert_eq!(tag_with(text, |_| {}), first, "{text}");
    }
    // An entry that is not used.
    assert_eq!(
        tag_with("dependencies: [jq]\n", |inputs| inputs.own = MINE.into()),
        first
    );
    // The order of packages does not matter.
    assert_eq!(
        tag_with("dependencies: [jq, less]\n", |_| {}),
        tag_with("dependencies: [less, jq]\n", |_| {})
    );
}

/// The border between two files is part of the tag.
#[test]
fn a_tag_is_of_the_whole_context() {
    let build = |files: &[(&str, &str)]| ImageRecipe {
        base: "b".to_owned(),
        dockerfile: "FROM b\n".to_owned(),
        files: files
            .iter()
            .map(|(name, text)| ContextFile::new(name, text))
            .collect(),
    };
    let tags: Vec<String> = [
        &[][..],
        &[("a", "bc")],
        &[("ab", "c")],
        &[("a", "b"), ("c", "")],
        &[("a", ""), ("b", "c")],
    ]
    .iter()
    .map(|files| build(files).tag())
    .collect();
    for (index, tag) in tags.iter().enumerate() {
        assert!(!tags[..index].contains(tag), "{index}");
    }
}

/// Values of variables are not expanded, and cannot end early.
#[test]
fn values_in_a_dockerfile_are_quoted() {
    let own = "x: {type: apt, description: d, packages: [a], env: {A: 'q\" $HOME \\ `id` #'}}\n";
    let mut inputs = Inputs::of("dependencies: [x]\n");
    inputs.own = own.to_owned();
    let dockerfile = inputs.build().dockerfile;
    assert!(
        dockerfile.contains("ENV A=\"q\\\" \\$HOME \\\\ `id` #\"\n"),
        "{dockerfile}"
    );
}

#[test]
fn a_recipe_names_the_images_that_it_uses() {
    let recipe = ImageRecipe {
        base: "base:1".to_owned(),
        dockerfile: "FROM base:1\nCOPY --from=go:1 /a /a\nCOPY --from=go:1 /b /b\nCOPY hooks /h\n"
            .to_owned(),
        files: Vec::new(),
    };
    assert_eq!(recipe.images(), ["base:1", "go:1"]);
}
