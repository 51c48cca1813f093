//! What the client prints as JSON, in its three dialects: up to 0.7, 0.8 to 0.12, and from 1.0 on. Every
//! place where something may be is looked at; what is nowhere is missing. Unknown keys do no harm.
//!
//! An element is the text of one: little of it is wanted, so it is not made into anything else.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::super::{Exit, Inspected};
use crate::json;
use crate::store::Timestamp;

/// Seconds from 1970 to 2001, from where dates are counted before 1.0.
const EPOCH: f64 = 978_307_200.0;

/// The elements of an answer: all of them are arrays.
pub(super) fn elements(answer: &str) -> impl Iterator<Item = &str> {
    let found = json::elements(answer).unwrap_or_default();
    found.into_iter().map(|element| element.get())
}

/// What a container, a network or an image goes by.
pub(super) fn id(element: &str) -> Cow<'_, str> {
    let places: [&[&str]; 3] = [&["id"], &["configuration", "id"], &["config", "id"]];
    let mut found = places.iter().filter_map(|place| text(element, place));
    found.next().unwrap_or_default()
}

pub(super) fn label<'a>(element: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let place = ["configuration", "config"].map(|key| [key, "labels", name]);
    text(element, &place[0]).or_else(|| text(element, &place[1]))
}

fn state(container: &str) -> Cow<'_, str> {
    let place = text(container, &["status"]);
    place
        .or_else(|| text(container, &["status", "state"]))
        .unwrap_or_default()
}

pub(super) fn is_running(container: &str) -> bool {
    state(container) == "running"
}

fn started_at(container: &str) -> Option<Timestamp> {
    let date = json::at(container, &["status", "startedDate"]);
    let date = date.or_else(|| json::at(container, &["startedDate"]))?;
    if let Ok(text) = json::text(date) {
        return Timestamp::parse(&text);
    }
    let seconds: f64 = date.parse().ok()?;
    let since = Duration::try_from_secs_f64(seconds + EPOCH).ok()?;
    Some(Timestamp(SystemTime::UNIX_EPOCH + since))
}

/// The address that a running container has on a network.
pub(super) fn address(container: &str, network: &str) -> Option<IpAddr> {
    let on_network = |one: &&str| text(one, &["network"]).is_some_and(|name| name == network);
    attachments(container).filter(on_network).find_map(ipv4)
}

/// Whether a running container has an address on any network: it may come a little later than it runs.
pub(super) fn has_address(container: &str) -> bool {
    attachments(container).any(|one| ipv4(one).is_some())
}

fn attachments(container: &str) -> impl Iterator<Item = &str> {
    let attached = json::at(container, &["status", "networks"]);
    let attached = attached.or_else(|| json::at(container, &["networks"]));
    attached.into_iter().flat_map(elements)
}

/// Written with the size of its network: `192.168.64.3/24`.
fn ipv4(attachment: &str) -> Option<IpAddr> {
    let address = text(attachment, &["ipv4Address"]).or_else(|| text(attachment, &["address"]))?;
    address.split('/').next()?.parse().ok()
}

fn ports(container: &str) -> Vec<(u16, u16)> {
    let published = json::at(container, &["configuration", "publishedPorts"]);
    let number = |port: &str, key: &str| json::at(port, &[key])?.parse().ok();
    let ports = published.into_iter().flat_map(elements);
    ports
        .filter_map(|port| Some((number(port, "containerPort")?, number(port, "hostPort")?)))
        .collect()
}

/// What a container's own entry point is, in the description of its image.
pub(super) fn entrypoint(image: &str) -> Vec<String> {
    let mut variants = json::at(image, &["variants"])
        .into_iter()
        .flat_map(elements);
    // There are those of other processors, and some that are no images, such as attestations.
    let is =
        |variant: &str, key, word| text(variant, &["platform", key]).is_some_and(|it| it == word);
    let own = variants.find(|one| is(one, "os", "linux") && is(one, "architecture", "arm64"));
    let words = own.and_then(|own| json::at(own, &["config", "config", "Entrypoint"]));
    let words = words.into_iter().flat_map(elements);
    let words = words.filter_map(|word| json::text(word).ok());
    words.map(Cow::into_owned).collect()
}

/// The state of a container. How it ended is nowhere in it; and before it was started it is `stopped` as
/// after its end, but for the date of the start.
pub(super) fn inspected(container: &str) -> Inspected {
    let started_at = started_at(container);
    match (&*state(container), started_at) {
        ("stopped", None) => Inspected::Created,
        ("stopped", Some(_)) => Inspected::Exited(Exit {
            started_at,
            ..Exit::default()
        }),
        // `stopping`, and words that nobody knows yet: it has not ended.
        _ => Inspected::Running {
            started_at,
            ports: ports(container),
        },
    }
}

fn text<'a>(element: &'a str, path: &[&str]) -> Option<Cow<'a, str>> {
    json::text(json::at(element, path)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> String {
        elements(json).next().unwrap().to_owned()
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
            assert_eq!(label(&container, "moat.run"), Some("run_1".into()));
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
                ("n1".into(), Some("h".into()))
            );
        }
        let image = one(
            r#"[{"name":"x","variants":[{"platform":{"os":"unknown","architecture":"unknown"},"config":{}},
            {"platform":{"os":"linux","architecture":"amd64"},"config":{"config":{"Entrypoint":["/amd64"]}}},
            {"platform":{"os":"linux","architecture":"arm64"},"config":{"config":{"Entrypoint":["/bin/x","-y"]}}}]}]"#,
        );
        assert_eq!(entrypoint(&image), ["/bin/x", "-y"]);
        // One that has none of its own does not get another's.
        let image = one(
            r#"[{"variants":[{"platform":{"os":"linux","architecture":"arm64"},"config":{"config":{}}},
            {"platform":{"os":"linux","architecture":"arm"},"config":{"config":{"Entrypoint":["/arm"]}}}]}]"#,
        );
        assert!(entrypoint(&image).is_empty());
    }
}
