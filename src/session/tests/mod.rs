//! Rolling back and taking down sessions whose engine is in memory: order, failures, and what belongs to others.

mod down;
mod recover;
mod rollback;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::operation::OperationContext;
use super::rollback::roll_back;
use crate::error::Error;
use crate::runtime::ResourceOwner;
use crate::runtime::fake::{Answer, Fake, exited, running};
use crate::store::scratch::Scratch;
use crate::store::{
    Claim, DownOptions, OpKind, ProcessIdentity, ResourceStage, Session, SessionService,
    SessionStatus, Timestamp,
};

const KEY: &str = "repo-branch";

/// A session, and the engine that its services are in.
struct Rig {
    scratch: Scratch,
    fake: Fake,
    engine: String,
    incarnation: String,
    said: Mutex<Vec<String>>,
}

impl Rig {
    fn new() -> Rig {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (fake, engine) = (Fake::new(), format!("fake-{number}"));
        fake.name(&engine);
        Rig {
            scratch: Scratch::new(),
            fake,
            engine,
            // Processes are found by it, on the whole machine.
            incarnation: format!("unit{}x{number}", std::process::id()),
            said: Mutex::default(),
        }
    }

    /// A session with these services, which nothing is being done to.
    fn session(&self, services: &[SessionService]) -> Session {
        let worktree = self.scratch.dir("tree");
        let mut session: Session = serde_json::from_value(serde_json::json!({
            "schema": 1, "key": KEY, "incarnation": self.incarnation, "repository": "/nonexistent",
            "main": self.scratch.dir("main"), "branch": "branch", "status": "active", "slot": 1,
            "operation": null, "error": null, "created_at": Timestamp::now().to_string(),
            "worktree": {"path": worktree, "created_by_moat": false, "stage": "made", "operation": null,
                "new_branch": null},
            "files": [], "ports": [], "processes": [], "compose": null,
            "hooks": {"pre_down": null, "post_down": null, "timeout_seconds": 5}, "tmux": null,
        }))
        .unwrap();
        session.services.runtime.clone_from(&self.engine);
        session.services.list = services.to_vec();
        session
    }

    /// A service whose container is there.
    fn service(&self, name: &str, operation: &str) -> SessionService {
        self.fake.put_labelled(
            &self.handle(name),
            running(),
            &self.scratch.label().unwrap(),
            ResourceOwner::Session(self.incarnation.clone()),
        );
        serde_json::from_value(serde_json::json!({
            "name": name, "service": name, "version": "1", "image": "image", "handle": self.handle(name),
            "settings_hash": "", "stage": "made", "operation": operation, "existed_before": false,
            "started_by": operation, "ready_at": Timestamp::now().to_string(),
        }))
        .unwrap()
    }

    fn handle(&self, service: &str) -> String {
        format!("moat-{}-{service}", self.incarnation)
    }

    /// The network of the session, which is there.
    fn network(&self) -> String {
        let network = format!("moat-{}", self.incarnation);
        let owner = ResourceOwner::Session(self.incarnation.clone());
        self.fake
            .put_network(&network, &self.scratch.label().unwrap(), owner);
        network
    }

    /// An `up` under way that makes the session: `make` gets the id of its operation.
    fn up(&self, make: impl Fn(&str) -> Session) -> (Claim, String) {
        let claim = self.scratch.claim_session(KEY, OpKind::Up).unwrap();
        let mut claim = claim.expect("nobody has it");
        let begun = claim.begin(DownOptions::default(), &mut |id, _, _| Ok(make(id)));
        begun.unwrap();
        let id = claim.id().to_owned();
        (claim, id)
    }

    /// A session that was there before.
    fn existing(&self, status: SessionStatus, session: impl Fn(&str) -> Session) {
        let (mut claim, _) = self.up(session);
        let settled = claim.update(&mut |session| {
            session.status = status;
            session.operation = None;
        });
        settled.unwrap();
    }

    /// A `down` under way.
    fn down(&self, options: DownOptions) -> Claim {
        let claim = self.scratch.claim_session(KEY, OpKind::Down).unwrap();
        let mut claim = claim.expect("nobody has it");
        let begun = claim.begin(
            options,
            &mut |_, session, _| Ok(session.expect("a session")),
        );
        begun.unwrap();
        claim
    }

    fn with<T>(&self, work: impl FnOnce(&OperationContext<'_>) -> T) -> T {
        let say = |text: &str| self.said.lock().unwrap().push(text.to_owned());
        work(&OperationContext {
            home: &self.scratch,
            should_continue: &|| true,
            notify: &say,
            warn: &say,
        })
    }

    fn roll_back(&self, mut claim: Claim, operation: &str) -> Result<(), Error> {
        self.with(|context| roll_back(context, &mut claim, operation))
    }

    /// The session as it is on disk.
    fn on_disk(&self) -> Option<Session> {
        self.scratch.session(KEY).unwrap()
    }

    #[track_caller]
    fn broken(&self) -> Session {
        let session = self.on_disk().expect("it is still there");
        assert_eq!(session.status, SessionStatus::Broken);
        assert!(session.operation.is_none());
        session
    }

    /// The calls of these verbs; INC stands for the incarnation.
    fn calls(&self, verbs: &[&str]) -> Vec<String> {
        let calls = self.fake.calls_of(verbs).into_iter();
        calls
            .map(|call| call.replace(&self.incarnation, "INC"))
            .collect()
    }
}

/// The names of the services of a session.
fn names(session: &Session) -> Vec<&str> {
    let list = session.services.list.iter();
    list.map(|service| service.name.as_str()).collect()
}

/// A process that is not there any more.
fn dead() -> ProcessIdentity {
    serde_json::from_value(serde_json::json!({"pid": 4_000_000, "token": "gone"})).unwrap()
}

const REMOVALS: [&str; 3] = ["remove", "remove-network", "stop"];
