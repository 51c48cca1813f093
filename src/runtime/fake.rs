//! An engine in memory, for unit tests: it answers as it is told to, in the order that it is told.
//!
//! A test says what the engine answers next ([`Fake::script`]), lets something happen while a call is on its way
//! ([`Fake::on`], [`Fake::hold`]), and reads afterwards which calls came in which order ([`Fake::calls`]). A call is
//! named `VERB HANDLE…`, and a script or a hook for `VERB` alone is for all handles. What nobody has scripted is
//! answered as the containers in memory are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::capabilities::{
    Commands, Containers, Images, KeptOutput, Networks, Runtime, Services, SessionServices, Volumes,
};
use super::{
    AttachEnd, Attached, BuildEvent, ClientFailure, CommandSpec, ContainerSpec, EngineClient,
    EngineVolume, ExecSpec, Exit, ImageBuild, Inspected, Labelled, Network, Refusal, ResourceOwner,
    Result, RuntimeError, ServiceSpec, ShowFn,
};
use crate::store::{ResourceKind, Stream, StreamBytes, Timestamp};

/// Longer than anything takes that happens at all. A test that waits so long has failed.
const NEVER: Duration = Duration::from_secs(20);

/// What the engine answers to a call.
pub(crate) enum Answer {
    /// What is so.
    Truth,
    /// Nothing is done.
    Fails(RuntimeError),
    /// It is done, and its answer is lost.
    DoneBut(RuntimeError),
    /// It says that it has done it, and has not.
    Ignored,
    /// The container is said to be like this; for `inspect`.
    Sees(Inspected),
    /// An empty list; for `inspect`.
    Nothing,
    /// The command printed a line and ended with this code; for `exec`.
    Exits(Option<u8>, &'static str),
    /// The answer to a question; for `is-held-back`, `pre-run-failed`, `has-network` and `has-image`.
    Says(bool),
}

/// The engine was not reached.
pub(crate) fn unreachable() -> RuntimeError {
    RuntimeError::unreachable("the engine is away", "start it")
}

/// The engine has perhaps heard the request.
pub(crate) fn silence() -> RuntimeError {
    RuntimeError::Transient("no answer in time".to_owned())
}

pub(crate) fn refusal() -> RuntimeError {
    RuntimeError::Refused("it will not".to_owned())
}

pub(crate) fn not_found() -> RuntimeError {
    RuntimeError::NotFound("no such thing".to_owned())
}

pub(crate) fn image_missing() -> RuntimeError {
    RuntimeError::ImageMissing("no such image".to_owned(), "fake")
}

/// A container that runs, and has for a while.
pub(crate) fn running() -> Inspected {
    Inspected::Running {
        started_at: Some(Timestamp::now()),
        ports: Vec::new(),
    }
}

/// A workload that has run and ended just now.
pub(crate) fn exited(code: u8) -> Inspected {
    Inspected::Exited(exit(code))
}

pub(crate) fn exit(code: u8) -> Exit {
    Exit {
        started_at: Some(Timestamp::now()),
        finished_at: Some(Timestamp::now()),
        code: Some(code),
        ..Exit::default()
    }
}

/// The client's words about a failure of its own.
pub(crate) fn last_words(code: u8, words: &str, interrupted: bool) -> AttachEnd {
    AttachEnd::Failed(ClientFailure {
        code,
        bytes: words.as_bytes().to_vec(),
        interrupted,
    })
}

type Hook = Box<dyn FnOnce(&Fake) + Send>;

#[derive(Clone, Default)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<String, Container>,
    networks: BTreeMap<String, (String, ResourceOwner)>,
    volumes: BTreeMap<String, EngineVolume>,
    calls: Vec<String>,
    scripts: Vec<(String, VecDeque<Answer>)>,
    /// The answer to each such call that has no script of its own.
    always: Vec<(String, fn() -> Answer)>,
    hooks: Vec<(String, Hook)>,
    traits: Traits,
}

/// What kind of engine it is.
#[derive(Clone, Copy)]
pub(crate) struct Traits {
    pub(crate) looks_are_cheap: bool,
    pub(crate) keeps_output: bool,
    pub(crate) start_limit: Option<Duration>,
    /// Whether it can start once more what it has not heard that it is to start.
    pub(crate) starts_again: bool,
}

impl Default for Traits {
    fn default() -> Traits {
        Traits {
            looks_are_cheap: true,
            keeps_output: true,
            start_limit: None,
            starts_again: false,
        }
    }
}

struct Container {
    home: String,
    whose: ResourceOwner,
    state: Inspected,
    /// What the engine's own log has.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Who listens.
    listener: Option<Listener>,
}

impl Container {
    fn new(home: &str, whose: ResourceOwner, state: Inspected) -> Container {
        Container {
            home: home.to_owned(),
            whose,
            state,
            stdout: Vec::new(),
            stderr: Vec::new(),
            listener: None,
        }
    }
}

#[derive(Clone)]
struct Listener {
    stdout: Pipe,
    stderr: Pipe,
    end: Arc<Mutex<Option<AttachEnd>>>,
}

impl Listener {
    fn new() -> Listener {
        Listener {
            stdout: Pipe::default(),
            stderr: Pipe::default(),
            end: Arc::default(),
        }
    }

    fn pipe(&self, stream: Stream) -> &Pipe {
        match stream {
            Stream::Stderr => &self.stderr,
            _ => &self.stdout,
        }
    }

    /// How it ends counts once; the streams end with it.
    fn finish(&self, end: AttachEnd) {
        lock(&self.end).get_or_insert(end);
        self.stdout.close();
        self.stderr.close();
    }

    fn is_open(&self) -> bool {
        self.stdout.is_open() || self.stderr.is_open()
    }

    fn attached(&self, fake: &Fake, handle: &str) -> Attached {
        Attached {
            stdout: Box::new(self.stdout.clone()),
            stderr: Box::new(self.stderr.clone()),
            lost: StreamBytes::default(),
            client: Box::new(FakeClient {
                fake: fake.clone(),
                handle: handle.to_owned(),
                listener: self.clone(),
            }),
            terminal: None,
        }
    }
}

/// A stream that blocks until there is something in it, or it is closed.
#[derive(Clone, Default)]
struct Pipe(Arc<Content>);

#[derive(Default)]
struct Content {
    bytes: Mutex<(VecDeque<u8>, bool)>,
    changed: Condvar,
}

impl Pipe {
    fn give(&self, bytes: &[u8]) {
        lock(&self.0.bytes).0.extend(bytes);
        self.0.changed.notify_all();
    }

    fn is_open(&self) -> bool {
        !lock(&self.0.bytes).1
    }

    fn close(&self) {
        lock(&self.0.bytes).1 = true;
        self.0.changed.notify_all();
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut content = lock(&self.0.bytes);
        while content.0.is_empty() && !content.1 {
            let waited = self.0.changed.wait(content);
            content = waited.unwrap_or_else(PoisonError::into_inner);
        }
        content.0.read(buffer)
    }
}

/// A client of the engine, apart from its container.
pub(crate) struct AttachedClient(Listener);

impl AttachedClient {
    pub(crate) fn print(&self, stream: Stream, text: &str) {
        self.0.pipe(stream).give(text.as_bytes());
    }

    pub(crate) fn finish(&self, end: AttachEnd) {
        self.0.finish(end);
    }
}

struct FakeClient {
    fake: Fake,
    handle: String,
    listener: Listener,
}

impl EngineClient for FakeClient {
    fn detach(&self) {
        self.fake.note(&format!("detach {}", self.handle));
        self.listener.finish(AttachEnd::Interrupted);
    }

    fn has_ended(&self) -> bool {
        lock(&self.listener.end).is_some()
    }

    fn ended(&self) -> AttachEnd {
        if !self.has_ended() && self.listener.is_open() {
            self.fake.note(&format!("asked too early {}", self.handle));
        }
        // Drivers end a client that does not end with its streams.
        self.listener.finish(AttachEnd::Interrupted);
        let end = lock(&self.listener.end);
        end.clone().unwrap_or(AttachEnd::Interrupted)
    }
}

/// A call that waits until the test lets it go on.
pub(crate) struct Hold {
    call: String,
    arrived: Receiver<()>,
    /// Dropped: it goes on.
    go: Option<Sender<()>>,
}

impl Hold {
    /// Waits until the call is there.
    #[track_caller]
    pub(crate) fn arrived(&self) {
        let arrived = self.arrived.recv_timeout(NEVER);
        assert!(arrived.is_ok(), "'{}' never came", self.call);
    }

    pub(crate) fn release(mut self) {
        self.go = None;
    }
}

impl Fake {
    pub(crate) fn new() -> Fake {
        Fake::default()
    }

    pub(crate) fn of_kind(traits: Traits) -> Fake {
        let fake = Fake::default();
        fake.state().traits = traits;
        fake
    }

    /// The engine as a driver.
    pub(crate) fn driver(&self) -> Box<dyn Runtime> {
        Box::new(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What the next such calls are answered with, one after the other; then the truth.
    pub(crate) fn script(&self, call: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut state = self.state();
        let answers = answers.into_iter();
        match state.scripts.iter_mut().find(|(name, _)| name == call) {
            Some((_, script)) => script.extend(answers),
            None => state.scripts.push((call.to_owned(), answers.collect())),
        }
    }

    /// What each such call is answered with that has no script.
    pub(crate) fn always(&self, call: &str, answer: fn() -> Answer) {
        let mut state = self.state();
        state.always.retain(|(name, _)| name != call);
        state.always.push((call.to_owned(), answer));
    }

    /// Runs when the next such call arrives, before it is answered.
    pub(crate) fn on(&self, call: &str, hook: impl FnOnce(&Fake) + Send + 'static) {
        self.state().hooks.push((call.to_owned(), Box::new(hook)));
    }

    /// Holds the next such call until the test lets it go.
    pub(crate) fn hold(&self, call: &str) -> Hold {
        let (arrives, arrived) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        self.on(call, move |_| {
            let _ = arrives.send(());
            let _ = gone.recv_timeout(NEVER);
        });
        Hold {
            call: call.to_owned(),
            arrived,
            go: Some(go),
        }
    }

    /// All calls so far, and what was noted among them.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// The calls of these verbs, in their order.
    pub(crate) fn calls_of(&self, verbs: &[&str]) -> Vec<String> {
        let mut calls = self.calls();
        calls.retain(|call| verbs.iter().any(|verb| is_for(verb, call)));
        calls
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.calls_of(&[call]).len()
    }

    /// Adds something to the calls that is none.
    pub(crate) fn note(&self, text: &str) {
        self.state().calls.push(text.to_owned());
        self.changed.notify_all();
    }

    /// Waits until so many such calls have come.
    #[track_caller]
    pub(crate) fn wait_calls(&self, call: &str, count: usize) {
        let deadline = Instant::now() + NEVER;
        let mut state = self.state();
        while state.calls.iter().filter(|it| is_for(call, it)).count() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "'{call}' never came {count} times: {:#?}",
                state.calls
            );
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is in the engine.
    pub(crate) fn left(&self) -> Vec<String> {
        let state = self.state();
        let containers = state.containers.keys();
        let networks = state.networks.keys().map(|name| format!("network {name}"));
        containers.cloned().chain(networks).collect()
    }

    /// Puts a container there, as if somebody had made it before.
    pub(crate) fn put(&self, handle: &str, state: Inspected) {
        self.put_labelled(handle, state, "", ResourceOwner::Run(String::new()));
    }

    pub(crate) fn put_labelled(
        &self,
        handle: &str,
        state: Inspected,
        home: &str,
        whose: ResourceOwner,
    ) {
        let container = Container::new(home, whose, state);
        self.state().containers.insert(handle.to_owned(), container);
    }

    pub(crate) fn put_network(&self, handle: &str, home: &str, whose: ResourceOwner) {
        let network = (home.to_owned(), whose);
        self.state().networks.insert(handle.to_owned(), network);
    }

    /// What a container is from now on. Its output goes on.
    pub(crate) fn set(&self, handle: &str, state: Inspected) {
        if let Some(container) = self.state().containers.get_mut(handle) {
            container.state = state;
        }
    }

    /// Somebody else removes it; the client has nothing to say.
    pub(crate) fn vanish(&self, handle: &str, end: AttachEnd) {
        let gone = self.state().containers.remove(handle);
        if let Some(listener) = gone.and_then(|container| container.listener) {
            listener.finish(end);
        }
    }

    /// The workload prints something, which the engine keeps.
    pub(crate) fn print(&self, handle: &str, stream: Stream, text: &str) {
        self.print_unheard(handle, stream, text);
        if let Some(listener) = self.listener(handle) {
            listener.pipe(stream).give(text.as_bytes());
        }
    }

    /// The same, and it reaches the engine's log alone.
    pub(crate) fn print_unheard(&self, handle: &str, stream: Stream, text: &str) {
        if let Some(container) = self.state().containers.get_mut(handle) {
            let kept = match stream {
                Stream::Stderr => &mut container.stderr,
                _ => &mut container.stdout,
            };
            kept.extend(text.as_bytes());
        }
    }

    /// The client ends, and the streams with it. The container is what it was.
    pub(crate) fn detach(&self, handle: &str, end: AttachEnd) {
        if let Some(listener) = self.listener(handle) {
            listener.finish(end);
        }
    }

    /// The workload ends: the engine knows it, and the client says the same.
    pub(crate) fn exit(&self, handle: &str, code: u8) {
        self.set(handle, exited(code));
        self.detach(handle, AttachEnd::Code(code));
    }

    /// The workload closes one of its streams.
    pub(crate) fn close_stream(&self, handle: &str, stream: Stream) {
        if let Some(listener) = self.listener(handle) {
            listener.pipe(stream).close();
        }
    }

    /// The client that is attached now, whoever is attached later.
    #[track_caller]
    pub(crate) fn client(&self, handle: &str) -> AttachedClient {
        AttachedClient(self.listener(handle).expect("a client"))
    }

    /// Somebody else removes it, and its client has not ended yet.
    pub(crate) fn forget(&self, handle: &str) {
        self.state().containers.remove(handle);
    }

    fn listener(&self, handle: &str) -> Option<Listener> {
        self.state().containers.get(handle)?.listener.clone()
    }

    /// What the engine's log has, of both streams.
    fn log_of(&self, handle: &str) -> (String, String) {
        let state = self.state();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let kept = state.containers.get(handle);
        kept.map(|kept| (text(&kept.stdout), text(&kept.stderr)))
            .unwrap_or_default()
    }

    /// Takes note of a call, lets happen what is to happen meanwhile, and finds its answer.
    fn asked(&self, call: &str) -> Answer {
        let hook = {
            let mut state = self.state();
            state.calls.push(call.to_owned());
            let at = state.hooks.iter().position(|(name, _)| is_for(name, call));
            at.map(|at| state.hooks.remove(at).1)
        };
        self.changed.notify_all();
        if let Some(hook) = hook {
            hook(self);
        }
        let mut state = self.state();
        let mut scripts = state.scripts.iter_mut();
        let scripted = scripts
            .find(|(name, script)| is_for(name, call) && !script.is_empty())
            .and_then(|(_, script)| script.pop_front());
        let mut always = state.always.iter();
        scripted
            .or_else(|| {
                let found = always.find(|(name, _)| is_for(name, call));
                found.map(|(_, answer)| answer())
            })
            .unwrap_or(Answer::Truth)
    }

    /// A request that is done, or not.
    fn request(&self, call: &str, work: impl FnOnce(&mut State)) -> Result<()> {
        match self.asked(call) {
            Answer::Fails(problem) => Err(problem),
            Answer::Ignored => Ok(()),
            Answer::DoneBut(problem) => {
                work(&mut self.state());
                Err(problem)
            }
            _ => {
                work(&mut self.state());
                Ok(())
            }
        }
    }

    /// A question with yes or no.
    fn question(&self, call: &str, truth: impl FnOnce(&State) -> bool) -> Result<bool> {
        match self.asked(call) {
            Answer::Fails(problem) | Answer::DoneBut(problem) => Err(problem),
            Answer::Says(answer) => Ok(answer),
            _ => Ok(truth(&self.state())),
        }
    }

    fn make(&self, call: &str, handle: &str, container: Container) -> Result<()> {
        self.request(call, |state| {
            state.containers.insert(handle.to_owned(), container);
        })
    }

    /// Starts a container, unless that fails: `Ignored` attaches and does not start it.
    fn start(&self, call: &str, handle: &str) -> Result<Attached> {
        let listener = Listener::new();
        let starts = match self.asked(call) {
            Answer::Fails(problem) => return Err(problem),
            Answer::Ignored => false,
            Answer::DoneBut(problem) => {
                self.set(handle, running());
                return Err(problem);
            }
            _ => true,
        };
        let mut state = self.state();
        let container = state.containers.get_mut(handle).ok_or_else(not_found)?;
        if starts {
            container.state = running();
        }
        container.listener = Some(listener.clone());
        drop(state);
        self.note(&format!("attached {handle}"));
        Ok(listener.attached(self, handle))
    }

    fn end(&self, call: &str, handle: &str, code: u8) -> Result<()> {
        let mut ended = None;
        let done = self.request(call, |state| {
            if let Some(container) = state.containers.get_mut(handle)
                && matches!(container.state, Inspected::Running { .. })
            {
                container.state = exited(code);
                ended = container.listener.clone();
            }
        });
        if let Some(listener) = ended {
            listener.finish(AttachEnd::Code(code));
        }
        done
    }
}

impl Runtime for Fake {
    fn probe(&self) -> Result<String> {
        self.request("probe", |_| {}).map(|()| "1".to_owned())
    }

    fn find_labelled(&self) -> Result<Vec<Labelled>> {
        self.request("find-labelled", |_| {})?;
        let state = self.state();
        let labelled = |kind, handle: &String, home: &String, whose: &ResourceOwner| Labelled {
            kind,
            handle: handle.clone(),
            id: handle.clone(),
            home_label: home.clone(),
            owner: whose.clone(),
        };
        let containers = state.containers.iter().map(|(handle, container)| {
            let kind = ResourceKind::Container;
            labelled(kind, handle, &container.home, &container.whose)
        });
        let mut found: Vec<Labelled> = containers.collect();
        let networks = state.networks.iter();
        found.extend(
            networks.map(|(handle, (home, whose))| {
                labelled(ResourceKind::Network, handle, home, whose)
            }),
        );
        Ok(found)
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn volumes(&self) -> Option<&dyn Volumes> {
        Some(self)
    }

    fn networks(&self) -> Option<&dyn Networks> {
        Some(self)
    }

    fn services(&self) -> Option<&dyn Services> {
        Some(self)
    }

    fn commands(&self) -> Option<&dyn Commands> {
        Some(self)
    }

    fn kept_output(&self) -> Option<&dyn KeptOutput> {
        self.state()
            .traits
            .keeps_output
            .then_some(self as &dyn KeptOutput)
    }

    fn session_services(&self) -> Option<&dyn SessionServices> {
        Some(self)
    }
}

impl Containers for Fake {
    fn create(&self, spec: &ContainerSpec) -> Result<()> {
        let call = format!("create {}", spec.handle);
        let whose = ResourceOwner::Run(spec.run_label.clone());
        let container = Container::new(&spec.home_label, whose, Inspected::Created);
        self.make(&call, &spec.handle, container)
    }

    fn save_workspace(&self, handle: &str, mut into: File) -> Result<()> {
        let there = |state: &State| state.containers.contains_key(handle);
        match self.asked(&format!("save-workspace {handle}")) {
            Answer::Fails(problem) => return Err(problem),
            _ if !there(&self.state()) => return Err(not_found()),
            _ => {}
        }
        into.write_all(b"a tar archive")
            .map_err(|error| RuntimeError::Refused(error.to_string()))
    }

    fn pre_run_failed(&self, handle: &str) -> Result<bool> {
        self.question(&format!("pre-run-failed {handle}"), |_| false)
    }

    fn start_attached(&self, spec: &ContainerSpec, _stdin: Option<OwnedFd>) -> Result<Attached> {
        self.start(&format!("start {}", spec.handle), &spec.handle)
    }

    fn restart_interrupted(&self, handle: &str, _has_services: bool) -> Result<Option<Attached>> {
        if !self.state().traits.starts_again {
            return Ok(None);
        }
        self.start(&format!("start-again {handle}"), handle)
            .map(Some)
    }

    fn inspect(&self, handles: &[&str]) -> Result<Vec<Inspected>> {
        match self.asked(&format!("inspect {}", handles.join(" "))) {
            Answer::Fails(problem) | Answer::DoneBut(problem) => Err(problem),
            Answer::Sees(state) => Ok(vec![state; handles.len()]),
            Answer::Nothing => Ok(Vec::new()),
            _ => {
                let state = self.state();
                let of = |handle: &&str| {
                    let found = state.containers.get(*handle);
                    found.map_or(Inspected::Missing, |container| container.state.clone())
                };
                Ok(handles.iter().map(of).collect())
            }
        }
    }

    fn inspect_is_cheap(&self) -> bool {
        self.state().traits.looks_are_cheap
    }

    fn is_at_start_gate(&self, handle: &str) -> Result<bool> {
        self.question(&format!("is-held-back {handle}"), |_| false)
    }

    fn start_limit(&self) -> Option<Duration> {
        self.state().traits.start_limit
    }

    fn stop(&self, handle: &str, grace: Duration) -> Result<()> {
        let call = format!("stop {handle} {}", grace.as_secs_f64());
        self.end(&call, handle, 143)
    }

    fn kill(&self, handle: &str) -> Result<()> {
        self.end(&format!("kill {handle}"), handle, 137)
    }

    fn remove(&self, handle: &str) -> Result<()> {
        let mut listener = None;
        let done = self.request(&format!("remove {handle}"), |state| {
            let gone = state.containers.remove(handle);
            listener = gone.and_then(|container| container.listener);
        });
        if let Some(listener) = listener {
            listener.finish(AttachEnd::Interrupted);
        }
        done
    }
}

impl KeptOutput for Fake {
    fn reattach(&self, handle: &str, kept: StreamBytes) -> Result<Attached> {
        let call = format!("reattach {handle} {} {}", kept.stdout, kept.stderr);
        if let Answer::Fails(problem) | Answer::DoneBut(problem) = self.asked(&call) {
            return Err(problem);
        }
        let mut state = self.state();
        let container = state.containers.get_mut(handle).ok_or_else(not_found)?;
        let listener = Listener::new();
        let rest = |bytes: &[u8], from: u64| bytes.get(from as usize..).unwrap_or(&[]).to_vec();
        listener.stdout.give(&rest(&container.stdout, kept.stdout));
        listener.stderr.give(&rest(&container.stderr, kept.stderr));
        match container.state {
            Inspected::Running { .. } => container.listener = Some(listener.clone()),
            _ => listener.finish(AttachEnd::Code(0)),
        }
        drop(state);
        self.note(&format!("attached {handle}"));
        Ok(listener.attached(self, handle))
    }
}

impl Images for Fake {
    fn pull_image(&self, image: &str, _going_on: &dyn Fn() -> bool) -> Result<()> {
        self.request(&format!("pull {image}"), |_| {})
    }

    fn has_image(&self, image: &str) -> Result<bool> {
        self.question(&format!("has-image {image}"), |_| true)
    }

    fn build_image(
        &self,
        build: &ImageBuild,
        _tell: &mut dyn FnMut(BuildEvent<'_>),
        _going_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        self.request(&format!("build {}", build.tag), |_| {})
    }
}

impl Volumes for Fake {
    fn make_volume(&self, volume: &EngineVolume) -> Result<()> {
        self.request(&format!("make-volume {}", volume.handle), |state| {
            let handle = volume.handle.clone();
            state.volumes.insert(handle, volume.clone());
        })
    }

    fn has_volume(&self, handle: &str) -> Result<bool> {
        self.question(&format!("has-volume {handle}"), |state| {
            state.volumes.contains_key(handle)
        })
    }

    fn find_volumes(&self) -> Result<Vec<EngineVolume>> {
        self.request("volumes", |_| {})?;
        Ok(self.state().volumes.values().cloned().collect())
    }

    fn remove_volume(&self, handle: &str) -> Result<()> {
        self.request(&format!("remove-volume {handle}"), |state| {
            state.volumes.remove(handle);
        })
    }
}

impl Networks for Fake {
    fn make_network(&self, network: &Network) -> Result<()> {
        self.request(&format!("make-network {}", network.handle), |state| {
            let labels = (network.home_label.clone(), network.owner.clone());
            state.networks.insert(network.handle.clone(), labels);
        })
    }

    fn has_network(&self, handle: &str) -> Result<bool> {
        self.question(&format!("has-network {handle}"), |state| {
            state.networks.contains_key(handle)
        })
    }

    fn remove_network(&self, handle: &str) -> Result<()> {
        self.request(&format!("remove-network {handle}"), |state| {
            state.networks.remove(handle);
        })
    }
}

impl Services for Fake {
    fn create_service(&self, spec: &ServiceSpec) -> Result<()> {
        let call = format!("create-service {}", spec.handle);
        let owner = spec.owner.clone();
        let container = Container::new(&spec.home_label, owner, Inspected::Created);
        self.make(&call, &spec.handle, container)
    }

    fn start_service(&self, handle: &str, _run: &str) -> Result<Attached> {
        self.start(&format!("start-service {handle}"), handle)
    }

    fn restart_interrupted_service(&self, handle: &str, _run: &str) -> Result<Option<Attached>> {
        self.restart_interrupted(handle, false)
    }
}

impl SessionServices for Fake {
    fn disconnect(&self, network: &str, container: &str) -> Result<()> {
        self.request(&format!("disconnect {network} {container}"), |_| {})
    }

    fn start_detached(&self, handle: &str) -> Result<()> {
        self.request(&format!("launch {handle}"), |state| {
            if let Some(container) = state.containers.get_mut(handle) {
                container.state = running();
            }
        })
    }

    fn show_log(&self, handle: &str, show: Option<ShowFn<'_>>) -> Result<()> {
        self.request(&format!("show-log {handle}"), |_| {})?;
        if let Some(show) = show {
            show(self.log_of(handle).0.as_bytes());
        }
        Ok(())
    }

    fn full_log(&self, handle: &str) -> Result<(String, String)> {
        self.request(&format!("full-log {handle}"), |_| {})?;
        Ok(self.log_of(handle))
    }

    fn read_log(&self, handle: &str, _last: usize, tell: &mut dyn FnMut(&str)) -> Result<()> {
        self.request(&format!("log {handle}"), |_| {})?;
        self.log_of(handle).0.lines().for_each(tell);
        Ok(())
    }
}

impl Commands for Fake {
    fn exec(
        &self,
        spec: &CommandSpec<'_>,
        _going_on: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Option<u8>> {
        match self.asked(&format!("exec {} {}", spec.handle, spec.command.join(" "))) {
            Answer::Fails(problem) | Answer::DoneBut(problem) => Err(problem),
            Answer::Exits(code, words) => {
                words.lines().for_each(tell);
                Ok(code)
            }
            _ => match self.state().containers.get(spec.handle) {
                Some(container) if matches!(container.state, Inspected::Running { .. }) => {
                    Ok(Some(0))
                }
                _ => Ok(Some(1)),
            },
        }
    }

    fn exec_attached(&self, spec: &ExecSpec) -> Result<Attached> {
        self.start(&format!("exec-attached {}", spec.handle), &spec.handle)
    }

    fn kill_exec(&self, handle: &str, marker: &str, signal: &str) -> Result<()> {
        self.request(&format!("kill-exec {handle} {marker} {signal}"), |_| {})
    }

    fn refusal(&self, code: u8, words: &[u8]) -> Refusal {
        Refusal {
            reason: String::from_utf8_lossy(words).into_owned(),
            code: matches!(code, 126 | 127).then_some(code),
        }
    }
}

/// Whether a script or a hook is for a call.
fn is_for(name: &str, call: &str) -> bool {
    let rest = call.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engines that the records of a test name.
static NAMED: Mutex<BTreeMap<String, Fake>> = Mutex::new(BTreeMap::new());

impl Fake {
    /// Makes it the engine of records that name it like this.
    pub(crate) fn name(&self, name: &str) {
        lock(&NAMED).insert(name.to_owned(), self.clone());
    }
}

/// The engine of that name, if a test has named one.
pub(super) fn named(name: &str) -> Option<Box<dyn Runtime>> {
    lock(&NAMED).get(name).map(Fake::driver)
}

/// The handles of a list, without their order.
pub(crate) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
