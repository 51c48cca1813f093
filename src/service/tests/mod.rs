//! Sidecars on an engine in memory: how they come up, what ends them, and what is recorded of that.

mod ending;
mod provision;
mod starting;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{ServiceOwner, Services, record};
use crate::error::Error;
use crate::plan::PlannedService;
use crate::runtime::fake::{self, Answer, Fake};
use crate::runtime::{AttachEnd, Inspected, Runtime};
use crate::store::scratch::Scratch;
use crate::store::{
    Home, OwnedRun, RunDir, RunState, ServiceRecord, ServiceState, Stream, Timestamp,
};

/// Longer than anything takes. What has not come by then never comes.
const NEVER: Duration = Duration::from_secs(20);

const RUN: &str = "run";

/// The run that the services belong to.
struct Owner {
    fake: Fake,
    home: Home,
    dir: RunDir,
    is_wanted: AtomicBool,
    services: Mutex<Vec<ServiceRecord>>,
    /// What was said and noted, in its order.
    said: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Owner {
    fn say(&self, text: String) {
        self.said.lock().unwrap().push(text);
        self.changed.notify_all();
    }
}

impl ServiceOwner for Owner {
    fn runtime(&self) -> &dyn Runtime {
        &self.fake
    }

    fn home(&self) -> Home {
        self.home.clone()
    }

    fn dir(&self) -> RunDir {
        self.dir.clone()
    }

    fn run_handle(&self) -> String {
        RUN.to_owned()
    }

    fn should_continue(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst)
    }

    fn progress(&self, service: &str, text: &str, _step: bool) {
        self.say(format!("{service}: {text}"));
    }

    fn log(&self, _text: &str) {}

    fn append_supervisor_log(&self, text: &str) {
        self.say(format!("diary {text}"));
    }

    fn begin_container_request(&self, handle: &str) {
        self.fake.note(&format!("asks {handle}"));
    }

    fn end_container_request(&self, made: Option<&str>) {
        let what = made.unwrap_or("nothing");
        self.fake.note(&format!("answered {what}"));
    }

    fn update(&self, service: &str, change: &mut dyn FnMut(&mut ServiceRecord)) {
        let mut services = self.services.lock().unwrap();
        if let Some(service) = services.iter_mut().find(|known| known.name == service) {
            change(service);
            self.fake.note(&format!("record {:?}", service.state));
        }
        self.changed.notify_all();
    }
}

struct Rig {
    // The run is owned as long as the rig lives.
    _run: OwnedRun,
    _scratch: Scratch,
    fake: Fake,
    owner: Arc<Owner>,
}

impl Rig {
    fn new() -> Rig {
        let scratch = Scratch::new();
        let run = scratch.reserve(|_| {});
        let fake = Fake::new();
        let owner = Arc::new(Owner {
            fake: fake.clone(),
            home: scratch.clone(),
            dir: run.dir().clone(),
            is_wanted: AtomicBool::new(true),
            services: Mutex::default(),
            said: Mutex::default(),
            changed: Condvar::new(),
        });
        Rig {
            _run: run,
            _scratch: scratch,
            fake,
            owner,
        }
    }

    /// Starts to bring services up.
    fn start(&self, plans: &[PlannedService]) -> Arc<Services> {
        let records = plans.iter().map(|plan| record(RUN, plan));
        *self.owner.services.lock().unwrap() = records.collect();
        let owner = Arc::clone(&self.owner) as Arc<dyn ServiceOwner>;
        Arc::new(Services::start(&owner, plans).unwrap())
    }

    /// Brings services up, and waits until they are, or have failed.
    fn bring_up(&self, plans: &[PlannedService]) -> (Arc<Services>, Result<(), Error>) {
        let services = self.start(plans);
        let result = wait(&services);
        (services, result)
    }

    /// The error of one that does not come up.
    #[track_caller]
    fn fails(&self, plan: &PlannedService) -> Error {
        let (services, result) = self.bring_up(std::slice::from_ref(plan));
        services.end();
        result.expect_err("it does not come up")
    }

    /// A service that is up.
    #[track_caller]
    fn up(&self, plan: &PlannedService) -> Arc<Services> {
        let (services, result) = self.bring_up(std::slice::from_ref(plan));
        result.expect("it is up");
        services
    }

    /// Takes over the service that is recorded like this.
    fn adopt(&self, change: impl Fn(&mut ServiceRecord)) -> Services {
        let mut service = record(RUN, &plan("db"));
        service.started_at = Some(Timestamp::now());
        change(&mut service);
        *self.owner.services.lock().unwrap() = vec![service.clone()];
        let mut run = self._run.record().clone();
        run.state = RunState::Running;
        run.services = vec![service];
        let owner = Arc::clone(&self.owner) as Arc<dyn ServiceOwner>;
        Services::adopt(&owner, &run).unwrap()
    }

    fn record(&self, name: &str) -> ServiceRecord {
        let services = self.owner.services.lock().unwrap();
        let mut found = services.iter().filter(|service| service.name == name);
        found.next().expect("it is recorded").clone()
    }

    /// Waits until it is recorded like this.
    #[track_caller]
    fn recorded(&self, name: &str, is: impl Fn(&ServiceRecord) -> bool) -> ServiceRecord {
        let deadline = Instant::now() + NEVER;
        let mut services = self.owner.services.lock().unwrap();
        loop {
            let found = services.iter().find(|service| service.name == name);
            let found = found.expect("it is recorded");
            if is(found) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{found:#?}, {:#?}", self.fake.calls());
            services = self.owner.changed.wait_timeout(services, left).unwrap().0;
        }
    }

    #[track_caller]
    fn in_state(&self, state: ServiceState) -> ServiceRecord {
        self.recorded("db", |service| service.state == state)
    }

    /// Waits until something with these words was said.
    #[track_caller]
    fn said(&self, words: &str) {
        let deadline = Instant::now() + NEVER;
        let mut said = self.owner.said.lock().unwrap();
        while !said.iter().any(|text| text.contains(words)) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody said '{words}': {said:#?}");
            said = self.owner.changed.wait_timeout(said, left).unwrap().0;
        }
    }
}

/// Waits for services within a time in which they come up or fail.
#[track_caller]
fn wait(services: &Arc<Services>) -> Result<(), Error> {
    let (tell, told) = mpsc::channel();
    let waited = Arc::clone(services);
    std::thread::spawn(move || tell.send(waited.wait()));
    told.recv_timeout(NEVER).expect("it comes to something")
}

fn in_background(work: impl FnOnce() + Send + 'static) -> Receiver<()> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        let _ = tell.send(());
    });
    told
}

fn plan(name: &str) -> PlannedService {
    serde_json::from_value(serde_json::json!({
        "name": name, "service": name, "version": "1", "image": format!("{name}:1"), "ports": [], "command": [],
        "ready": ["ready"], "wait": true, "ready_seconds": 60.0, "env": [], "secrets": [], "exports": [],
        "restart": false,
    }))
    .unwrap()
}

fn plan_with(change: impl FnOnce(&mut PlannedService)) -> PlannedService {
    let mut plan = plan("db");
    change(&mut plan);
    plan
}

fn restarting() -> PlannedService {
    plan_with(|plan| plan.restart = true)
}

fn not_ready() -> Answer {
    Answer::Exits(Some(1), "not yet")
}

const DB: &str = "run-db";
