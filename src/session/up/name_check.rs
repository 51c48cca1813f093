//! Checks the requested names: they exist, and no two members share one.

use super::super::request::UpRequest;
use crate::config::SessionSettings;
use crate::error::{Error, FileProblem, Result};
use crate::plan;
use crate::registry::DEFAULT_PORT;

/// Fails before anything is made if a name is unknown or ambiguous. `along`: the dependencies of the compose
/// services.
pub(super) fn check_names(request: &UpRequest<'_>, along: &[String]) -> Result<()> {
    let holders = request.settings.port_users();
    let services = request.services.iter();
    let known: Vec<&str> = holders
        .iter()
        .map(|holder| holder.name)
        .chain(services.map(|service| service.name.as_str()))
        .chain(along.iter().map(String::as_str))
        .collect();
    check_services(request.settings, request.services)?;
    request.check_along(along.iter().map(String::as_str))?;
    let asked = request.only.unwrap_or_default().iter().chain(request.skip);
    for name in asked {
        if !known.contains(&name.as_str()) {
            let message = crate::yaml::unknown_key_error("process or service", name, &known);
            return Err(Error::usage(message).hint(format!("there are: {}", known.join(", "))));
        }
    }
    Ok(())
}

/// Whether a service of `dependencies` has the variables of a process or of a compose service.
pub(crate) fn check_services(
    settings: &SessionSettings,
    services: &[plan::PlannedService],
) -> Result<()> {
    let holders = settings.port_users();
    for service in services {
        let variable = plan::port_variable(&service.name, DEFAULT_PORT);
        if let Some(holder) = holders.iter().find(|it| it.variable() == variable) {
            let problem = FileProblem {
                file: "moat.yaml".to_owned(),
                line: None,
                column: None,
                message: format!(
                    "both '{}' of the session and the service '{}' would set {variable}",
                    holder.name, service.name
                ),
            };
            return Err(Error::problems(vec![problem]).hint("rename one of them"));
        }
    }
    Ok(())
}
