//! The client's JSON, in its three forms: up to 0.7, 0.8 to 0.12, and from 1.0 on. moat looks in every place in which
//! a member may be. Unknown members are ignored.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::{Exit, Inspected};
use crate::store::Timestamp;

/// Seconds from 1970 to 2001, where dates start before 1.0.
const EPOCH: f64 = 978_307_200.0;

/// The id of a container, a network or an image.
pub(super) fn id(element: &Value) -> &str {
    ["/id", "/configuration/id", "/config/id"]
        .iter()
        .find_map(|place| text(element, place))
        .unwrap_or_default()
}

pub(super) fn label<'a>(element: &'a Value, name: &str) -> Option<&'a str> {
    ["/configuration/labels", "/config/labels"]
        .iter()
        .find_map(|place| element.pointer(place)?.get(name)?.as_str())
}

fn state(container: &Value) -> &str {
    text(container, "/status")
        .or_else(|| text(container, "/status/state"))
        .unwrap_or_default()
}

pub(super) fn is_running(container: &Value) -> bool {
    state(container) == "running"
}

fn started_at(container: &Value) -> Option<Timestamp> {
    let date = container
        .pointer("/status/startedDate")
        .or_else(|| container.get("startedDate"))?;
    if let Some(text) = date.as_str() {
        return Timestamp::parse_with_offset(text);
    }
    let since = Duration::try_from_secs_f64(date.as_f64()? + EPOCH).ok()?;
    Some(Timestamp(SystemTime::UNIX_EPOCH + since))
}

/// The address of a running container on a network.
pub(super) fn address(container: &Value, network: &str) -> Option<IpAddr> {
    attachments(container)
        .filter(|one| text(one, "/network") == Some(network))
        .find_map(ipv4)
}

/// Whether a running container has an address on any network. The address may come a little later than the state.
pub(super) fn has_address(container: &Value) -> bool {
    attachments(container).any(|one| ipv4(one).is_some())
}

fn attachments(container: &Value) -> impl Iterator<Item = &Value> {
    let attached = container.pointer("/status/networks");
    items(attached.or_else(|| container.get("networks")))
}

/// Returns the elements of an array, and no elements for any other value.
fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The address of an attachment, written with the size of its network: `192.168.64.3/24`.
fn ipv4(attachment: &Value) -> Option<IpAddr> {
    let address = text(attachment, "/ipv4Address").or_else(|| text(attachment, "/address"))?;
    address.split('/').next()?.parse().ok()
}

fn ports(container: &Value) -> Vec<(u16, u16)> {
    let number = |port: &Value, key: &str| u16::try_from(port.get(key)?.as_u64()?).ok();
    items(container.pointer("/configuration/publishedPorts"))
        .filter_map(|port| Some((number(port, "containerPort")?, number(port, "hostPort")?)))
        .collect()
}

/// The entry point in the description of an image.
pub(super) fn entrypoint(image: &Value) -> Vec<String> {
    // Some variants are for other processors, and some are attestations and no images.
    let own = items(image.get("variants")).find(|variant| {
        text(variant, "/platform/os") == Some("linux")
            && text(variant, "/platform/architecture") == Some("arm64")
    });
    items(own.and_then(|own| own.pointer("/config/config/Entrypoint")))
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

/// The state of a container. The state has no exit code. Before the first start the state is `stopped`, as after the
/// end, but has no date of a start.
pub(super) fn inspected(container: &Value) -> Inspected {
    let started_at = started_at(container);
    match (state(container), started_at) {
        ("stopped", None) => Inspected::Created,
        ("stopped", Some(_)) => Inspected::Exited(Exit {
            started_at,
            ..Exit::default()
        }),
        // `stopping`, and unknown states: the container has not ended.
        _ => Inspected::Running {
            started_at,
            ports: ports(container),
        },
    }
}

fn text<'a>(element: &'a Value, pointer: &str) -> Option<&'a str> {
    element.pointer(pointer)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> Value {
        serde_json::from_str::<Vec<Value>>(json).unwrap().remove(0)
    }

    const OLD: &str = r#"[{"status":"running","networks":[{"network":"n1","address":"192.168.64.3\/24",
        "gateway":"192.168.64.1","hostname":"x"}],"configuration":{"id":"run_1","labels":{"moat.run":"run_1"}}}]"#;
    const MIDDLE: &str = r#"[{"status":"running","startedDate":802345678.5,"networks":[{"network":"n1",
        "ipv4Address":"192.168.64.3\/24","ipv4Gateway":"192.168.64.1"}],"configuration":{"id":"run_1",
        "labels":{"moat.run":"run_1"},"publishedPorts":[{"hostAddress":"127.0.0.1","hostPort":4100,
        "containerPort":80,"proto":"tcp","count":1}]}}]"#;
    const NEW: &str = r#"[{"id":"run_1","configuration":{"id":"run_1","labels":{"moat.run":"run_1"},
        "publishedPorts":[{"hostPort":4100,"containerPort":80}],"networks":[{"network":"n1"}]},
        "status":{"state":"running","startedDate":"2026-06-05T09:47:58Z","networks":[{"network":"default",
        "ipv4Address":"192.168.64.9/24"},{"network":"n1","ipv4Address":"192.168.64.3/24"}]},"more":null}]"#;

    #[test]
    fn the_three_dialects_say_the_same() {
        for json in [OLD, MIDDLE, NEW] {
            let container = one(json);
            assert_eq!(id(&container), "run_1");
            assert_eq!(label(&container, "moat.run"), Some("run_1"));
            assert!(is_running(&container));
            let address = address(&container, "n1").unwrap();
            assert_eq!(address.to_string(), "192.168.64.3");
        }
        for json in [MIDDLE, NEW] {
            let Inspected::Running { started_at, ports } = inspected(&one(json)) else {
                panic!("it runs")
            };
            assert!(
                started_at
                    .unwrap()
                    .to_string()
                    .starts_with("2026-06-05T09:47:58")
            );
            assert_eq!(ports, [(80, 4100)]);
        }
    }

    #[test]
    fn states_are_read() {
        let state = |status: &str| inspected(&one(&format!("[{{{status}}}]")));
        assert_eq!(state(r#""status":"stopped""#), Inspected::Created);
        assert_eq!(state(r#""status":{"state":"stopped"}"#), Inspected::Created);
        for status in [
            r#""status":"stopped","startedDate":1.0"#,
            r#""status":{"state":"stopped","startedDate":"2026-06-05T10:01:18Z"}"#,
        ] {
            let Inspected::Exited(exit) = state(status) else {
                panic!("{status}")
            };
            assert_eq!((exit.code, exit.started_at.is_some()), (None, true));
        }
        for word in ["stopping", "unknown", "paused", ""] {
            let status = format!(r#""status":{{"state":"{word}"}}"#);
            assert!(
                matches!(state(&status), Inspected::Running { .. }),
                "{word}"
            );
        }
    }

    #[test]
    fn networks_and_images_are_read() {
        for json in [
            r#"[{"id":"n1","state":"running","config":{"id":"n1","labels":{"moat.home":"h"}}}]"#,
            r#"[{"id":"n1","configuration":{"name":"n1","labels":{"moat.home":"h"}}}]"#,
        ] {
            let network = one(json);
            assert_eq!(
                (id(&network), label(&network, "moat.home")),
                ("n1", Some("h"))
            );
        }
        let image = one(
            r#"[{"name":"x","variants":[{"platform":{"os":"unknown","architecture":"unknown"},"config":{}},
            {"platform":{"os":"linux","architecture":"amd64"},"config":{"config":{"Entrypoint":["/amd64"]}}},
            {"platform":{"os":"linux","architecture":"arm64"},"config":{"config":{"Entrypoint":["/bin/x","-y"]}}}]}]"#,
        );
        assert_eq!(entrypoint(&image), ["/bin/x", "-y"]);
        // An image without an entry point does not get that of another variant.
        let image = one(
            r#"[{"variants":[{"platform":{"os":"linux","architecture":"arm64"},"config":{"config":{}}},
            {"platform":{"os":"linux","architecture":"arm"},"config":{"config":{"Entrypoint":["/arm"]}}}]}]"#,
        );
        assert!(entrypoint(&image).is_empty());
    }
}
