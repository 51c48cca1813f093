//! The waiter and what keeps the output, on an engine in memory: which orders of events lead to which end.

mod capture;
mod lost;
mod waiter;

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Capture, OutputListener, PollSchedule, Waiter, Watched};
use crate::runtime::fake::{self, Fake};
use crate::runtime::{self, AttachEnd, Attached, Containers, Exit, Inspected, Runtime, Services};
use crate::store::scratch::{Scratch, logged};
use crate::store::{LogWriter, Stream, StreamBytes, Timestamp};

const HANDLE: &str = "run_0123456789ab";

/// Longer than any end takes. A waiter that has not come to one by then has failed.
const NEVER: Duration = Duration::from_secs(20);

/// What a watcher reports of a container.
struct Subject {
    fake: Fake,
    capture: Arc<Capture>,
    started_at: Mutex<Option<Timestamp>>,
    known: Mutex<Option<Exit>>,
    notices: Mutex<Vec<String>>,
    diary: Mutex<Vec<String>>,
}

impl Watched for Subject {
    fn handle(&self) -> String {
        HANDLE.to_owned()
    }

    fn runtime(&self) -> &dyn Runtime {
        &self.fake
    }

    fn capture(&self) -> &Arc<Capture> {
        &self.capture
    }

    fn listener(self: Arc<Self>) -> OutputListener {
        Arc::new(|_| {})
    }

    fn started_at(&self) -> Option<Timestamp> {
        *self.started_at.lock().unwrap()
    }

    fn saw_running(&self, started_at: Option<Timestamp>, _ports: &[(u16, u16)]) {
        let at = started_at.unwrap_or_else(Timestamp::now);
        self.started_at.lock().unwrap().get_or_insert(at);
        self.fake.note("seen to run");
    }

    fn is_known_exit(&self, end: &Exit) -> bool {
        self.known.lock().unwrap().as_ref() == Some(end)
    }

    fn restart_interrupted(&self) -> runtime::Result<Option<Attached>> {
        self.fake.restart_interrupted(HANDLE, false)
    }

    fn notice(&self, text: &str) {
        self.notices.lock().unwrap().push(text.to_owned());
        self.fake.note("noticed");
    }

    fn is_detached(self: Arc<Self>) {
        self.fake.note("detached");
    }

    fn append_supervisor_log(&self, text: &str) {
        self.diary.lock().unwrap().push(text.to_owned());
    }
}

/// A container that is watched, and its engine.
struct Scene {
    scratch: Scratch,
    fake: Fake,
    subject: Arc<Subject>,
}

/// What the waiter came to.
struct Ended {
    exit: Exit,
    /// Since when output may be missing, and why.
    missing: Option<(Timestamp, String)>,
}

impl Scene {
    fn new() -> Scene {
        Scene::on(Fake::new())
    }

    fn on(fake: Fake) -> Scene {
        let scratch = Scratch::new();
        let (log, kept) = LogWriter::open(&scratch.root().join("log")).unwrap();
        let subject = Arc::new(Subject {
            fake: fake.clone(),
            capture: Arc::new(Capture::new(log, kept, false)),
            started_at: Mutex::default(),
            known: Mutex::default(),
            notices: Mutex::default(),
            diary: Mutex::default(),
        });
        fake.put(HANDLE, Inspected::Created);
        Scene {
            scratch,
            fake,
            subject,
        }
    }

    /// A container that is started and attached.
    fn started() -> Scene {
        let scene = Scene::new();
        scene.start();
        scene
    }

    fn started_on(traits: fake::Traits) -> Scene {
        let scene = Scene::on(Fake::of_kind(traits));
        scene.start();
        scene
    }

    fn start(&self) {
        let attached = self.fake.start_service(HANDLE, HANDLE).unwrap();
        self.attach(attached);
    }

    /// Attaches and does not start: as of a client that has yet to ask for it.
    fn attach_only(&self) {
        self.fake.script("start-service", [fake::Answer::Ignored]);
        self.start();
    }

    fn attach(&self, attached: Attached) {
        let listener = Arc::clone(&self.subject).listener();
        self.subject.capture.attach(attached, listener);
    }

    fn print(&self, text: &str) {
        self.fake.print(HANDLE, Stream::Stdout, text);
    }

    /// The client ends, and it is known that the output has ended.
    #[track_caller]
    fn detach(&self, end: AttachEnd) {
        self.fake.detach(HANDLE, end);
        assert!(self.subject.capture.wait(NEVER), "the streams do not end");
    }

    /// The same of the workload.
    #[track_caller]
    fn exit(&self, code: u8) {
        self.fake.set(HANDLE, fake::exited(code));
        self.detach(AttachEnd::Code(code));
    }

    fn log(&self, stream: Stream) -> String {
        logged(&self.scratch.root().join("log"), stream)
    }

    fn notices(&self) -> Vec<String> {
        self.subject.notices.lock().unwrap().clone()
    }

    fn diary(&self) -> Vec<String> {
        self.subject.diary.lock().unwrap().clone()
    }

    /// Begins to watch.
    fn watch(&self) -> mpsc::Receiver<Ended> {
        let subject = Arc::clone(&self.subject) as Arc<dyn Watched>;
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let pace = PollSchedule::starting(true, subject.runtime().inspect_is_cheap());
            let mut watch = Waiter::new(subject, pace);
            let mut exit = watch.until_exit();
            let missing = watch.drain(&mut exit);
            let _ = tell.send(Ended { exit, missing });
        });
        told
    }

    /// Watches to the end.
    #[track_caller]
    fn end(&self) -> Ended {
        self.wait(&self.watch())
    }

    #[track_caller]
    fn wait(&self, told: &mpsc::Receiver<Ended>) -> Ended {
        let ended = told.recv_timeout(NEVER);
        ended.unwrap_or_else(|_| panic!("it came to no end: {:#?}", self.fake.calls()))
    }
}

impl Ended {
    fn why(&self) -> Option<&str> {
        self.missing.as_ref().map(|(_, why)| why.as_str())
    }
}

/// A capture that has kept so much already.
fn kept(stdout: u64, stderr: u64) -> StreamBytes {
    StreamBytes { stdout, stderr }
}
