//! `--json`: exactly one document on stdout, also for an empty result.

use serde_json::{Value, json};

use crate::harness::Moat;

fn document(moat: &Moat, args: &[&str]) -> Value {
    moat.args(args)
        .arg("--json")
        .any_stdout()
        .any_stderr()
        .run()
        .json()
}

pub(crate) fn every_document_parses(moat: &Moat) {
    let busy = moat.background_with(
        ["-n", "busy"],
        "trap 'exit 9' TERM; while :; do sleep 0.05; done",
    );
    moat.sh("exit 7").status(7);
    let bad = moat.ids().into_iter().find(|id| *id != busy).expect("two");
    assert_eq!(document(moat, &["list"])[0]["id"], busy);
    assert_eq!(
        document(moat, &["list", "-a"]).as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(document(moat, &["inspect", &bad])["exit_code"], 7);
    let status = document(moat, &["status"]);
    assert_eq!(
        (&status["active"][0]["name"], &status["failed"]),
        (&json!("busy"), &json!(1))
    );
    assert_eq!(document(moat, &["wait", &bad])[0]["exit_code"], 7);
    assert_eq!(document(moat, &["stop", &busy])[0]["reason"], "user-stop");
    assert_eq!(document(moat, &["kill", &busy])[0]["reason"], "user-stop");
    assert!(document(moat, &["clean", "--dry-run"]).is_object());
    let doctor = document(moat, &["doctor"]);
    assert!(doctor.is_object() || doctor.is_array(), "{doctor}");
    assert_eq!(
        document(moat, &["destroy", &bad, &busy]),
        json!([bad, busy])
    );
}

pub(crate) fn every_empty_document_parses(moat: &Moat) {
    assert_eq!(document(moat, &["list"]), json!([]));
    assert_eq!(document(moat, &["list", "-a"]), json!([]));
    let status = document(moat, &["status"]);
    assert_eq!(
        (&status["active"], &status["failed"]),
        (&json!([]), &json!(0))
    );
    let clean = document(moat, &["clean", "--force"]);
    assert_eq!(
        (&clean["containers"], &clean["runs"]),
        (&json!([]), &json!([]))
    );
    moat.run(["true"]).success();
    moat.args(["logs", "--json"]).success();
    assert_eq!(document(moat, &["list"]), json!([]));
}
