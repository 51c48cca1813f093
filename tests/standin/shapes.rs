//! The JSON of each release, as snapshots, so that a review shows every change.

use serde_json::Value;

use crate::harness::{IMAGE, assert_snapshot};
use crate::standin::place::StandIn;

#[test]
fn json_of_each_dialect() {
    for version in ["0.7.1", "0.9.0", "0.10.0", "0.12.3", "1.2.2"] {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let mut text = String::new();
        let mut add = |title: &str, args: &[&str]| {
            let done = it.call(args);
            text += &format!("--- {title}\n{}", normal(&it, &done.stdout));
            text += &done.stderr;
            text += &format!("exit code {}\n", done.code);
        };
        add("inspect, missing", &["inspect", "one"]);
        add("list, empty", &["list", "-a", "--format", "json"]);
        let full = [
            "create",
            "--name",
            "one",
            "-e",
            "A=1",
            "-p",
            "127.0.0.1:18080:80",
            "-m",
            "512m",
            "-c",
            "2",
            "-v",
            "/etc:/etc/host:ro",
            "--mount",
            "type=tmpfs,destination=/scratch,mode=1777",
            "-l",
            "k=v",
            "-w",
            "/tmp",
            "-u",
            "1000:1000",
            "--dns",
            "192.0.2.1",
            IMAGE,
            "sleep",
            "100",
        ];
        add("create", &full);
        add("inspect, created", &["inspect", "one"]);
        add("start", &["start", "one"]);
        add("inspect, running", &["inspect", "one"]);
        add("stop", &["stop", "-t", "0", "one"]);
        add("inspect, stopped", &["inspect", "one"]);
        add("create", &["create", "--name", "two", IMAGE, "true"]);
        add("list, two", &["list", "-a", "--format", "json"]);
        add("network inspect", &["network", "inspect", "default"]);
        let network = ["network", "create", "--label", "moat.home=0123", "net-1"];
        add("network create", &network);
        add("network inspect, ours", &["network", "inspect", "net-1"]);
        add("network inspect, missing", &["network", "inspect", "net-2"]);
        add("image inspect", &["image", "inspect", IMAGE]);
        add("image list", &["image", "list", "--format", "json"]);
        add("builder status", &["builder", "status", "--format", "json"]);
        add("system version", &["system", "version", "--format", "json"]);
        assert_snapshot(&format!("standin-{version}"), &text);
    }
}

/// Returns the output as sorted, indented JSON, with placeholders for values that differ between calls.
fn normal(it: &StandIn, stdout: &str) -> String {
    match serde_json::from_str::<Value>(stdout) {
        Ok(mut value) => {
            replace(&mut value);
            let text = serde_json::to_string_pretty(&value).expect("it was JSON");
            format!("{text}\n").replace(&*it.path("").to_string_lossy(), "[STATE]/")
        }
        Err(_) => stdout.to_owned(),
    }
}

fn replace(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(replace),
        Value::Object(entries) => {
            for (key, value) in entries {
                let placeholder = match &**key {
                    "startedDate" | "creationDate" | "created" => Some(date(value)),
                    "digest" => Some("[DIGEST]".into()),
                    "ipv4Address" | "address" => Some("[ADDRESS]".into()),
                    "ipv4Gateway" | "gateway" | "ipv4Subnet" => Some("[NETWORK]".into()),
                    "macAddress" => Some("[MAC]".into()),
                    "size" | "fullSize" | "diff_ids" => Some("[SIZE]".into()),
                    "Labels" => Some("[LABELS]".into()),
                    "id" if value.as_str().is_some_and(|id| id.len() == 64) => Some("[ID]".into()),
                    _ => None,
                };
                match placeholder {
                    Some(text) => *value = Value::String(text),
                    None => replace(value),
                }
            }
        }
        _ => {}
    }
}

/// Returns a placeholder for the kind of date.
fn date(value: &Value) -> String {
    match value {
        Value::Number(_) => "[SECONDS SINCE 2001]".into(),
        Value::String(text) if text.len() == 20 && text.ends_with('Z') => "[DATE]".into(),
        other => other.to_string(),
    }
}
