//! Images: pulling, querying and building them.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::error::{Result, RuntimeError};
use super::super::{BuildEvent, ImageBuild, Images, build_output, child};
use super::build_args::{self, INPUTS_LABEL};
use super::{Docker, PULL_TIMEOUT, classify};

const BUILD_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// Number of lines of a failed build that are searched for the reason.
const ERROR_LINES: usize = 40;

/// Maximum number of builds that conflict with other podman processes.
const BUILD_ATTEMPTS: usize = 5;

/// The message of such a conflict.
const REBUILD_NOTICE: &str = "podman's images changed during the build; trying again";

impl Docker {
    fn build_once(
        &self,
        build: &ImageBuild,
        tell: &mut dyn FnMut(BuildEvent<'_>),
        should_continue: &dyn Fn() -> bool,
    ) -> Result<()> {
        let mut command = self.command();
        command
            .args(build_args::args(self.dialect, build))
            // One line after another, whichever builder it is.
            .env("BUILDKIT_PROGRESS", "plain");
        let mut last = VecDeque::with_capacity(ERROR_LINES);
        let built = child::run_lines(&mut command, BUILD_TIMEOUT, should_continue, &mut |line| {
            if last.len() == ERROR_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
            tell(build_output::event(line));
        });
        match built.map_err(|error| self.dialect.failed(&error))? {
            status if status.success() => Ok(()),
            _ => Err(classify::build(self.dialect, last.make_contiguous())),
        }
    }

    /// One value of an image's description, if there is such an image and value.
    fn image_detail(&self, image: &str, format: &str) -> Option<String> {
        let output = self.run_client(&["image", "inspect", "--format", format, "--", image]);
        let text = output.ok()?.stdout.trim().to_owned();
        (!text.is_empty() && text != "<no value>").then_some(text)
    }
}

impl Images for Docker {
    fn pull_image(&self, image: &str, should_continue: &dyn Fn() -> bool) -> Result<()> {
        let mut command = self.command();
        command.args(["pull", "--quiet", "--", image]);
        match self.run_command(&mut command, PULL_TIMEOUT, should_continue) {
            Err(
                RuntimeError::Refused(text)
                | RuntimeError::NotFound(text)
                | RuntimeError::Transient(text),
            ) => Err(RuntimeError::ImageMissing(text, self.dialect.program())),
            result => result.map(|_| ()),
        }
    }

    fn has_image(&self, image: &str) -> Result<bool> {
        match self.run_client(&["image", "inspect", "--format", "{{.Id}}", "--", image]) {
            Err(RuntimeError::ImageMissing(..) | RuntimeError::NotFound(_)) => Ok(false),
            result => result.map(|_| true),
        }
    }

    fn image_id(&self, image: &str) -> Option<String> {
        self.image_detail(image, "{{.Id}}")
    }

    fn build_inputs(&self, image: &str) -> Option<String> {
        let format = format!("{{{{index .Config.Labels \"{INPUTS_LABEL}\"}}}}");
        self.image_detail(image, &format)
    }

    fn build_image(
        &self,
        build: &ImageBuild,
        tell: &mut dyn FnMut(BuildEvent<'_>),
        should_continue: &dyn Fn() -> bool,
    ) -> Result<()> {
        for _ in 1..BUILD_ATTEMPTS {
            match self.build_once(build, tell, should_continue) {
                Err(RuntimeError::Transient(why))
                    if classify::is_race(&why) && should_continue() =>
                {
                    tell(BuildEvent::Line(REBUILD_NOTICE));
                }
                result => return result,
            }
        }
        self.build_once(build, tell, should_continue)
    }
}
