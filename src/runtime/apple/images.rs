//! Images: pulling, querying and building them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::super::error::{Result, RuntimeError};
use super::super::{BuildEvent, ImageBuild, Images, workspace_copy};
use super::{Apple, build, classify, client};
use crate::store::remove_tree;

const PULL_TIMEOUT: Duration = Duration::from_secs(3600);

impl Apple {
    /// The directory of staged build files. The builder sees only files below the home.
    pub(super) fn staging(&self) -> Result<PathBuf> {
        let run = self.dir()?.parent().and_then(Path::file_name);
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let home = home.ok_or_else(|| RuntimeError::Refused("HOME is not set".to_owned()))?;
        Ok(home.join(".moat-builds").join(run.unwrap_or_default()))
    }

    /// The description of an existing image. `create` would pull a missing image silently.
    pub(super) fn image(&self, image: &str) -> Result<Value> {
        let found = match client::ask_json(&["image", "inspect", image]) {
            Err(RuntimeError::NotFound(_)) => Vec::new(),
            answer => answer?,
        };
        found.into_iter().next().ok_or_else(|| {
            RuntimeError::ImageMissing(format!("no such image: {image}"), "container")
        })
    }

    /// Removes the staged files of a run, and the common directory if it is empty.
    pub(super) fn remove_staging(&self, staging: &Path) -> Result<()> {
        remove_tree(staging).map_err(|error| workspace_copy::failed(staging, &error))?;
        let _ = staging.parent().map(fs::remove_dir);
        Ok(())
    }
}

impl Images for Apple {
    fn pull_image(&self, image: &str, should_continue: &dyn Fn() -> bool) -> Result<()> {
        let mut client = client::client();
        client.args(["image", "pull", image]);
        match client::run_while(&mut client, b"", PULL_TIMEOUT, should_continue) {
            Err(RuntimeError::Refused(text) | RuntimeError::NotFound(text)) => {
                Err(RuntimeError::ImageMissing(text, "container"))
            }
            result => result.map(drop),
        }
    }

    fn has_image(&self, image: &str) -> Result<bool> {
        match self.image(image) {
            Err(RuntimeError::ImageMissing(..)) => Ok(false),
            result => result.map(|_| true),
        }
    }

    fn build_image(
        &self,
        build: &ImageBuild,
        tell: &mut dyn FnMut(BuildEvent<'_>),
        should_continue: &dyn Fn() -> bool,
    ) -> Result<()> {
        let builds_with_dns = client::version()?.builds_with_dns();
        let staging = self.staging()?;
        let failed = |error: io::Error| workspace_copy::failed(&staging, &error);
        remove_tree(&staging).map_err(failed)?;
        let staged = build::stage(build, &staging).map_err(failed)?;
        let args = build::args(build, &staged);
        if !build.dns.is_empty()
            && !builds_with_dns
            && let Err(problem) = build::set_name_servers(build)
        {
            let why = problem.message();
            tell(BuildEvent::Line(&format!(
                "the builder uses its own name servers: {why}"
            )));
        }
        let built = build::attempt(&args, tell, should_continue).and_then(|last| match last {
            Some(last) if classify::is_builders(&last) => {
                tell(BuildEvent::Line(
                    "the connection to the builder broke; restarting the builder and the build",
                ));
                build::restart(build)?;
                build::attempt(&args, tell, should_continue)
            }
            last => Ok(last),
        });
        self.remove_staging(&staging)?;
        let Some(last) = built? else { return Ok(()) };
        Err(match classify::classify(&last) {
            problem @ (RuntimeError::Unreachable(..) | RuntimeError::Transient(_)) => problem,
            _ => RuntimeError::Refused(last.lines().last().unwrap_or_default().to_owned()),
        })
    }
}
