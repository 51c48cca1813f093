//! The base images of compose services. An image that another service of the file builds has a tag of its own in each
//! session, so a Dockerfile that names the file's tag would silently use an unrelated image.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};

/// A service whose image is built.
pub(super) struct ComposeBuild {
    pub(super) service: String,
    /// The tag in the file, if it has one.
    pub(super) image: Option<String>,
    pub(super) dockerfile: PathBuf,
    /// The Dockerfile's text, in the place of a file.
    pub(super) inline: Option<String>,
}

/// Refuses services that are built FROM an image of another service, as far as their Dockerfiles show.
pub(super) fn check(file: &str, builds: &[ComposeBuild]) -> Result<()> {
    for build in builds {
        let read = || crate::yaml::read_file(&build.dockerfile, "").ok().flatten();
        let text = build.inline.clone().or_else(read).unwrap_or_default();
        for image in images(&text) {
            let is_built = |other: &&ComposeBuild| {
                let tag = other.image.as_deref().map(without_latest);
                other.service != build.service && tag == Some(without_latest(image))
            };
            let Some(other) = builds.iter().find(is_built) else {
                continue;
            };
            let message = format!(
                "{file}: '{}' builds FROM '{}', which '{}' builds under a different tag in each session",
                build.service,
                crate::yaml::message_text(image),
                other.service
            );
            return Err(Error::new(ErrorKind::Config, message).hint(
                "build both from one Dockerfile with several stages, and select the stage with 'target' below 'build'",
            ));
        }
    }
    Ok(())
}

fn without_latest(image: &str) -> &str {
    image.strip_suffix(":latest").unwrap_or(image)
}

/// The images that a Dockerfile names, without its own stages.
fn images(text: &str) -> Vec<&str> {
    let (mut images, mut stages) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let from = match words
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase()
            .as_str()
        {
            "FROM" => words.find(|word| !word.starts_with("--")),
            "COPY" => words.find_map(|word| word.strip_prefix("--from=")),
            _ => None,
        };
        images.extend(from.filter(|from| !stages.contains(from)));
        if let (Some(word), Some(name)) = (words.next(), words.next())
            && word.eq_ignore_ascii_case("as")
        {
            stages.push(name);
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_from_stages() {
        for (text, expected) in [
            ("FROM a\nRUN FROM b", &["a"][..]),
            (
                "ARG x\nfrom --platform=linux/amd64 a:1 as one\nFROM one AS two\nCOPY --from=two / /\nCOPY --chown=1 --from=b / /\n",
                &["a:1", "b"],
            ),
            ("", &[]),
        ] {
            assert_eq!(images(text), expected, "{text}");
        }
    }
}
