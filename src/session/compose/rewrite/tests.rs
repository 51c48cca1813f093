//! Compose files as users write them, and their rewritten forms.

use super::*;

/// Rewrites a file for the given services, with ports from 1 on.
fn written(text: &str, services: &[(&str, &[Option<u16>])]) -> Result<RewrittenFile> {
    let labels = [("l", "v".to_owned())];
    let port = |(place, container): (usize, &Option<u16>)| RequestedPort {
        host: u16::try_from(place).unwrap() + 1,
        container: *container,
    };
    let wanted = RewriteRequest {
        file: "f",
        project: "p",
        labels: &labels,
        service_label: "s",
        services: services
            .iter()
            .map(|(name, ports)| RequestedService {
                name,
                ports: ports.iter().enumerate().map(port).collect(),
            })
            .collect(),
    };
    rewrite(text.to_owned(), &wanted)
}

/// The rewritten document on one line.
fn line(text: &str, services: &[(&str, &[Option<u16>])]) -> String {
    let written = written(text, services).unwrap_or_else(|error| panic!("{text}: {error}"));
    written.text.replace(",\n", ", ").trim_end().to_owned()
}

#[test]
fn ports_lead_to_what_the_file_has() {
    for ports in [
        "[80]",
        "['80']",
        "['1:80', '2:81/udp']",
        "['127.0.0.1::80/tcp']",
        "[{target: 80, published: '1', mode: ingress, protocol: tcp}]",
    ] {
        let text = line(
            &format!("services: {{a: {{ports: {ports}, expose: [9]}}}}"),
            &[("a", &[None])],
        );
        assert!(
            text.contains(r#""ports": ["127.0.0.1:1:80"]"#),
            "{ports}: {text}"
        );
    }
    let text = line("services: {a: {expose: ['7']}}", &[("a", &[None])]);
    assert!(text.contains(r#"["127.0.0.1:1:7"]"#), "{text}");
    let text = line(
        "services: {a: {ports: [1, 2]}}",
        &[("a", &[Some(2), Some(1)])],
    );
    assert!(
        text.contains(r#"["127.0.0.1:1:2", "127.0.0.1:2:1"]"#),
        "{text}"
    );
    let text = line("services: {a: {ports: [1, 2]}}", &[("a", &[])]);
    assert!(!text.contains("ports"), "{text}");
}

#[test]
fn what_two_sessions_cannot_have_is_their_own() {
    let text = line(
        "services:\n  a: {image: x, build: {context: /c, tags: [t]}, container_name: n, profiles: [q]}\n  b: {image: x, labels: [k=v], depends_on: [c]}\n  c: {network_mode: 'service:b', volumes: ['v:/v', {type: volume, source: w}, './h:/h', '/anon']}\n  d: {}\nvolumes: {v: {name: n, driver: d}, w: {external: true, name: o}, u: {}}\nnetworks: {default: {name: n}, z: {}}\n",
        &[("a", &[]), ("b", &[])],
    );
    assert_eq!(
        text,
        r#"{"networks": {"default": {"labels": {"l": "v"}}}, "volumes": {"v": {"driver": "d", "labels": {"l": "v"}}, "w": {"external": true, "name": "o"}}, "services": {"a": {"build": {"context": "/c", "labels": {"l": "v"}}, "image": "p/a", "labels": {"l": "v", "s": "a"}}, "b": {"depends_on": ["c"], "image": "p/a", "labels": ["k=v", "l=v", "s=b"]}, "c": {"network_mode": "service:b", "volumes": ["v:/v", {"type": "volume", "source": "w"}, "./h:/h", "/anon"], "labels": {"l": "v", "s": "c"}}}}"#
    );
}

#[test]
fn what_is_needed_comes_along() {
    let text = "services:\n  a: {depends_on: {b: {condition: service_completed_successfully}}, links: ['c:x']}\n  b: {volumes_from: ['d:ro', 'container:e']}\n  c: {}\n  d: {pid: 'service:a'}\n  e: {}\n";
    let written = written(text, &[("a", &[])]).unwrap();
    let names: Vec<(&str, bool)> = written
        .services
        .iter()
        .map(|member| (member.name.as_str(), member.one_shot))
        .collect();
    assert_eq!(
        names,
        [("a", false), ("b", true), ("c", false), ("d", false)]
    );
}

#[test]
fn what_comes_along_is_told_of_files_as_they_are_written() {
    let one = "services: {a: {depends_on: [b]}, x: {depends_on: [y]}}".to_owned();
    let more = "services: {b: {links: ['c:d']}}".to_owned();
    let names = |files: [&String; 2]| along(files.into_iter().cloned(), ["a"].into_iter());
    assert_eq!(names([&one, &more]), ["b", "c"]);
    assert_eq!(names([&one, &"]".to_owned()]), ["b"]);
    let large = more + &"#".repeat(MAX_FILE_BYTES);
    assert_eq!(names([&one, &large]), ["b"]);
}

#[test]
fn what_no_two_sessions_can_have_is_refused() {
    for (text, expected) in [
        ("services: {b: {}}", "f: unknown service 'a'"),
        ("{}", "f: unknown service 'a'"),
        ("services: [a]", "f: unknown service 'a'"),
        (
            "services: {a: {network_mode: host}}",
            "f: 'a' has 'network_mode: host'",
        ),
        (
            "services: {a: {network_mode: 'container:x'}}",
            "f: 'a' has 'network_mode: container:x'",
        ),
        (
            "services: {a: {expose: [1], scale: 2}}",
            "f: 'a' has several containers",
        ),
        (
            "services: {a: {expose: [1], scale: 1, deploy: {replicas: 3}}}",
            "f: 'a' has several containers",
        ),
        ("services: {a: {}}", "f: 'a' has no port there"),
        (
            "services: {a: {ports: ['1/udp', x, [], {target: 2, protocol: udp}]}}",
            "f: 'a' has no port there",
        ),
        (
            "services: {a: {ports: [2, 1, 2]}}",
            "f: 'a' has several ports there: 1, 2",
        ),
        (
            "services: {a: {expose: [1], networks: [n]}}\nnetworks: {n: {external: true, name: host}}",
            "f: the network 'n' is the machine's",
        ),
        (
            "services: {a: {expose: [1]}}\nnetworks: {default: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}",
            "f: the network 'default' has a fixed subnet",
        ),
        (
            "services: {a: {expose: [1]}}\nnetworks: {default: {driver_opts: {com.docker.network.bridge.name: b0}}}",
            "f: the network 'default' has a fixed interface",
        ),
        (
            "services: {a: {expose: [1], volumes: ['d:/d']}}\nvolumes: {d: {driver_opts: {type: none, o: bind, device: /d}}}",
            "f: the volume 'd' has a fixed location",
        ),
        (
            "services: {a: {depends_on: [gone], expose: [1]}}",
            "f: unknown service 'gone'",
        ),
    ] {
        let Err(error) = written(text, &[("a", &[None])]) else {
            panic!("{text}");
        };
        assert!(error.message.starts_with(expected), "{text}: {error}");
        assert!(error.hint.is_some(), "{text}");
    }
}
