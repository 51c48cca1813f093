//! Captures the workload's output: first to the log, then to the client.
//!
//! One thread per stream reads, so the order within a stream is exact. If a stream breaks, the next attachment
//! continues at the first byte that is not in the log.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::OutputListener;
use super::client_stream::{ClientStream, StreamFailure};
use crate::failpoint::unit_scaled;
use crate::runtime::{AttachEnd, Attached, EngineClient};
use crate::store::{LogWriter, Stream, StreamBytes, StreamReader, Timestamp};

/// Time after which the log gets an unfinished line.
const IDLE_LINE_DELAY: Duration = Duration::from_millis(500);

/// A message from a reading thread to the supervisor.
pub(crate) enum OutputEvent {
    /// The workload has written output.
    Output,
    /// The client's stdout or stderr accepts no more data; the reason, unless it was closed.
    OutputBroken(Stream, Option<String>),
}

/// The output of one container.
pub(crate) struct Capture {
    log: Mutex<LogWriter>,
    stdout: Channel,
    stderr: Channel,
    flow: Mutex<CaptureState>,
    changed: Condvar,
    /// Whether backpressure from the client is over.
    backpressure_stopped: AtomicBool,
    attachment: Mutex<Option<Box<dyn EngineClient>>>,
    /// The error that ended a stream early.
    failure: Mutex<Option<String>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One of the two streams.
struct Channel {
    stream: Stream,
    /// The number of the workload's bytes in the log, including an unfinished line.
    kept: AtomicU64,
    outlet: Mutex<Option<ClientStream>>,
    /// The log, opened at its end for a client that is far behind.
    rest: Mutex<Option<StreamReader>>,
}

#[derive(Default)]
struct CaptureState {
    /// The number of streams that are being read.
    reading: usize,
    /// The number of the current attachment; a thread of an earlier one may never end.
    attachment: u64,
    /// Whether the waiter was woken.
    woken: bool,
    gate: OutputGate,
}

/// Whether output may go to the client.
#[derive(Clone, Copy, Default, PartialEq)]
enum OutputGate {
    /// Not before the client has announced the run, or continues after Ctrl-Z.
    #[default]
    Waiting,
    Open,
    /// There is no client, or it is gone.
    Closed,
}

impl Capture {
    /// `kept`: what the log contains already. `streaming`: whether there is a client to copy to.
    pub(crate) fn new(log: LogWriter, kept: StreamBytes, streaming: bool) -> Capture {
        let channel = |stream| Channel {
            stream,
            kept: AtomicU64::new(kept.of(stream)),
            outlet: Mutex::new(streaming.then(|| ClientStream::of(stream))),
            rest: Mutex::new(None),
        };
        Capture {
            log: Mutex::new(log),
            stdout: channel(Stream::Stdout),
            stderr: channel(Stream::Stderr),
            flow: Mutex::new(CaptureState {
                gate: if streaming {
                    OutputGate::Waiting
                } else {
                    OutputGate::Closed
                },
                ..CaptureState::default()
            }),
            changed: Condvar::new(),
            backpressure_stopped: AtomicBool::new(false),
            attachment: Mutex::new(None),
            failure: Mutex::new(None),
            threads: Mutex::new(Vec::new()),
        }
    }

    /// The number of bytes of each stream in the log: the position at which reading continues.
    pub(crate) fn kept(&self) -> StreamBytes {
        StreamBytes {
            stdout: self.stdout.kept.load(Ordering::Acquire),
            stderr: self.stderr.kept.load(Ordering::Acquire),
        }
    }

    /// Writes unfinished lines to the log if no more output comes.
    pub(crate) fn write_idle_lines(&self) {
        lock(&self.log).write_idle_lines(unit_scaled(IDLE_LINE_DELAY));
    }

    /// The time of the last entry of an earlier supervisor; `None`: there is no entry.
    pub(crate) fn last_kept(&self) -> Option<Timestamp> {
        lock(&self.log).kept_until()
    }

    /// Starts reading an attachment.
    pub(crate) fn attach(self: &Arc<Self>, attached: Attached, tell: OutputListener) {
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
            let (capture, tell) = (Arc::clone(self), Arc::clone(&tell));
            let thread = std::thread::spawn(move || {
                capture.read(stream, source, &*tell);
                capture.ended(number);
                capture.flush(capture.channel(stream), &*tell);
            });
            lock(&self.threads).push(thread);
        }
    }

    fn read(&self, stream: Stream, mut source: Box<dyn Read + Send>, tell: &dyn Fn(OutputEvent)) {
        let channel = self.channel(stream);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    *lock(&self.failure) = Some(crate::error::os_error_text(&error));
                    break;
                }
            };
            tell(OutputEvent::Output);
            lock(&self.log).append(stream, &buffer[..count]);
            channel.kept.fetch_add(count as u64, Ordering::Release);
            self.copy(channel, &buffer[..count], tell);
        }
    }

    /// Records the end of one stream of an attachment.
    fn ended(&self, attachment: u64) {
        let mut flow = self.flow();
        if flow.attachment == attachment {
            flow.reading -= 1;
        }
        self.changed.notify_all();
    }

    /// Accounts for bytes that are lost.
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

    fn copy(&self, channel: &Channel, bytes: &[u8], tell: &dyn Fn(OutputEvent)) {
        let gate = self.wait_for_gate();
        if let Some(outlet) = lock(&channel.outlet).as_mut() {
            match gate {
                OutputGate::Waiting => return outlet.queue(bytes),
                OutputGate::Open => report(channel.stream, outlet.write(bytes), tell),
                OutputGate::Closed => return outlet.close(),
            }
        }
        self.deliver(channel, &|| !self.is_backpressure_stopped(), tell);
    }

    /// Sends the rest to the client after the end, as long as the client exists.
    fn flush(&self, channel: &Channel, tell: &dyn Fn(OutputEvent)) {
        while self.flow().gate == OutputGate::Waiting {
            self.wait_for_change();
        }
        self.deliver(channel, &|| true, tell);
    }

    /// Writes the buffered output while there is a client and `must_wait` returns true. It waits without the lock, so
    /// that a thread with more output does not wait for the client's reader.
    fn deliver(&self, channel: &Channel, must_wait: &dyn Fn() -> bool, tell: &dyn Fn(OutputEvent)) {
        let awaits = || {
            lock(&channel.outlet)
                .as_ref()
                .and_then(ClientStream::wait_descriptor)
        };
        let is_cut = || {
            lock(&channel.outlet)
                .as_ref()
                .is_some_and(ClientStream::is_cut)
        };
        while let Some(sink) = awaits() {
            // A client that gets the rest from the log must not delay a thread that has more output.
            let is_ready = match must_wait() || !is_cut() {
                true => sink.wait(),
                false => sink.is_writable(),
            };
            if is_ready {
                if let Some(outlet) = lock(&channel.outlet).as_mut() {
                    report(channel.stream, outlet.push(), tell);
                }
            } else if !must_wait() || self.flow().gate != OutputGate::Open {
                return;
            }
        }
    }

    /// Lets the client read from the log what exceeded the buffer.
    fn deliver_rest(&self, channel: &Channel, tell: &dyn Fn(OutputEvent)) {
        let Some(mut log) = lock(&channel.rest).take() else {
            return;
        };
        let Some(from) = lock(&channel.outlet)
            .as_mut()
            .and_then(ClientStream::resume)
        else {
            return;
        };
        let mut given = from;
        log.skip(from);
        while let Ok(Some(bytes)) = log.next_bytes() {
            given += bytes.len() as u64;
            match lock(&channel.outlet).as_mut() {
                Some(outlet) if outlet.is_open() => {
                    report(channel.stream, outlet.write(&bytes), tell)
                }
                _ => return,
            }
            self.deliver(channel, &|| true, tell);
        }
        let missing = channel.kept.load(Ordering::Acquire).saturating_sub(given);
        if missing > 0 {
            let why =
                format!("{missing} bytes came too fast for the client and are missing in the log");
            tell(OutputEvent::OutputBroken(channel.stream, Some(why)));
        }
    }

    fn wait_for_change(&self) {
        let flow = self.flow();
        if flow.gate == OutputGate::Waiting {
            drop(self.changed.wait(flow));
        }
    }

    /// Whether output may flow; waits until that is known or the run ends.
    fn wait_for_gate(&self) -> OutputGate {
        let mut flow = self.flow();
        while flow.gate == OutputGate::Waiting && !self.is_backpressure_stopped() {
            flow = self
                .changed
                .wait(flow)
                .unwrap_or_else(PoisonError::into_inner);
        }
        flow.gate
    }

    /// Records that the client has announced the run.
    pub(crate) fn open_gate(&self) {
        let mut flow = self.flow();
        if flow.gate == OutputGate::Waiting {
            flow.gate = OutputGate::Open;
        }
        self.changed.notify_all();
    }

    /// Records that the client is suspended. Output waits as for a slow reader.
    pub(crate) fn pause_gate(&self) {
        let mut flow = self.flow();
        if flow.gate == OutputGate::Open {
            flow.gate = OutputGate::Waiting;
        }
    }

    /// Records that the client is gone.
    pub(crate) fn close_gate(&self) {
        self.flow().gate = OutputGate::Closed;
        self.changed.notify_all();
    }

    /// Closes the client's stdout and stderr, so that their readers see the end now and not when the run ends.
    pub(crate) fn close_client_streams(&self) {
        *lock(&self.stdout.outlet) = None;
        *lock(&self.stderr.outlet) = None;
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
    }

    /// Makes the waiter inspect the container at once.
    pub(crate) fn wake_waiter(&self) {
        self.flow().woken = true;
        self.changed.notify_all();
    }

    /// Waits until both streams have ended, the waiter is woken, or the timeout expires. True: both have ended.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut flow = self.flow();
        while flow.reading > 0 && !flow.woken {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(flow, left);
            flow = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        flow.woken = false;
        flow.reading == 0
    }

    /// Stops the backpressure when the run ends: a client that does not read delays nothing from now on.
    pub(crate) fn stop_backpressure(&self) {
        self.backpressure_stopped.store(true, Ordering::Release);
        drop(self.flow());
        self.changed.notify_all();
    }

    /// Waits until both streams have ended, or ends them after `timeout`. The workload has exited, so no new output
    /// comes. Returns whether the streams ended by themselves.
    pub(crate) fn drain(&self, timeout: Duration) -> bool {
        self.stop_backpressure();
        let deadline = Instant::now() + timeout;
        while !self.wait(deadline.saturating_duration_since(Instant::now())) {
            if Instant::now() >= deadline {
                self.detach();
                self.wait(unit_scaled(Duration::from_secs(5)));
                return false;
            }
        }
        true
    }

    /// Ends the attachment, whatever the container does.
    pub(crate) fn detach(&self) {
        if let Some(client) = lock(&self.attachment).as_ref() {
            client.detach();
        }
    }

    /// Whether an attachment ever existed.
    pub(crate) fn was_attached(&self) -> bool {
        self.flow().attachment > 0
    }

    /// The error that ended a stream early, if there was one.
    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// The end of an attachment whose streams have ended; consumed by the call. `None`: there is no such attachment.
    pub(crate) fn attachment_end(&self) -> Option<AttachEnd> {
        let client = lock(&self.attachment).take();
        client.map(|client| client.ended())
    }

    pub(crate) fn note(&self, text: &str) {
        lock(&self.log).note(text);
    }

    /// Since when and why the log is incomplete.
    pub(crate) fn outage(&self) -> Option<(Timestamp, String)> {
        lock(&self.log).first_outage().cloned()
    }

    /// Syncs the log to disk and opens it for a client that is far behind: the run may be removed before the client
    /// has read everything.
    pub(crate) fn close_log(&self) {
        let mut log = lock(&self.log);
        log.close();
        for channel in [&self.stdout, &self.stderr] {
            if lock(&channel.outlet)
                .as_ref()
                .is_some_and(ClientStream::is_cut)
            {
                *lock(&channel.rest) = log.stream(channel.stream).ok();
            }
        }
    }

    /// Waits until the client has received everything or is gone.
    pub(crate) fn join(&self, tell: &dyn Fn(OutputEvent)) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            let _ = thread.join();
        }
        for channel in [&self.stdout, &self.stderr] {
            self.deliver_rest(channel, tell);
        }
    }

    fn is_backpressure_stopped(&self) -> bool {
        self.backpressure_stopped.load(Ordering::Acquire)
    }

    fn flow(&self) -> MutexGuard<'_, CaptureState> {
        lock(&self.flow)
    }
}

fn report(stream: Stream, result: Result<(), StreamFailure>, tell: &dyn Fn(OutputEvent)) {
    match result {
        Ok(()) => {}
        Err(StreamFailure::Closed) => tell(OutputEvent::OutputBroken(stream, None)),
        Err(StreamFailure::Failed(why)) => tell(OutputEvent::OutputBroken(stream, Some(why))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
