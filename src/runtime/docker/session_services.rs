//! Services of sessions: their start without a client, and their output in the engine's log.

use super::super::error::{Result, RuntimeError};
use super::super::{REQUEST_TIMEOUT, SessionServices, ShowFn, child};
use super::{Dialect, Docker, classify, ignore_not_found};

impl SessionServices for Docker {
    fn disconnect(&self, network: &str, container: &str) -> Result<()> {
        let words = ["network", "disconnect", "--force", network, container];
        match self.run_client(&words) {
            Err(RuntimeError::Refused(text)) if classify::is_unconnected(&text) => Ok(()),
            result => ignore_not_found(result),
        }
    }

    fn start_detached(&self, handle: &str) -> Result<()> {
        self.run_client(&["start", handle]).map(|_| ())
    }

    fn show_log(&self, handle: &str, show: Option<ShowFn<'_>>) -> Result<()> {
        let mut client = self.command();
        client.args(["logs", handle]);
        match child::run_to_own_streams(&mut client, show)
            .map_err(|error| self.dialect.failed(&error))?
        {
            true => Ok(()),
            false => Err(RuntimeError::Refused(format!(
                "there is no log of {handle}"
            ))),
        }
    }

    fn full_log(&self, handle: &str) -> Result<(String, String)> {
        let mut client = self.command();
        client.args(["logs", "--timestamps", handle]);
        let output = child::run_unlimited(&mut client, REQUEST_TIMEOUT)
            .map_err(|error| self.dialect.failed(&error))?;
        match output.success {
            true => Ok((output.stdout, output.stderr)),
            false => Err(self.dialect.classify(&output.stderr)),
        }
    }

    fn read_log(&self, handle: &str, last: usize, tell: &mut dyn FnMut(&str)) -> Result<()> {
        // podman's --tail loses pieces of lines.
        let mut client = self.command();
        client.arg("logs");
        if self.dialect == Dialect::Docker {
            client.args(["--tail", &last.to_string()]);
        }
        let status = child::run_lines(client.arg(handle), REQUEST_TIMEOUT, &|| true, tell);
        match status
            .map_err(|error| self.dialect.failed(&error))?
            .success()
        {
            true => Ok(()),
            false => Err(RuntimeError::Refused(format!(
                "there is no log of {handle}"
            ))),
        }
    }
}
