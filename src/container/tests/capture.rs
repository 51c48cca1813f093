//! Keeping the output: attachments that follow each other, ends that do not come, and a log that cannot be written.

use std::io::{self, Read};

use super::*;
use crate::runtime::fake::{Answer, exited, running};
use crate::runtime::{EngineClient, Runtime};

const SOON: Duration = Duration::from_millis(1);

struct Silent;

impl EngineClient for Silent {
    fn detach(&self) {}

    fn has_ended(&self) -> bool {
        true
    }

    fn ended(&self) -> AttachEnd {
        AttachEnd::Complete
    }
}

/// A stream that breaks.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    }
}

fn attached(stdout: impl Read + Send + 'static, lost: StreamBytes) -> Attached {
    Attached {
        stdout: Box::new(stdout),
        stderr: Box::new(io::empty()),
        lost,
        client: Box::new(Silent),
        terminal: None,
    }
}

#[test]
fn streams_that_have_ended_need_no_patience() {
    let scene = Scene::started();
    scene.print("out\n");
    scene.detach(AttachEnd::Code(0));
    assert!(scene.subject.capture.drain(NEVER));
    assert_eq!(scene.fake.count("detach"), 0);
}

#[test]
fn streams_that_do_not_end_are_ended() {
    let scene = Scene::started();
    assert!(!scene.subject.capture.drain(SOON));
    assert_eq!(scene.fake.count("detach"), 1);
    assert_eq!(
        scene.subject.capture.attachment_end(),
        Some(AttachEnd::Interrupted)
    );
}

#[test]
fn who_waits_is_woken_once_by_a_poke() {
    let scene = Scene::started();
    let capture = &scene.subject.capture;
    capture.wake_waiter();
    assert!(!capture.wait(NEVER), "the streams go on");
    assert!(!capture.wait(SOON), "and the poke is used up");
}

#[test]
fn a_poke_between_two_waits_is_not_lost() {
    let scene = Scene::started();
    let capture = Arc::clone(&scene.subject.capture);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(capture.wait(NEVER)));
    scene.subject.capture.wake_waiter();
    assert_eq!(told.recv_timeout(NEVER), Ok(false));
}

#[test]
fn how_an_attachment_ended_is_told_once() {
    let scene = Scene::started();
    scene.detach(AttachEnd::Code(3));
    let capture = &scene.subject.capture;
    assert_eq!(capture.attachment_end(), Some(AttachEnd::Code(3)));
    assert_eq!(capture.attachment_end(), None);
}

/// A thread that still reads the one before must not end the next.
// new order
#[test]
fn an_earlier_attachment_that_ends_late_does_not_end_the_next() {
    let scene = Scene::started();
    let capture = &scene.subject.capture;
    // The engine forgets the first listener; its streams stay open.
    let first = scene.fake.client(HANDLE);
    let next = scene
        .fake
        .kept_output()
        .unwrap()
        .reattach(HANDLE, capture.kept())
        .unwrap();
    scene.attach(next);
    first.finish(AttachEnd::Interrupted);
    assert!(
        !capture.wait(Duration::from_millis(30)),
        "the next one goes on"
    );
    scene.print("out\n");
    scene.exit(0);
    assert!(capture.drain(NEVER));
    assert_eq!(scene.log(Stream::Stdout), "out\n");
}

#[test]
fn bytes_of_an_unfinished_line_count_as_kept() {
    let scene = Scene::started();
    scene.print("no newline");
    scene.detach(AttachEnd::Complete);
    assert!(scene.subject.capture.drain(NEVER));
    assert_eq!(scene.subject.capture.kept(), kept(10, 0));
    assert_eq!(scene.log(Stream::Stdout), "", "it may go on");
    scene.subject.capture.close_log();
    assert_eq!(scene.log(Stream::Stdout), "no newline");
}

#[test]
fn bytes_that_nobody_has_any_more_are_accounted_for() {
    let scene = Scene::new();
    scene.attach(attached(&b"rest\n"[..], kept(100, 20)));
    let capture = &scene.subject.capture;
    assert!(capture.drain(NEVER));
    assert_eq!(capture.kept(), kept(105, 20));
    let why = capture.failure().unwrap();
    assert!(why.starts_with("100 bytes of stdout and 20 bytes of stderr"));
    assert!(scene.log(Stream::Moat).contains("100 bytes of stdout"));
}

#[test]
fn a_stream_that_breaks_is_a_reason() {
    let scene = Scene::new();
    scene.attach(attached(Broken, StreamBytes::default()));
    assert!(scene.subject.capture.drain(NEVER));
    assert!(scene.subject.capture.failure().is_some());
}

/// A stream that breaks is not the end of the container, and is told at the end.
// new order
#[test]
fn a_stream_that_breaks_while_the_container_runs_is_said_to_have_a_gap() {
    let scene = Scene::new();
    scene.fake.put(HANDLE, running());
    scene.attach(attached(Broken, StreamBytes::default()));
    let told = scene.watch();
    scene.fake.wait_calls("attached", 1);
    scene.print("after\n");
    scene.fake.exit(HANDLE, 0);
    let ended = scene.wait(&told);
    assert_eq!(ended.exit.code, Some(0));
    assert!(ended.why().is_some());
    assert_eq!(scene.log(Stream::Stdout), "after\n");
}

/// The log's file takes nothing any more, as on a full disk.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_holds_nobody_up_and_is_counted() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::os::fd::AsRawFd;
    let full = memfd_create("log", MemfdFlags::ALLOW_SEALING).unwrap();
    let path = std::path::PathBuf::from(format!("/proc/self/fd/{}", full.as_raw_fd()));
    let (log, none) = LogWriter::open(&path).unwrap();
    fcntl_add_seals(&full, SealFlags::GROW).unwrap();
    let capture = Arc::new(Capture::new(log, none, false));
    capture.attach(
        attached(&b"out\n"[..], StreamBytes::default()),
        Arc::new(|_| {}),
    );
    assert!(capture.drain(NEVER));
    capture.close_log();
    assert_eq!(capture.kept(), kept(4, 0), "nobody reads it again");
    assert!(capture.outage().is_some());
}

#[test]
fn a_container_that_was_never_listened_to_was_not() {
    let scene = Scene::new();
    assert!(!scene.subject.capture.was_attached());
    assert!(
        scene.subject.capture.wait(NEVER),
        "there is no stream to wait for"
    );
    scene.start();
    assert!(scene.subject.capture.was_attached());
}

/// The end of one stream is not the end of both.
// new order
#[test]
fn a_stream_that_is_closed_early_leaves_the_other_one() {
    let scene = Scene::started();
    scene.fake.close_stream(HANDLE, Stream::Stdout);
    assert!(!scene.subject.capture.wait(Duration::from_millis(20)));
    scene.fake.print(HANDLE, Stream::Stderr, "err\n");
    scene.fake.script("inspect", [Answer::Sees(running())]);
    scene.fake.set(HANDLE, exited(0));
    scene.detach(AttachEnd::Code(0));
    let ended = scene.end();
    assert_eq!(
        (ended.exit.code, scene.log(Stream::Stderr)),
        (Some(0), "err\n".to_owned())
    );
}
