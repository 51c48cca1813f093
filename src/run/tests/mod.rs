//! A supervisor on an engine in memory: the orders in which a run's end, requests to end it, adoption and cleaning up
//! may meet.

mod adopt;
mod cleanup;
mod ending;
mod protocol;
mod settle;
mod starting;

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::lifecycle;
use super::protocol::ToClient;
use super::supervisor::Supervisor;
use super::verdict::StopRequestTime;
use crate::container::{Capture, Watched};
use crate::plan::Plan;
use crate::runtime::fake::{self, Answer, Fake};
use crate::runtime::{Exit, Inspected};
use crate::store::scratch::{Scratch, logged};
use crate::store::{
    EndReason, OwnedRun, Resource, ResourceKind, ResourceStage, RunDir, RunRecord, RunState,
    Stream, Timestamp,
};

/// Longer than anything takes. What has not come by then never comes.
const NEVER: Duration = Duration::from_secs(20);

/// A run, its supervisor, its client, and the engine that it is in.
struct Rig {
    scratch: Scratch,
    fake: Fake,
    supervisor: Arc<Supervisor>,
    id: String,
    dir: RunDir,
    told: Arc<(Mutex<Vec<ToClient>>, Condvar)>,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(|_| {})
    }

    /// `change`: of the record with which the run begins.
    fn with(change: impl Fn(&mut RunRecord)) -> Rig {
        let scratch = Scratch::new();
        let run = scratch.reserve(change);
        Rig::of(scratch, run)
    }

    fn of(scratch: Scratch, run: OwnedRun) -> Rig {
        let fake = Fake::new();
        let (id, dir) = (run.record().id.to_string(), run.dir().clone());
        let (log, kept) = lifecycle::open_log(&run).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let capture = Capture::new(log, kept, false);
        let supervisor = Supervisor::new(run, fake.driver(), capture, Some(ours));
        let told: Arc<(Mutex<Vec<ToClient>>, Condvar)> = Arc::default();
        let hears = Arc::clone(&told);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(theirs);
            while let Ok(Some(message)) = super::protocol::receive::<ToClient>(&mut reader) {
                hears.0.lock().unwrap().push(message);
                hears.1.notify_all();
            }
        });
        Rig {
            scratch,
            fake,
            supervisor,
            id,
            dir,
            told,
        }
    }

    /// A run whose workload has been started.
    fn started() -> Rig {
        Rig::started_with(|_| {})
    }

    fn started_with(change: impl Fn(&mut RunRecord)) -> Rig {
        let rig = Rig::with(|record| {
            change(record);
            record.state = RunState::Starting;
            for resource in &mut record.resources {
                resource.stage = ResourceStage::Made;
            }
        });
        rig.start();
        rig
    }

    fn start(&self) {
        use crate::runtime::Services;
        self.fake.put(&self.id, Inspected::Created);
        let attached = self.fake.start_service(&self.id, &self.id).unwrap();
        let listener = Arc::clone(&self.supervisor).listener();
        self.supervisor.capture.attach(attached, listener);
    }

    /// Sees the started run to its end, in a thread of its own.
    fn oversee(&self) -> Receiver<()> {
        self.oversee_until(None)
    }

    fn oversee_until(&self, timeout: Option<Instant>) -> Receiver<()> {
        let supervisor = Arc::clone(&self.supervisor);
        in_background(move || lifecycle::watch_to_end(&supervisor, timeout))
    }

    /// Makes, starts and sees to its end what a plan says.
    fn carry_out(&self, plan: Plan) -> Receiver<()> {
        let supervisor = Arc::clone(&self.supervisor);
        in_background(move || lifecycle::see_through(&supervisor, plan, None, None))
    }

    /// Waits until the run is over; its record.
    #[track_caller]
    fn over(&self, done: &Receiver<()>) -> RunRecord {
        let done = done.recv_timeout(NEVER);
        assert!(done.is_ok(), "it is not over: {:#?}", self.fake.calls());
        self.on_disk()
    }

    /// The run ends by itself.
    #[track_caller]
    fn end_with(&self, code: u8) -> RunRecord {
        let done = self.oversee();
        self.seen_to_run();
        self.fake.exit(&self.id, code);
        self.over(&done)
    }

    /// Waits until the record says that the workload runs.
    #[track_caller]
    fn seen_to_run(&self) {
        self.told("it runs", |message| {
            matches!(message, ToClient::Started { .. })
        });
    }

    /// Waits until the client was told something.
    #[track_caller]
    fn told(&self, what: &str, is: impl Fn(&ToClient) -> bool) {
        let deadline = Instant::now() + NEVER;
        let mut told = self.told.0.lock().unwrap();
        while !told.iter().any(&is) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody said that {what}: {told:#?}");
            told = self.told.1.wait_timeout(told, left).unwrap().0;
        }
    }

    /// All notices so far.
    #[track_caller]
    fn notices(&self) -> Vec<String> {
        // What is told last comes last.
        let stream = "the last word".to_owned();
        self.supervisor
            .notify_client(&ToClient::OutputClosed { stream });
        self.told("that was all", |message| {
            matches!(message, ToClient::OutputClosed { .. })
        });
        let told = self.told.0.lock().unwrap();
        let notices = told.iter().filter_map(|message| match message {
            ToClient::Notice { text } => Some(text.clone()),
            _ => None,
        });
        notices.collect()
    }

    /// Makes the waiter look, and holds it at that.
    #[track_caller]
    fn held_look(&self) -> fake::Hold {
        let hold = self.fake.hold("inspect");
        self.supervisor.capture.wake_waiter();
        hold.arrived();
        hold
    }

    fn end(&self, reason: EndReason) {
        self.supervisor.end(reason, StopRequestTime::now());
    }

    fn on_disk(&self) -> RunRecord {
        self.dir.load().record().expect("a record")
    }

    fn diary(&self) -> String {
        std::fs::read_to_string(self.dir.supervisor_log()).unwrap_or_default()
    }

    fn call(&self, verb: &str) -> String {
        format!("{verb} {}", self.id)
    }

    /// The calls of these verbs; RUN stands for the run's id.
    fn calls(&self, verbs: &[&str]) -> Vec<String> {
        let named = verbs.iter().map(|verb| verb.replace("RUN", &self.id));
        let named: Vec<String> = named.collect();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        let calls = self.fake.calls_of(&named).into_iter();
        calls.map(|call| call.replace(&self.id, "RUN")).collect()
    }
}

/// Does something in a thread of its own, and tells when that is over.
fn in_background(work: impl FnOnce() + Send + 'static) -> Receiver<()> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        let _ = tell.send(());
    });
    told
}

fn ending(record: &RunRecord) -> (RunState, EndReason, Option<u8>) {
    let reason = record.reason.expect("a reason");
    (record.state, reason, record.exit_code)
}

fn container(handle: &str, stage: ResourceStage) -> Resource {
    resource(ResourceKind::Container, handle, stage)
}

fn network(handle: &str, stage: ResourceStage) -> Resource {
    resource(ResourceKind::Network, handle, stage)
}

fn resource(kind: ResourceKind, handle: &str, stage: ResourceStage) -> Resource {
    Resource {
        kind,
        handle: handle.to_owned(),
        stage,
    }
}

/// An end that came a good while ago.
fn long_ago(code: u8) -> Inspected {
    let at = |seconds| Some(Timestamp(SystemTime::now() - Duration::from_secs(seconds)));
    Inspected::Exited(Exit {
        started_at: at(20),
        finished_at: at(10),
        code: Some(code),
        ..Exit::default()
    })
}
