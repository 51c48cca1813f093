//! Volumes of the engine.

use super::super::error::{Result, RuntimeError};
use super::super::{EngineVolume, Volumes};
use super::create_args::HOME_LABEL;
use super::{Docker, classify, ignore_not_found};

/// The label of a volume: the project's name for it.
const VOLUME_LABEL: &str = "moat.volume";
impl Volumes for Docker {
    fn make_volume(&self, volume: &EngineVolume) -> Result<()> {
        let home = format!("{}={}", HOME_LABEL, volume.home_label);
        let name = format!("{}={}", VOLUME_LABEL, volume.name);
        let labels = ["--label", &home, "--label", &name];
        let mut args = vec!["volume", "create"];
        args.extend(labels);
        args.push(&volume.handle);
        match self.run_client(&args) {
            // podman reports an error where docker accepts the request.
            Err(RuntimeError::Refused(text)) if classify::is_existing_volume(&text) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    fn has_volume(&self, handle: &str) -> Result<bool> {
        match self.run_client(&["volume", "inspect", "--format", "{{.Name}}", handle]) {
            Err(RuntimeError::NotFound(_)) => Ok(false),
            Err(RuntimeError::Refused(text)) if classify::is_missing_volume(&text) => Ok(false),
            result => result.map(|_| true),
        }
    }

    fn find_volumes(&self) -> Result<Vec<EngineVolume>> {
        let filter = format!("label={}", HOME_LABEL);
        let label = [HOME_LABEL, VOLUME_LABEL]
            .map(|name| self.dialect.label_format(name))
            .join("\t");
        let format = format!("{{{{.Name}}}}\t{label}");
        let output =
            self.run_client(&["volume", "ls", "--filter", &filter, "--format", &format])?;
        let found = output.stdout.lines().filter_map(|line| {
            let mut parts = line.split('\t');
            let handle = parts.next()?.to_owned();
            let mut label = |name| Some(self.dialect.label_in(parts.next()?, name));
            let home_label = label(HOME_LABEL)?;
            let mut name = label(VOLUME_LABEL)?;
            if name.is_empty() {
                // A volume of a session has no project's name.
                name.clone_from(&handle);
            }
            Some(EngineVolume {
                handle,
                home_label,
                name,
            })
        });
        Ok(found.collect())
    }

    fn remove_volume(&self, handle: &str) -> Result<()> {
        match self.run_client(&["volume", "rm", handle]) {
            Err(RuntimeError::Refused(text)) if classify::is_missing_volume(&text) => Ok(()),
            result => ignore_not_found(result),
        }
    }
}
