//! Slots, and the ports that follow from them: `base + slot * stride`. If a port is in use, the process falls back to
//! another port: the number of slots, times the stride, is added, so that the fallback is no other slot's port.
//!
//! The caller holds the lock under which slots and ports are assigned. The record is authoritative: a foreign
//! listener changes nothing in it, and a running process keeps its ports.

use super::port_probe;
use crate::config::SessionSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, port_variable};
use crate::store::{Session, SessionPort};

/// A port that `--port NAME=PORT` requests.
#[derive(Clone, Debug)]
pub(crate) struct PinnedPort {
    pub(crate) process: String,
    pub(crate) port: u16,
}

impl PinnedPort {
    /// Parses `NAME=PORT`.
    pub(crate) fn parse(text: &str) -> Result<PinnedPort> {
        let parsed = text.split_once('=').and_then(|(name, port)| {
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some(PinnedPort {
                process: name.to_owned(),
                port,
            })
        });
        parsed.ok_or_else(|| {
            let shown = crate::yaml::message_text(text);
            Error::usage(format!("bad port '{shown}'"))
                .hint("write --port NAME=PORT, e.g. --port web=4001")
        })
    }
}

/// The smallest slot that no other session has.
pub(super) fn free_slot(settings: &SessionSettings, others: &[Session]) -> Result<u16> {
    let is_free = |slot: &u16| others.iter().all(|other| other.slot != *slot);
    (1..=settings.slots).find(is_free).ok_or_else(|| {
        let holders: Vec<String> = others
            .iter()
            .map(|other| crate::term::escape_unsafe(&other.branch))
            .collect();
        let count = settings.slots;
        let message = format!("all {count} slots are in use: {}", holders.join(", "));
        // The other sessions may belong to other repositories, where their branches mean nothing here.
        let ways: Vec<String> = others
            .iter()
            .map(|other| format!("moat down {}", other.key))
            .collect();
        let ways = ways.join(", or ");
        Error::new(ErrorKind::Conflict, message).hint(format!(
            "take one down: {ways}; or raise session.slots in moat.yaml"
        ))
    })
}

/// The input of the assignment of a session's ports.
pub(super) struct PortAllocator<'a> {
    pub(super) settings: &'a SessionSettings,
    pub(super) services: &'a [plan::PlannedService],
    pub(super) slot: u16,
    pub(super) others: &'a [Session],
    pub(super) pins: &'a [PinnedPort],
    /// The ports that the session has so far.
    pub(super) previous: &'a [SessionPort],
    /// Whether a process runs, or a service has a container, and so keeps its ports.
    pub(super) running: &'a dyn Fn(&str) -> bool,
    /// Whether it runs and is ended before a restart; its ports are free then.
    pub(super) freed: &'a dyn Fn(&str) -> bool,
    /// All names in the record, whether moat.yaml still has them or not.
    pub(super) remaining: &'a [String],
    pub(super) warn: &'a dyn Fn(&str),
}

/// The primary port of a process or service, before a number is assigned.
struct PrimaryPort<'a> {
    name: &'a str,
    /// Not set: any free port.
    base: Option<u16>,
    variables: Vec<String>,
    published: bool,
    container: Option<u16>,
    of_compose: bool,
}

impl PrimaryPort<'_> {
    fn assign(&self, port: u16, primary: bool, pinned: bool) -> SessionPort {
        SessionPort {
            name: self.name.to_owned(),
            variables: self.variables.clone(),
            base: self.base.unwrap_or_default(),
            port,
            container: self.container,
            from_compose: self.of_compose,
            primary,
            published: self.published,
            pinned,
        }
    }
}

/// A port that a member cannot have.
struct TakenPort<'a> {
    name: &'a str,
    port: u16,
    holder: String,
}

impl TakenPort<'_> {
    fn message(&self) -> String {
        let (port, name, holder) = (self.port, self.name, &self.holder);
        format!("port {port} of '{name}' is held by {holder}")
    }

    fn replaced_by(&self, other: u16) -> String {
        format!("{}; it gets {other}", self.message())
    }

    fn refusal(&self, hint: &str) -> Error {
        Error::new(ErrorKind::Conflict, self.message()).hint(hint)
    }
}

/// Number of ports that the kernel is asked for: each may be reserved for another session.
const KERNEL_PORT_ATTEMPTS: usize = 50;

impl PortAllocator<'_> {
    /// The ports of all processes and services.
    pub(super) fn choose(&self) -> Result<Vec<SessionPort>> {
        self.check_pins()?;
        let mut chosen: Vec<SessionPort> = Vec::new();
        let holders = self.settings.port_users();
        let names = holders.iter().map(|holder| holder.name);
        let services = self.services.iter().map(|service| service.name.as_str());
        // Running members come first: no other one gets their ports, whether they listen or not.
        for name in names.chain(services).filter(|name| (self.running)(name)) {
            self.keep_previous(name, &mut chosen)?;
        }
        chosen.extend(self.keep_removed().cloned());
        for holder in holders.iter().filter(|holder| !(self.running)(holder.name)) {
            if let Some(base) = holder.port {
                let mut variables = vec![holder.variable()];
                variables.extend(holder.port_env.iter().cloned());
                let wanted = PrimaryPort {
                    name: holder.name,
                    base: Some(base.value),
                    variables,
                    published: holder.published,
                    container: None,
                    of_compose: holder.from_compose,
                };
                let port = self.primary(wanted, &chosen)?;
                chosen.push(port);
            }
            for (base, port_env) in &holder.extra_ports {
                let port = self.nominal(holder.name, base.value)?;
                self.check_extra(holder.name, port, &chosen)?;
                let wanted = PrimaryPort {
                    name: holder.name,
                    base: Some(base.value),
                    variables: port_env.to_vec(),
                    published: true,
                    container: None,
                    of_compose: holder.from_compose,
                };
                chosen.push(wanted.assign(port, false, false));
            }
        }
        for service in self.services {
            if !(self.running)(&service.name) {
                self.of_service(service, &mut chosen)?;
            }
        }
        Ok(chosen)
    }

    /// The ports of members that are no longer in moat.yaml but still exist.
    fn keep_removed(&self) -> impl Iterator<Item = &SessionPort> {
        let holders = self.settings.port_users();
        let known: Vec<&str> = holders.iter().map(|holder| holder.name).collect();
        let is_known = move |name: &str| {
            let mut services = self.services.iter();
            known.contains(&name) || services.any(|service| service.name == name)
        };
        let forgotten =
            move |port: &&SessionPort| self.remaining.contains(&port.name) && !is_known(&port.name);
        self.previous.iter().filter(forgotten)
    }

    /// The user can pin the first port only. The others are any free ports.
    fn of_service(
        &self,
        service: &plan::PlannedService,
        chosen: &mut Vec<SessionPort>,
    ) -> Result<()> {
        let name = service.name.as_str();
        let mut given = self.settings.services.iter();
        let base = given.find(|(given, _)| given == name);
        for (place, port) in service.ports.iter().enumerate() {
            let wanted = PrimaryPort {
                name,
                base: base.map(|(_, base)| base.value),
                variables: vec![port_variable(name, &port.name)],
                published: true,
                container: Some(port.port),
                of_compose: false,
            };
            let port = match place {
                0 => self.primary(wanted, chosen)?,
                _ => self.any_free(&wanted, false, chosen)?,
            };
            chosen.push(port);
        }
        Ok(())
    }

    fn keep_previous(&self, name: &str, chosen: &mut Vec<SessionPort>) -> Result<()> {
        self.check_running(name)?;
        let own = self.previous.iter().filter(|port| port.name == name);
        chosen.extend(own.cloned());
        Ok(())
    }

    /// A free port: the previous one if that is free.
    fn any_free(
        &self,
        wanted: &PrimaryPort<'_>,
        primary: bool,
        chosen: &[SessionPort],
    ) -> Result<SessionPort> {
        let same = |port: &&SessionPort| {
            port.name == wanted.name && port.base == 0 && port.variables == wanted.variables
        };
        let earlier = self.previous.iter().find(same).map(|port| port.port);
        let tries =
            std::iter::from_fn(port_probe::free_port_from_kernel).take(KERNEL_PORT_ATTEMPTS);
        let free = earlier
            .into_iter()
            .chain(tries)
            .find(|port| self.holder(wanted.name, *port, chosen).is_none());
        let port = free.ok_or_else(|| {
            let message = format!("there is no free port for '{}'", wanted.name);
            Error::new(ErrorKind::Conflict, message).hint("choose one: --port NAME=PORT")
        })?;
        Ok(SessionPort {
            base: 0,
            ..wanted.assign(port, primary, false)
        })
    }

    fn check_pins(&self) -> Result<()> {
        let holders = self.settings.port_users();
        for pin in self.pins {
            let name = crate::yaml::message_text(&pin.process);
            let has_container = |service: &plan::PlannedService| service.name == pin.process;
            match holders.iter().find(|holder| holder.name == pin.process) {
                _ if self.services.iter().any(has_container) => {}
                Some(holder) if holder.port.is_some() => {}
                Some(_) => {
                    return Err(Error::usage(format!(
                        "'{name}' has no port that could be chosen"
                    )));
                }
                None => {
                    let holders = holders.iter().map(|holder| holder.name);
                    let services = self.services.iter().map(|service| service.name.as_str());
                    let known: Vec<&str> = holders.chain(services).collect();
                    return Err(Error::usage(crate::yaml::unknown_key_error(
                        "process",
                        &pin.process,
                        &known,
                    )));
                }
            }
        }
        Ok(())
    }

    fn pin(&self, process: &str) -> Option<u16> {
        let pins = self.pins.iter().rev();
        let mut wanted = pins.filter(|pin| pin.process == process);
        wanted.next().map(|pin| pin.port)
    }

    fn previous_port(&self, process: &str) -> Option<&SessionPort> {
        let is_it = |port: &&SessionPort| port.primary && port.name == process;
        self.previous.iter().find(is_it)
    }

    fn check_running(&self, name: &str) -> Result<()> {
        let has = self.previous_port(name).map(|port| port.port);
        match self.pin(name) {
            Some(pin) if has != Some(pin) => {
                let message = format!("'{name}' runs with another port already");
                let is_service = self.services.iter().any(|service| service.name == name);
                Err(
                    Error::new(ErrorKind::Conflict, message).hint(match is_service {
                        true => "add --force to recreate it and delete its data",
                        false => "add --force to restart it",
                    }),
                )
            }
            _ => Ok(()),
        }
    }

    fn primary(&self, wanted: PrimaryPort<'_>, chosen: &[SessionPort]) -> Result<SessionPort> {
        let name = wanted.name;
        let (port, pinned) = match (self.pin(name), wanted.base) {
            (Some(port), _) => {
                if let Some(taken) = self.conflict(name, port, chosen) {
                    return Err(taken.refusal("choose another one with --port"));
                }
                (port, true)
            }
            (None, None) => return self.any_free(&wanted, true, chosen),
            (None, Some(base)) => self.configured(name, base, chosen)?,
        };
        Ok(wanted.assign(port, true, pinned))
    }

    /// The port of a member with a port in moat.yaml, and whether `--port` chose it earlier.
    fn configured(&self, name: &str, base: u16, chosen: &[SessionPort]) -> Result<(u16, bool)> {
        let hint = "stop that process, or choose a port: --port NAME=PORT";
        let strict = self.settings.strict_ports;
        // A stopped session gets its previous ports back.
        let mut lost = None;
        if let Some(earlier) = self.previous_port(name).filter(|port| port.base == base) {
            match self.conflict(name, earlier.port, chosen) {
                None => return Ok((earlier.port, earlier.pinned)),
                Some(taken) if earlier.pinned || strict => return Err(taken.refusal(hint)),
                taken => lost = taken,
            }
        }
        let nominal = self.nominal(name, base)?;
        let Some(taken) = self.conflict(name, nominal, chosen) else {
            if let Some(lost) = lost {
                (self.warn)(&lost.replaced_by(nominal));
            }
            return Ok((nominal, false));
        };
        if strict {
            return Err(taken.refusal(hint));
        }
        let step = self.settings.slots.saturating_mul(self.settings.stride);
        let mut ways = (1..=self.settings.search_range)
            .map_while(|count| nominal.checked_add(step.checked_mul(count)?));
        match ways.find(|port| self.conflict(name, *port, chosen).is_none()) {
            Some(port) => {
                (self.warn)(&taken.replaced_by(port));
                Ok((port, false))
            }
            None => Err(taken.refusal(
                "stop that process, raise session.search_range, or choose a port: --port NAME=PORT",
            )),
        }
    }

    fn nominal(&self, process: &str, base: u16) -> Result<u16> {
        self.settings.nominal(base, self.slot).ok_or_else(|| {
            let message = format!(
                "'{process}' has no port in slot {}: it would be above 65535",
                self.slot
            );
            Error::new(ErrorKind::Config, message).hint("lower its port in moat.yaml")
        })
    }

    fn check_extra(&self, process: &str, port: u16, chosen: &[SessionPort]) -> Result<()> {
        match self.conflict(process, port, chosen) {
            Some(taken) if self.settings.strict_ports => Err(taken.refusal("end that")),
            Some(taken) => {
                (self.warn)(&taken.message());
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn conflict<'n>(
        &self,
        name: &'n str,
        port: u16,
        chosen: &[SessionPort],
    ) -> Option<TakenPort<'n>> {
        let holder = self.holder(name, port, chosen)?;
        Some(TakenPort { name, port, holder })
    }

    /// The user of a port: another session, another process of this session, or a foreign listener.
    fn holder(&self, name: &str, port: u16, chosen: &[SessionPort]) -> Option<String> {
        let has = |ports: &[SessionPort]| ports.iter().any(|other| other.port == port);
        if has(chosen) {
            return Some("another process of this session".to_owned());
        }
        if let Some(other) = self.reserved_for(name, port) {
            return Some(format!("'{other}' of this session, which keeps it"));
        }
        if let Some(other) = self.others.iter().find(|other| has(&other.ports)) {
            let branch = crate::term::escape_unsafe(&other.branch);
            return Some(format!("the session of '{branch}'"));
        }
        let mut earlier = self.previous.iter();
        if earlier.any(|own| own.port == port && (self.freed)(&own.name)) {
            return None;
        }
        port_probe::is_taken(port).then(|| port_probe::listener_name(port))
    }

    /// The member of this session that had the port before and gets it back although its turn is later.
    fn reserved_for(&self, name: &str, port: u16) -> Option<&str> {
        let holders = self.settings.port_users();
        let stays = |own: &&SessionPort| {
            let mut holders = holders.iter();
            let mut services = self.services.iter();
            let has_base = holders.any(|holder| {
                let base = holder.port.as_ref().map(|base| base.value);
                holder.name == own.name && base == Some(own.base)
            });
            own.port == port
                && own.name != name
                && self.pin(&own.name).is_none()
                && (has_base || services.any(|service| service.name == own.name))
        };
        let found = self.previous.iter().filter(|own| own.primary).find(stays);
        found.map(|own| own.name.as_str())
    }
}
