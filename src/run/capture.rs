//! Keeping the workload's output: first in the log, then to the client.
//!
//! One thread per stream reads; order within a stream is exact. Capture can be attached again
//! where a stream broke, and then goes on at the very byte.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::outlet::{Broken, Outlet};
use crate::runtime::{AttachEnd, Attached, Client};
use crate::store::{LogWriter, Stream, StreamBytes, Timestamp};

/// What a reading thread tells the supervisor.
pub(super) enum Event {
    /// The workload has written something.
    Output,
    /// The client's end takes no more; why, unless it was closed.
    OutputBroken(Stream, Option<String>),
}

/// The output of one run.
pub(super) struct Capture {
    log: Mutex<LogWriter>,
    stdout: Channel,
    stderr: Channel,
    flow: Mutex<Flow>,
    changed: Condvar,
    exited: AtomicBool,
    attachment: Mutex<Option<Box<dyn Client>>>,
    /// Why a stream could not be read to its end.
    failure: Mutex<Option<String>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One of the two streams.
struct Channel {
    stream: Stream,
    /// The workload's bytes that went to the log, including those of an unfinished line.
    kept: AtomicU64,
    outlet: Mutex<Option<Outlet>>,
}

#[derive(Default)]
struct Flow {
    /// How many streams are being read.
    reading: usize,
    /// Which attachment that is about; an earlier one may have a thread that does not end.
    attachment: u64,
    /// Whether the waiter is to look at once.
    poked: bool,
    gate: Gate,
}

/// Whether output may go to the client.
#[derive(Clone, Copy, Default, PartialEq)]
enum Gate {
    /// Not before the client has announced the run.
    #[default]
    Waiting,
    Open,
    /// There is no client (any more).
    Closed,
}

impl Capture {
    /// `kept`: what the log holds already. `streaming`: whether there is a client to copy to.
    pub(super) fn new(log: LogWriter, kept: StreamBytes, streaming: bool) -> Capture {
        let channel = |stream| Channel {
            stream,
            kept: AtomicU64::new(kept.of(stream)),
            outlet: Mutex::new(streaming.then(|| Outlet::of(stream))),
        };
        Capture {
            log: Mutex::new(log),
            stdout: channel(Stream::Stdout),
            stderr: channel(Stream::Stderr),
            flow: Mutex::new(Flow {
                gate: if streaming {
                    Gate::Waiting
                } else {
                    Gate::Closed
                },
                ..Flow::default()
            }),
            changed: Condvar::new(),
            exited: AtomicBool::new(false),
            attachment: Mutex::new(None),
            failure: Mutex::new(None),
            threads: Mutex::new(Vec::new()),
        }
    }

    /// How much of each stream is kept: where to go on reading.
    pub(super) fn kept(&self) -> StreamBytes {
        StreamBytes {
            stdout: self.stdout.kept.load(Ordering::Acquire),
            stderr: self.stderr.kept.load(Ordering::Acquire),
        }
    }

    /// Starts reading an attachment.
    pub(super) fn attach<F>(self: &Arc<Self>, attached: Attached, tell: F)
    where
        F: Fn(Event) + Send + Sync + Clone + 'static,
    {
        let number = {
            let mut flow = self.flow();
            flow.reading = 2;
            flow.attachment += 1;
            flow.attachment
        };
        *lock(&self.attachment) = Some(attached.client);
        self.skip(attached.lost);
        let streams = [
            (Stream::Stdout, attached.stdout),
            (Stream::Stderr, attached.stderr),
        ];
        for (stream, source) in streams {
            let (capture, tell) = (Arc::clone(self), tell.clone());
            let thread = std::thread::spawn(move || {
                capture.read(stream, source, &tell);
                capture.ended(number);
                capture.flush(capture.channel(stream), &tell);
            });
            lock(&self.threads).push(thread);
        }
    }

    fn read(&self, stream: Stream, mut source: Box<dyn Read + Send>, tell: &dyn Fn(Event)) {
        let channel = self.channel(stream);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    *lock(&self.failure) = Some(crate::error::reason(&error));
                    break;
                }
            };
            tell(Event::Output);
            lock(&self.log).append(stream, &buffer[..count]);
            channel.kept.fetch_add(count as u64, Ordering::Release);
            self.copy(channel, &buffer[..count], tell);
        }
    }

    /// One of the streams of an attachment has ended.
    fn ended(&self, attachment: u64) {
        let mut flow = self.flow();
        if flow.attachment == attachment {
            flow.reading -= 1;
        }
        self.changed.notify_all();
    }

    /// Accounts for bytes that nobody has any more.
    fn skip(&self, lost: StreamBytes) {
        if lost == StreamBytes::default() {
            return;
        }
        let text = format!(
            "{} bytes of stdout and {} bytes of stderr are missing: they could not be written",
            lost.stdout, lost.stderr
        );
        lock(&self.log).note_lost(&text, lost);
        self.stdout.kept.fetch_add(lost.stdout, Ordering::Release);
        self.stderr.kept.fetch_add(lost.stderr, Ordering::Release);
        *lock(&self.failure) = Some(text);
    }

    fn channel(&self, stream: Stream) -> &Channel {
        match stream {
            Stream::Stderr => &self.stderr,
            _ => &self.stdout,
        }
    }

    fn copy(&self, channel: &Channel, bytes: &[u8], tell: &dyn Fn(Event)) {
        let gate = self.wait_for_gate();
        let mut outlet = lock(&channel.outlet);
        let Some(outlet) = outlet.as_mut() else {
            return;
        };
        match gate {
            Gate::Waiting => return outlet.keep(bytes),
            Gate::Open => {}
            Gate::Closed => return outlet.close(),
        }
        let must_wait = || !self.has_exited() && self.flow().gate == Gate::Open;
        report(channel.stream, outlet.write(bytes, &must_wait), tell);
    }

    /// After the end: the client gets the rest, for as long as it is there.
    fn flush(&self, channel: &Channel, tell: &dyn Fn(Event)) {
        while self.flow().gate == Gate::Waiting {
            self.wait_for_change();
        }
        let mut outlet = lock(&channel.outlet);
        if let Some(outlet) = outlet.as_mut() {
            let must_wait = || self.flow().gate == Gate::Open;
            report(channel.stream, outlet.flush(&must_wait), tell);
        }
    }

    fn wait_for_change(&self) {
        let flow = self.flow();
        if flow.gate == Gate::Waiting {
            drop(self.changed.wait(flow));
        }
    }

    /// Whether output may flow: known soon, or when the workload has exited.
    fn wait_for_gate(&self) -> Gate {
        let mut flow = self.flow();
        while flow.gate == Gate::Waiting && !self.has_exited() {
            flow = self
                .changed
                .wait(flow)
                .unwrap_or_else(PoisonError::into_inner);
        }
        flow.gate
    }

    /// The client has announced the run.
    pub(super) fn open_gate(&self) {
        let mut flow = self.flow();
        if flow.gate == Gate::Waiting {
            flow.gate = Gate::Open;
        }
        self.changed.notify_all();
    }

    /// The client is gone.
    pub(super) fn close_gate(&self) {
        self.flow().gate = Gate::Closed;
        self.changed.notify_all();
    }

    /// Lets go of the client's stdout and stderr: whoever reads them sees their end now, and not when
    /// the run ends.
    pub(super) fn drop_outlets(&self) {
        *lock(&self.stdout.outlet) = None;
        *lock(&self.stderr.outlet) = None;
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
    }

    /// Makes the waiter look at once.
    pub(super) fn poke(&self) {
        self.flow().poked = true;
        self.changed.notify_all();
    }

    /// Waits until both streams have ended, somebody pokes, or time is up. True: they have ended.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut flow = self.flow();
        while flow.reading > 0 && !flow.poked {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(flow, left);
            flow = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        flow.poked = false;
        flow.reading == 0
    }

    /// Waits until both streams have ended, or ends them after `patience`. The workload has exited,
    /// so nothing new comes. Says whether they ended by themselves.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        self.exited.store(true, Ordering::Release);
        drop(self.flow());
        self.changed.notify_all();
        let deadline = Instant::now() + patience;
        while !self.wait(deadline.saturating_duration_since(Instant::now())) {
            if Instant::now() >= deadline {
                if let Some(client) = lock(&self.attachment).as_ref() {
                    client.detach();
                }
                self.wait(Duration::from_secs(5));
                return false;
            }
        }
        true
    }

    /// Whether anything was ever attached.
    pub(super) fn was_attached(&self) -> bool {
        self.flow().attachment > 0
    }

    /// Why a stream could not be read to its end, if so.
    pub(super) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// How an attachment ended whose streams have ended. Asked once; `None`: there is none (any more).
    pub(super) fn attachment_end(&self) -> Option<AttachEnd> {
        let client = lock(&self.attachment).take();
        client.map(|client| client.ended())
    }

    pub(super) fn note(&self, text: &str) {
        lock(&self.log).note(text);
    }

    /// Since when, and why, the log is not complete.
    pub(super) fn outage(&self) -> Option<(Timestamp, String)> {
        lock(&self.log).first_outage().cloned()
    }

    /// Puts the log on disk.
    pub(super) fn close_log(&self) {
        lock(&self.log).close();
    }

    /// Waits until the client has got everything, or is gone.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn has_exited(&self) -> bool {
        self.exited.load(Ordering::Acquire)
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        lock(&self.flow)
    }
}

fn report(stream: Stream, result: Result<(), Broken>, tell: &dyn Fn(Event)) {
    match result {
        Ok(()) => {}
        Err(Broken::Closed) => tell(Event::OutputBroken(stream, None)),
        Err(Broken::Failed(why)) => tell(Event::OutputBroken(stream, Some(why))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
