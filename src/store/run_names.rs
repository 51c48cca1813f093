//! Names of active runs: `names/NAME` contains the id of the run with that name.
//!
//! Names are claimed and released under the global lock. A claim of a run that has ended, or was never created, does
//! not count; so a crash in between does no harm.

use std::fs;
use std::io::{self, Write};

use super::atomic_file;
use super::home::Home;
use super::id::{RunId, RunName};
use super::run_record::RunState;
use crate::error::{Error, ErrorKind, Result};

impl Home {
    /// Claims `name` for `id`, or returns the active run that has it. The caller holds the global lock.
    pub(super) fn claim_name(
        &self,
        name: &RunName,
        id: &RunId,
    ) -> Result<Option<(RunId, RunState)>> {
        if let Some(holder) = self.name_holder(name)? {
            return Ok(Some(holder));
        }
        let path = self.names().join(name.as_str());
        // Not written through a temporary file, which would count as a name. A torn claim counts as none.
        atomic_file::create(&path)
            .and_then(|mut file| file.write_all(id.as_str().as_bytes()))
            .map_err(|error| Error::io(ErrorKind::Store, "write", &path, &error))?;
        Ok(None)
    }

    /// Releases a name if `id` has it. The caller holds the global lock.
    pub(super) fn release_name(&self, name: &RunName, id: &RunId) {
        let path = self.names().join(name.as_str());
        if fs::read_to_string(&path).is_ok_and(|holder| holder == id.as_str()) {
            let _ = atomic_file::remove_if_exists(&path);
        }
    }

    fn name_holder(&self, name: &RunName) -> Result<Option<(RunId, RunState)>> {
        let path = self.names().join(name.as_str());
        let holder = match fs::read_to_string(&path) {
            Ok(text) => RunId::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(ErrorKind::Store, "read", &path, &error)),
        };
        let active = holder
            .and_then(|id| self.run(&id).load().record())
            .filter(|record| !record.state.is_terminal());
        Ok(active.map(|record| (record.id, record.state)))
    }
}
