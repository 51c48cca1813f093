//! The container settings of moat.yaml: ports, limits, and volumes of the engine.

use std::io::Read;
use std::net::TcpStream;

use crate::harness::{Runtime, until_some};
use crate::images::place::Place;

pub(crate) fn ports_are_published_on_the_loopback_alone(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    // A port that is free now. No other test of this group uses a fixed one.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let fixed = free.local_addr().expect("its address").port();
    drop(free);
    place.moat_yaml(&format!(
        "base_image: BASE\nports: {{web: 8000, admin: \"{fixed}:9000\"}}\n"
    ));
    let serve = "mkdir -p /tmp/w /tmp/a; echo web >/tmp/w/index.html; echo admin >/tmp/a/index.html; \
                 httpd -p 8000 -h /tmp/w; httpd -p 9000 -h /tmp/a; \
                 until [ -e /workspace/go ]; do sleep 0.05; done";
    let id = place.go(&["-q", "-b"], serve).any_stdout().success();
    let id = id.stdout_text().trim().to_owned();
    // The ports are in the record as soon as the run has started.
    let record = place
        .args(["inspect", "--json", &id])
        .any_stdout()
        .success()
        .json();
    let port = |name: &str| {
        let ports = record["ports"].as_array().expect("ports");
        let found = ports
            .iter()
            .find(|port| port["name"] == name)
            .expect("the port");
        u16::try_from(found["host"].as_u64().expect("the port of the host")).expect("a port")
    };
    assert_eq!(port("admin"), fixed);
    let listed = place.args(["list", "--json"]).any_stdout().success().json();
    assert_eq!(listed[0]["ports"], record["ports"]);
    let table = place.args(["list"]).any_stdout().success().stdout_text();
    assert!(table.contains(&port("web").to_string()), "{table}");
    let bindings = place.inspect_container(&id)["NetworkSettings"]["Ports"].clone();
    for inside in ["8000/tcp", "9000/tcp"] {
        let addresses = bindings[inside].as_array().expect("published");
        assert!(!addresses.is_empty());
        assert!(
            addresses.iter().all(|one| one["HostIp"] == "127.0.0.1"),
            "{bindings}"
        );
    }
    for (name, expected) in [("web", "web\n"), ("admin", "admin\n")] {
        let answer = until_some(&format!("{name} answers"), || get(port(name)));
        assert!(answer.ends_with(expected), "{answer}");
    }
    place.write("go", "");
    place.args(["wait", &id]).success();
}

fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    std::io::Write::write_all(&mut stream, b"GET /index.html HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.contains("200 OK").then_some(text)
}

/// With published ports, a foreground run whose workload ends at once still starts.
pub(crate) fn a_run_with_ports_that_ends_at_once(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nports: {web: 8000}\n");
    place.quiet("echo out; exit 3").stdout("out\n").status(3);
}

/// A port in use is an error that names the port, and nothing is left.
pub(crate) fn a_port_that_is_taken(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    place.moat_yaml(&format!(
        "base_image: BASE\nports: {{web: \"{port}:8000\"}}\n"
    ));
    place
        .quiet("true")
        .stderr_contains(&port.to_string())
        .status(125);
    let record = place.record(&place.only_id());
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"failed".into(), &"start-error".into())
    );
}

pub(crate) fn limits_are_set(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(
        "base_image: BASE\ncontainer:\n  memory: 64\n  cpus: 0.5\n  pids: 77\n  dns: [192.0.2.1, \"2001:db8::1\"]\n  \
         ulimits: {nofile: 123, core: {soft: 0, hard: -1}}\n",
    );
    let script = "ulimit -n; ulimit -c; grep nameserver /etc/resolv.conf; \
                  cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes; \
                  until [ -e /workspace/go ]; do sleep 0.05; done";
    let id = place.go(&["-q", "-b"], script).any_stdout().success();
    let id = id.stdout_text().trim().to_owned();
    let host = place.inspect_container(&id)["HostConfig"].clone();
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["MemorySwap"], 64 << 20);
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(host["PidsLimit"], 77);
    place.write("go", "");
    place.args(["wait", &id]).success();
    place
        .args(["logs", &id])
        .stdout("123\n0\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n67108864\n")
        .success();
    // Flags take precedence over moat.yaml.
    std::fs::remove_file(place.workspace().join("go")).expect("the file");
    let id = place
        .go(&["-q", "-b", "--memory", "32m", "--cpus", "1"], script)
        .any_stdout()
        .success();
    let id = id.stdout_text().trim().to_owned();
    let host = place.inspect_container(&id)["HostConfig"].clone();
    assert_eq!(
        (&host["Memory"], &host["NanoCpus"]),
        (&(32 << 20).into(), &1_000_000_000.into())
    );
    place.write("go", "");
    place.args(["wait", &id]).success();
}

pub(crate) fn volumes_outlive_runs(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    std::os::unix::fs::chown(place.workspace(), Some(1234), Some(1235)).expect("root");
    let yaml = |more: &str| {
        place.moat_yaml(&format!(
            "name: shop\nbase_image: BASE\nvolumes:\n  - {{name: cache, target: /cache}}\n  \
             - {{name: db, target: /var/lib/db, type: volume}}\n{more}"
        ));
    };
    yaml("");
    place
        .quiet(
            "stat -c %u:%g /cache /var/lib/db; echo one >/cache/file; echo two >/var/lib/db/file",
        )
        .stdout("1234:1235\n1234:1235\n")
        .success();
    place
        .quiet("cat /cache/file /var/lib/db/file")
        .stdout("one\ntwo\n")
        .success();
    // Volumes also work with an image that moat builds.
    yaml("hooks: {post_build: 'true'}\n");
    place
        .quiet("cat /cache/file /var/lib/db/file")
        .stdout("one\ntwo\n")
        .success();
    let handle = format!("moat-{}-shop.db", place.label());
    let bind = place.home().join("volumes/shop/cache");
    let listed = place
        .args(["volumes", "--json"])
        .any_stdout()
        .success()
        .json();
    assert_eq!(
        listed,
        serde_json::json!([
            {"name": "shop/cache", "type": "bind", "location": bind},
            {"name": "shop/db", "type": "volume", "location": handle},
        ])
    );
    place
        .args(["volumes", "-q"])
        .stdout("shop/cache\nshop/db\n")
        .success();
    // Volumes that are mounted read-only can be read.
    place.moat_yaml(
        "name: shop\nbase_image: BASE\nvolumes:\n  - {name: cache, target: /cache, readonly: true}\n  \
         - {name: db, target: /var/lib/db, type: volume, readonly: true}\n",
    );
    place
        .quiet("cat /cache/file /var/lib/db/file; touch /cache/x 2>/dev/null; echo $?; touch /var/lib/db/x 2>/dev/null; echo $?")
        .stdout("one\ntwo\n1\n1\n")
        .success();
    // Without a terminal, `volumes rm` needs --force. If one of the volumes does not exist, it removes none.
    place
        .args(["volumes", "rm", "shop/db"])
        .stderr_contains("volumes rm -f shop/db")
        .status(1);
    place
        .args(["volumes", "rm", "-f", "shop/db", "shop/none"])
        .stderr_contains("no such volume: 'shop/none'")
        .status(1);
    assert!(place.try_engine(&["volume", "inspect", &handle]).is_ok());
    place
        .args(["volumes", "rm", "-f", "shop/db", "shop/cache"])
        .stdout("shop/db\nshop/cache\n")
        .success();
    assert!(place.try_engine(&["volume", "inspect", &handle]).is_err() && !bind.exists());
    place.args(["volumes", "--json"]).stdout("[]\n").success();
}

/// The next run must not reset the owner and mode that a workload gave to the root of its volume.
pub(crate) fn the_root_of_a_volume_stays_as_it_was_left(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(
        "name: shop\nbase_image: BASE\nvolumes: [{name: data, target: /data, type: volume}]\n",
    );
    let script = "stat -c '%a %u' /data; chmod 700 /data; touch -d @1000000000 /data";
    for uid in [0, 1234] {
        std::os::unix::fs::chown(place.workspace(), Some(uid), Some(uid)).expect("root");
        place.quiet(script).stdout(format!("755 {uid}\n")).success();
        place
            .quiet("stat -c '%a %u %Y' /data")
            .stdout(format!("700 {uid} 1000000000\n"))
            .success();
        place
            .args(["volumes", "rm", "-f", "shop/data"])
            .any_stdout()
            .success();
    }
}

/// `volumes rm` refuses volumes that a run has mounted, and an engine that does not answer is reported.
pub(crate) fn volumes_in_use_and_volumes_unknown(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(
        "name: shop\nbase_image: BASE\nvolumes: [{name: b, target: /b}, {name: e, target: /e, type: volume}]\n",
    );
    let script = "echo x >/b/f; until [ -e /workspace/go ]; do sleep 0.05; done; cat /b/f";
    let id = place.go(&["-q", "-b"], script).any_stdout().success();
    let id = id.stdout_text().trim().to_owned();
    place
        .args(["volumes", "rm", "-f", "shop/e", "shop/b"])
        .stderr_contains(&format!("is mounted by {id}"))
        .status(1);
    place.write("go", "");
    place.args(["wait", &id]).success();
    place.args(["logs", &id]).stdout("x\n").success();
    // As long as the run's record exists, moat asks the engine of the run, whatever DOCKER_HOST names.
    place
        .args(["destroy", "-f", &id])
        .stdout(format!("{id}\n"))
        .success();
    let away = ("DOCKER_HOST", "unix:///nowhere.sock");
    place
        .args(["volumes", "-q"])
        .env(away.0, away.1)
        .stdout("shop/b\n")
        .stderr_contains("the volumes of this engine are unknown")
        .success();
    let rm = ["volumes", "rm", "-f"];
    place
        .args(rm)
        .arg("shop/e")
        .env(away.0, away.1)
        .stderr_contains("no such volume")
        .status(1);
    place
        .args(rm)
        .arg("shop/b")
        .env(away.0, away.1)
        .stdout("shop/b\n")
        .stderr_contains("warning: ")
        .status(1);
    place.args(rm).arg("shop/e").stdout("shop/e\n").success();
}

/// Two projects have separate volumes even if project and volume joined by a dash give the same name.
pub(crate) fn volumes_of_projects_are_apart(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    let run = |project: &str, volume: &str, script: &str, expected: &str| {
        place.moat_yaml(&format!(
            "name: {project}\nbase_image: BASE\nvolumes: [{{name: {volume}, target: /data, type: volume}}]\n"
        ));
        place.quiet(script).stdout(expected).success();
    };
    run("a-b", "c", "echo secret >/data/file", "");
    run("a", "b-c", "ls /data", "");
    place
        .args(["volumes", "-q"])
        .stdout("a-b/c\na/b-c\n")
        .success();
    place
        .args(["volumes", "rm", "-f", "a-b/c", "a/b-c"])
        .any_stdout()
        .success();
}

/// Files of the image in /workspace are not part of a copied workspace.
pub(crate) fn a_copy_is_of_the_directory_alone(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    for mode in ["bind", "volume"] {
        place.moat_yaml(&format!(
            "base_image: BASE\nworkspace: {{mode: {mode}}}\nhooks: {{post_build_root: 'mkdir -p /workspace; echo x >/workspace/from-image'}}\n"
        ));
        place.quiet("ls").stdout("moat.yaml\n").success();
    }
}

/// The anonymous volume of a copied workspace is removed with the run.
pub(crate) fn the_volume_of_a_workspace_goes_with_the_run(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nworkspace: {mode: volume}\n");
    let script = "touch made; until [ -e /tmp/go ]; do sleep 0.05; done";
    let id = place.go(&["-q", "-b"], script).any_stdout().success();
    let id = id.stdout_text().trim().to_owned();
    let mounts = place.inspect_container(&id)["Mounts"].clone();
    let volume = mounts[0]["Name"].as_str().expect("a volume").to_owned();
    assert_eq!(mounts[0]["Destination"], "/workspace");
    place.engine(&["exec", &id, "touch", "/tmp/go"]);
    place.args(["wait", &id]).success();
    assert!(
        place.try_engine(&["volume", "inspect", &volume]).is_err(),
        "the volume is left"
    );
}

/// `--keep` keeps the container and the volume with its copied workspace; `destroy` removes both.
pub(crate) fn a_kept_container_with_a_copy(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nworkspace: {mode: volume}\nhooks: {pre_run: echo hook}\n");
    place
        .go(&["-q", "--keep"], "echo x >made; exit 3")
        .stdout("hook\n")
        .status(3);
    let id = place.only_id();
    assert_eq!(place.inspect_container(&id)["State"]["ExitCode"], 3);
    let volume = place.inspect_container(&id)["Mounts"][0]["Name"]
        .as_str()
        .expect("a volume")
        .to_owned();
    let out = place.root().join("out");
    place.args(["export", "-q", &id]).arg(&out).success();
    assert!(out.join("made").exists());
    place.args(["destroy", &id]).any_stdout().success();
    for gone in [
        ["container", "inspect", &id],
        ["volume", "inspect", &volume],
    ] {
        assert!(place.try_engine(&gone).is_err(), "{gone:?}");
    }
}
