//! What client and supervisor say to each other, byte for byte.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use super::super::protocol::{FromClient, StartOrder, receive, receive_fds, send, send_fds};
use super::*;
use crate::store::{RunEnd, RunId, RunName};
use crate::term::pty::Size;

const WIDE: Size = Size {
    rows: 0x0102,
    columns: 0x0304,
};

#[test]
fn each_word_of_a_client_has_its_bytes() {
    for (word, bytes) in [
        (FromClient::Announced, &b"!"[..]),
        (FromClient::Paused, b"z"),
        (FromClient::Restored, b"r"),
        (FromClient::Size(WIDE), b"s\x01\x02\x03\x04"),
    ] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        word.write(&ours).unwrap();
        drop(ours);
        let mut written = Vec::new();
        theirs.read_to_end(&mut written).unwrap();
        assert_eq!(written, bytes);
        let mut reader = bytes;
        assert_eq!(FromClient::read(&mut reader), Some(word));
        assert_eq!(FromClient::read(&mut reader), None, "and then it is gone");
    }
}

#[test]
fn words_that_follow_each_other_are_told_apart() {
    let mut reader = &b"!s\0\x18\0\x50s\x01\0\x02\0r"[..];
    let mut words = Vec::new();
    while let Some(word) = FromClient::read(&mut reader) {
        words.push(word);
    }
    let small = Size {
        rows: 24,
        columns: 80,
    };
    let large = Size {
        rows: 256,
        columns: 512,
    };
    assert_eq!(
        words,
        [
            FromClient::Announced,
            FromClient::Size(small),
            FromClient::Size(large),
            FromClient::Restored
        ]
    );
}

#[test]
fn a_size_that_is_cut_off_is_the_end_of_the_client() {
    for length in 0..5 {
        let mut reader = &b"s\x01\x02\x03\x04"[..length];
        assert_eq!(FromClient::read(&mut reader), None);
    }
}

/// Byte for byte as an older or a newer supervisor says it.
#[test]
fn each_word_of_a_supervisor_is_a_line_of_json() {
    let id = || RunId::parse("run_0123456789ab").unwrap();
    let ended = RunEnd {
        state: RunState::Failed,
        reason: Some(EndReason::Exited),
        exit_status: 3,
    };
    for (word, line) in [
        (
            ToClient::Reserved { id: id() },
            r#"{"reserved":{"id":"run_0123456789ab"}}"#,
        ),
        (
            ToClient::Notice {
                text: "a\nb".to_owned(),
            },
            r#"{"notice":{"text":"a\nb"}}"#,
        ),
        (
            ToClient::Progress {
                item: "db".to_owned(),
                text: "up".to_owned(),
                is_new_step: true,
            },
            r#"{"progress":{"item":"db","text":"up","is_new_step":true}}"#,
        ),
        (
            ToClient::Started {
                id: id(),
                name: RunName::parse("web").unwrap(),
            },
            r#"{"started":{"id":"run_0123456789ab","name":"web"}}"#,
        ),
        (
            ToClient::OutputClosed {
                stream: "stdout".to_owned(),
            },
            r#"{"output-closed":{"stream":"stdout"}}"#,
        ),
        (
            ToClient::OutputFailed {
                stream: "stderr".to_owned(),
                why: "full".to_owned(),
            },
            r#"{"output-failed":{"stream":"stderr","why":"full"}}"#,
        ),
        (
            ToClient::Failed {
                kind: "image".to_owned(),
                message: "no".to_owned(),
                hint: None,
                causes: vec!["why".to_owned()],
            },
            r#"{"failed":{"kind":"image","message":"no","hint":null,"causes":["why"]}}"#,
        ),
        (
            ToClient::Finished {
                ended,
                log_missing: None,
                error: None,
                left_behind: true,
            },
            r#"{"finished":{"ended":{"state":"failed","reason":"exited","exit_status":3},"log_missing":null,"error":null,"left_behind":true}}"#,
        ),
    ] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&ours, &word).unwrap();
        drop(ours);
        let mut reader = BufReader::new(theirs);
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        assert_eq!(written, format!("{line}\n"));
        let again: ToClient = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), line);
    }
}

#[test]
fn one_that_is_gone_says_nothing_and_no_nonsense() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    let mut reader = BufReader::new(theirs);
    assert!(receive::<ToClient>(&mut reader).unwrap().is_none());
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"{\"noti").unwrap();
    drop(ours);
    let mut reader = BufReader::new(theirs);
    assert!(
        receive::<ToClient>(&mut reader).is_err(),
        "half a word is none"
    );
}

#[test]
fn a_word_that_comes_in_pieces_is_one() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let writer = std::thread::spawn(move || {
        for byte in b"{\"notice\":{\"text\":\"x\"}}\n" {
            ours.write_all(&[*byte]).unwrap();
        }
    });
    let mut reader = BufReader::new(theirs);
    let word = receive::<ToClient>(&mut reader).unwrap();
    assert!(matches!(word, Some(ToClient::Notice { text }) if text == "x"));
    writer.join().unwrap();
}

/// The values travel beside the plan, and come back to their names, whatever the order.
#[test]
fn values_travel_and_are_in_no_plan() {
    use crate::plan::Variable;
    let rig = Rig::new();
    let mut plan = starting::plan(&rig, &["db"]);
    plan.env = ["A", "B"]
        .map(|name| Variable::new(name, &format!("value of {name}")))
        .into();
    plan.services[0].env = vec![Variable::new("A", "of the service")];
    assert!(!format!("{plan:?}").contains("value of"));
    let mut order = serde_json::to_value(StartOrder::new(plan, true)).unwrap();
    assert_eq!(order["plan"]["env"], serde_json::json!(["A", "B"]));
    let values = order["values"].as_array_mut().unwrap();
    assert_eq!(values.len(), 3);
    assert_eq!(values[2]["to"], serde_json::json!({"service": "db"}));
    values.reverse();
    let received: StartOrder = serde_json::from_value(order.clone()).unwrap();
    assert!(received.stream);
    let plan = received.into_plan().unwrap();
    let values: Vec<&str> = plan.env.iter().map(|it| it.value.expose()).collect();
    assert_eq!(values, ["value of A", "value of B"]);
    assert_eq!(plan.services[0].env[0].value.expose(), "of the service");

    order["values"][0]["to"] = serde_json::json!({"service": "other"});
    let received: StartOrder = serde_json::from_value(order).unwrap();
    assert!(received.into_plan().is_err());
}

#[test]
fn descriptors_are_handed_over_in_their_order() {
    for count in 0..=3 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let pairs: Vec<_> = (0..count).map(|_| UnixStream::pair().unwrap()).collect();
        let fds: Vec<_> = pairs.iter().map(|(end, _)| end.as_fd()).collect();
        send_fds(&ours, &fds).unwrap();
        let received = receive_fds(&theirs).unwrap();
        assert_eq!(received.len(), count);
        for ((_, other), fd) in pairs.iter().zip(received) {
            let mut end = UnixStream::from(fd);
            end.write_all(b"x").unwrap();
            let mut byte = [0];
            let mut other = other;
            other.read_exact(&mut byte).unwrap();
        }
    }
}

// new order
#[test]
fn a_client_that_is_gone_before_it_handed_anything_over_is_an_error() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    assert!(receive_fds(&theirs).is_err());
}

/// A client that was killed is told nothing, and that ends nothing.
#[test]
fn a_supervisor_whose_client_is_gone_goes_on() {
    let scratch = Scratch::new();
    let run = scratch.reserve(|record| record.state = RunState::Starting);
    let (id, dir) = (run.record().id.to_string(), run.dir().clone());
    let fake = Fake::new();
    let (log, kept) = lifecycle::open_log(&run).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let capture = Capture::new(log, kept, false);
    let supervisor = Supervisor::new(run, fake.driver(), capture, Some(ours));
    let told = Arc::default();
    let rig = Rig {
        scratch,
        fake,
        supervisor,
        id,
        dir,
        told,
    };
    rig.start();
    rig.fake.exit(&rig.id, 3);
    let done = rig.oversee();
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
    assert!(record.is_clean());
}
