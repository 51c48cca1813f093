//! What only a run that really starts needs: the values of secrets, passwords, and what services are told of both.

use std::path::Path;

use super::{Host, Plan, PlannedService, Variable, secret};
use crate::error::{Error, ErrorKind, Result};
use crate::registry;

/// Fills in what only a run that really starts needs: secrets are looked up, passwords made.
pub(crate) fn resolve_run_values(plan: &mut Plan, host: &Host) -> Result<()> {
    plan.env.extend(secret::resolve(&plan.secrets, host)?);
    for service in &mut plan.services {
        for export in resolve_service_values(service, host, None)? {
            // What somebody set himself is what he wants.
            if !plan.env.iter().any(|set| set.name == export.name) {
                plan.env.push(export);
            }
        }
    }
    Ok(())
}

/// Where this host reaches what is published.
pub(crate) const LOOPBACK: &str = "127.0.0.1";

/// How this host reaches a service, which is not by its name.
pub(crate) struct PublishedService<'a> {
    /// On the loopback.
    pub(crate) port: u16,
    /// What others were told of the container before this one: they still have its password.
    pub(crate) previous_variables: &'a [(String, String)],
}

/// The same for one service. Gives what it tells others.
pub(crate) fn resolve_service_values(
    service: &mut PlannedService,
    host: &Host,
    published: Option<&PublishedService<'_>>,
) -> Result<Vec<Variable>> {
    let found = secret::resolve(&service.secrets, host)?;
    service.env.extend(found);
    let Some(template) = service.template.take() else {
        return Ok(Vec::new());
    };
    let values = PlaceholderValues::of(service, &template, published)?;
    for variable in &mut service.env {
        let own = template
            .variables
            .iter()
            .any(|(name, value)| *name == variable.name && *value == variable.value);
        if own {
            variable.value = values.substitute(&variable.value, str::to_owned);
        }
    }
    let export = |export: &Variable| Variable {
        name: export.name.clone(),
        value: match export.name.ends_with("_URL") {
            true => values.substitute(&export.value, encoded),
            false => values.substitute(&export.value, str::to_owned),
        },
    };
    Ok(service.exports.iter().map(export).collect())
}

/// What the placeholders of one service stand for.
struct PlaceholderValues {
    parts: [(&'static str, String); 5],
}

impl PlaceholderValues {
    fn of(
        service: &PlannedService,
        template: &registry::ServiceTemplate,
        published: Option<&PublishedService<'_>>,
    ) -> Result<PlaceholderValues> {
        let given = |placeholder: &str| {
            let carrier = template.placeholder_variable(placeholder)?;
            let variable = service.env.iter().find(|variable| variable.name == carrier);
            let value = &variable?.value;
            (value != placeholder).then(|| value.clone())
        };
        let mut exports = service.exports.iter();
        let told = exports.find(|export| export.value == "{password}");
        let told = told.zip(published).and_then(|(export, published)| {
            let mut told = published.previous_variables.iter();
            told.find(|(name, _)| *name == export.name)
        });
        let password = match given("{password}").or(told.map(|(_, value)| value.clone())) {
            Some(password) => password,
            None if template.has_password() => password()?,
            None => String::new(),
        };
        let known = |placeholder, default: &Option<String>| {
            given(placeholder)
                .or_else(|| default.clone())
                .unwrap_or_default()
        };
        Ok(PlaceholderValues {
            parts: [
                ("{user}", known("{user}", &template.user)),
                ("{password}", password),
                ("{database}", known("{database}", &template.database)),
                (
                    "{host}",
                    published.map_or_else(|| service.name.clone(), |_| LOOPBACK.to_owned()),
                ),
                (
                    "{port}",
                    published
                        .map_or_else(|| template.port(), |published| published.port)
                        .to_string(),
                ),
            ],
        })
    }

    /// Puts the values in place of their placeholders. What they contain themselves is left alone.
    fn substitute(&self, template: &str, form: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let found = self.parts.iter().find(|(part, _)| rest.starts_with(part));
            let (length, value) = found.map_or((1, "{".to_owned()), |(part, value)| {
                (part.len(), form(value))
            });
            out.push_str(&value);
            rest = &rest[length..];
        }
        out + rest
    }
}

/// As RFC 3986 wants it in a part of a URL.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// 32 letters and digits that nobody can guess.
fn password() -> Result<String> {
    crate::store::random_word(32).map_err(|error| {
        let path = Path::new("/dev/urandom");
        Error::io(ErrorKind::Failed, "read", path, &error)
    })
}
