//! Large outputs and long lines: complete, exact, in order.

use std::fs;
use std::time::Duration;

use super::log::assert_same;
use crate::harness::{Moat, amount};

const LONG: Duration = Duration::from_secs(180);

pub(crate) fn megabytes_of_random_bytes(moat: &Moat) {
    let size = amount(5_000_000, 50_000_000);
    let done = moat
        .sh(&format!(
            "head -c {size} /dev/urandom | tee /workspace/copy"
        ))
        .any_stdout()
        .deadline(LONG)
        .success();
    let written = fs::read(moat.workspace().join("copy")).expect("the copy");
    assert_eq!(written.len(), size);
    assert_same("streamed", &done.stdout, &written);
    drop(done);
    let kept = moat
        .args(["logs", "--raw", "--stdout"])
        .any_stdout()
        .deadline(LONG)
        .success();
    assert_same("kept", &kept.stdout, &written);
}

pub(crate) fn lines_of_a_megabyte_are_whole(moat: &Moat) {
    let script = "for letter in x y z; do head -c 1000000 /dev/zero | tr '\\0' $letter; echo; done";
    let done = moat.sh(script).any_stdout().deadline(LONG).success();
    let line = |letter: u8| {
        let mut line = vec![letter; 1_000_000];
        line.push(b'\n');
        line
    };
    let all = [line(b'x'), line(b'y'), line(b'z')].concat();
    assert_same("streamed", &done.stdout, &all);
    let kept = moat.args(["logs"]).any_stdout().success();
    assert_same("kept", &kept.stdout, &all);
    let last = moat.args(["logs", "-n", "1"]).any_stdout().success();
    assert_same("the last line", &last.stdout, &line(b'z'));
    let last = moat.args(["logs", "-n", "2"]).any_stdout().success();
    let two = [line(b'y'), line(b'z')].concat();
    assert_same("the last two lines", &last.stdout, &two);
}

pub(crate) fn many_lines_are_complete_and_in_order(moat: &Moat) {
    let many: usize = amount(300_000, 3_000_000);
    let done = moat
        .run(["seq", "1", &many.to_string()])
        .any_stdout()
        .deadline(LONG)
        .success();
    let mut expected = Vec::new();
    for number in 1..=many {
        expected.extend_from_slice(format!("{number}\n").as_bytes());
    }
    assert_same("streamed", &done.stdout, &expected);
    drop(done);
    let kept = moat.args(["logs"]).any_stdout().deadline(LONG).success();
    assert_same("kept", &kept.stdout, &expected);
    let log = fs::read(moat.run_dir(&moat.only_id()).join("logs.jsonl")).expect("the log");
    let count = log.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(count, many, "one entry for each line");
}
