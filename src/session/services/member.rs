//! The services as a member of a session.

use super::decisions::ServiceDecisions;
use super::health::service_healths;
use super::remove::{remove, stop};
use crate::error::{Error, Result};
use crate::runtime::REQUEST_TIMEOUT;
use crate::session::member::{BringUp, Member, Scope, Teardown};
use crate::store::{Claim, Home, ResourceStage, Session, SessionService};

/// The services of a session. `decisions`: those of an `up`.
pub(in crate::session) struct Services<'a> {
    pub(in crate::session) decisions: Option<&'a ServiceDecisions<'a>>,
}

impl Member for Services<'_> {
    fn is_complete(&self, _home: &Home, session: &Session) -> bool {
        // Services that the `up` was not requested to start do not count.
        let is_its = |name: &str| {
            let starter = session.service(name).map(|service| &*service.started_by);
            starter.is_some() && starter == session.operation_id()
        };
        let health = service_healths(std::slice::from_ref(session), &|_| false, REQUEST_TIMEOUT);
        let mut health = health.iter().flatten();
        health.all(|health| !is_its(&health.name) || health.is_running())
    }

    fn start(&self, up: &mut BringUp<'_>, claim: &mut Claim) -> Result<()> {
        let start = |decisions: &ServiceDecisions<'_>| decisions.start(up.context, claim);
        self.decisions.map_or(Ok(()), start)
    }

    fn stop(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        let list = teardown.session.services.list.iter();
        let names: Vec<&str> = list.map(|service| service.name.as_str()).collect();
        stop(teardown.context, teardown.session, &names)?;
        teardown.checkpoint("services");
        Ok(())
    }

    /// The rollback of an `up` removes the containers that it created, and stops those that it started.
    fn remove(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        let (context, session) = (teardown.context, teardown.session);
        let list = &session.services.list;
        match teardown.scope {
            // Runs may be connected to the network of a session that had services before.
            Scope::Operation { id, whole: false }
                if list
                    .iter()
                    .any(|it| it.operation != id || it.existed_before) =>
            {
                let names = |chosen: &dyn Fn(&SessionService) -> bool| -> Vec<&str> {
                    let chosen = list.iter().filter(|service| chosen(service));
                    chosen.map(|service| service.name.as_str()).collect()
                };
                let made = names(&|service| service.operation == id);
                if !made.is_empty() {
                    remove(context, session, Some(&made))?;
                }
                let started = names(&|service| service.started_by == id && service.operation != id);
                stop(context, session, &started)?;
            }
            _ => remove(context, session, None)?,
        }
        teardown.checkpoint("services");
        Ok(())
    }

    fn abandon(&self, teardown: &mut Teardown<'_>, error: Error) -> Result<()> {
        let services = &teardown.session.services;
        teardown.abandon_engine(&services.runtime, &services.engine, error)
    }

    fn forget(&self, teardown: &Teardown<'_>, record: &mut Session) {
        let (scope, list) = (teardown.scope, &mut record.services.list);
        list.retain(|it| !scope.forgets(&it.operation, it.existed_before));
        for service in list.iter_mut() {
            if scope.removes(&service.operation) {
                // The container existed before and is gone now.
                service.stage = ResourceStage::Made;
                service.ready_at = None;
            } else if matches!(scope, Scope::Stop) {
                service.ready_at = None;
            }
        }
        if list.is_empty() {
            record.services = Default::default();
        }
    }
}
