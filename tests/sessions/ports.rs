//! Slots and ports: which ones a session gets, and when it gets others.

use std::net::TcpListener;

use crate::harness::Moat;
use crate::sessions::project::{IDLE, Project, another, page, server, tree, web};

fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).expect("the port is free")
}

/// W3: moat finds out by binding the port, not by asking a tool.
#[test]
fn a_port_of_a_stranger_gives_way_by_whole_slots_and_the_stranger_lives() {
    let project = Project::new(&server());
    let stranger = listen(project.base + 1);
    let done = project
        .call(&["up", "a"])
        .stderr_contains("is held by process")
        .success();
    let us = std::process::id().to_string();
    assert!(
        done.stderr_text().contains(&us),
        "the holder is named: {done}"
    );
    let session = &project.list()[0];
    assert_eq!(
        web(session),
        u64::from(project.base) + 9,
        "slot 1, one round of 8 further"
    );
    assert_eq!(page(web(session)), "main");
    // The session keeps the new port, also after the foreign process has ended and after a stop.
    drop(stranger);
    assert_eq!(web(&project.up("a")), u64::from(project.base) + 9);
    project.ok(&["down", "a", "--keep"]);
    assert_eq!(web(&project.up("a")), u64::from(project.base) + 9);
    project.ok(&["down", "a"]);
}

/// The JSON document reports the changed port, too.
#[test]
fn a_port_that_gave_way_is_in_the_document() {
    let project = Project::new(&server());
    let stranger = listen(project.base + 1);
    let made = project.up("a");
    let warnings = made["warnings"].as_array().unwrap();
    let warning = warnings[0].as_str().unwrap();
    let us = format!("process {}", std::process::id());
    assert!(warning.contains(&us) && warnings.len() == 1, "{warning}");
    assert!(warning.ends_with(&format!("it gets {}", web(&made))));
    drop(stranger);
    assert_eq!(project.up("a")["warnings"], serde_json::json!([]));
    assert!(
        project
            .json(&["wt", "status", "a"])
            .get("warnings")
            .is_none()
    );
    project.ok(&["down", "a"]);
}

#[test]
fn strict_ports_are_an_error_that_names_the_holder() {
    let project = Project::new(&format!("  strict_ports: true\n{}", server()));
    let stranger = listen(project.base + 1);
    let done = project
        .call(&["up", "a"])
        .stderr_contains("is held by process")
        .status(1);
    assert!(
        done.stderr_text().contains(&std::process::id().to_string()),
        "{done}"
    );
    project.assert_nothing();
    drop(stranger);
    project.up("a");
    project.ok(&["down", "a"]);
}

/// moat reports it when a port that the user chose, or that the session had, cannot be used.
#[test]
fn a_port_that_is_lost_is_told() {
    let project = Project::new(&server());
    let (chosen, kept) = (project.base + 45, project.base + 9);
    project.json(&["up", "a", "--port", &format!("web={chosen}")]);
    project.ok(&["down", "a", "--keep"]);
    let stranger = listen(chosen);
    let call = project.call(&["up", "a"]);
    let told = format!("port {chosen} of 'web' is held by process");
    call.stderr_contains(&told).status(1);
    assert_eq!(project.list()[0]["session"]["status"], "stopped");
    drop(stranger);
    assert_eq!(web(&project.up("a")), u64::from(chosen));
    project.ok(&["down", "a"]);
    let stranger = listen(project.base + 1);
    let call = project.call(&["up", "a"]);
    call.stderr_contains("is held by process").success();
    project.ok(&["down", "a", "--keep"]);
    drop(stranger);
    let _stranger = listen(kept);
    let call = project.call(&["up", "a"]);
    let told = format!("port {kept} of 'web' is held by process");
    call.stderr_contains(&told).success();
    assert_eq!(web(&project.list()[0]), u64::from(project.base) + 1);
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

#[test]
fn a_port_can_be_chosen() {
    let project = Project::new(&server());
    let wanted = project.base + 45;
    let pin = format!("web={wanted}");
    let made = project.json(&["up", "a", "--port", &pin]);
    assert_eq!(web(&made), u64::from(wanted));
    project
        .call(&["up", "b", "--port", &pin])
        .stderr_contains("is held by the session of 'a'")
        .status(1);
    project
        .call(&["up", "a", "--port", "web=1"])
        .stderr_contains("--force")
        .status(1);
    project
        .call(&["up", "a", "--port", "wbe=1"])
        .stderr_contains("did you mean 'web'?")
        .status(2);
    for bad in ["web", "web=0", "web=x", "web=70000"] {
        project.call(&["up", "a", "--port", bad]).status(2);
    }
    project.ok(&["down", "a", "--keep"]);
    assert_eq!(web(&project.up("a")), u64::from(wanted));
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// A running process keeps its ports even if it does not listen there, and even if moat.yaml has changed.
#[test]
fn ports_of_what_runs_are_nobody_elses() {
    let project = Project::new(&format!(
        "  search_range: 1\n  processes: {{idle: {{command: {IDLE}, port: BASE}}}}"
    ));
    let wanted = project.base + 21;
    let port = |document: &serde_json::Value, name: &str| {
        let ports = document["session"]["ports"].as_array().unwrap();
        let own = ports.iter().find(|port| port["name"] == name);
        own.unwrap()["port"].as_u64().unwrap()
    };
    // The new process stands before the running one in moat.yaml, and is also tried after the running one has left
    // the file.
    let new = |name: &str| {
        format!(
            "{name}: {{command: {IDLE}, port: {}}}",
            u32::from(wanted) - 1
        )
    };
    let old = format!("idle: {{command: {IDLE}, port: BASE}}");
    for stopped in [false, true] {
        project.configure(&format!("  search_range: 1\n  processes: {{{old}}}"));
        project.json(&["up", "a", "--port", &format!("idle={wanted}")]);
        if stopped {
            project.ok(&["down", "a", "--keep"]);
        }
        project.configure(&format!(
            "  search_range: 1\n  processes: {{{}, {old}}}",
            new("first")
        ));
        let made = project.up("a");
        assert_eq!(port(&made, "idle"), u64::from(wanted));
        assert_eq!(port(&made, "first"), u64::from(wanted) + 8);
        project.ok(&["down", "a"]);
    }
    project.configure(&format!("  search_range: 1\n  processes: {{{old}}}"));
    project.json(&["up", "a", "--port", &format!("idle={wanted}")]);
    project.configure(&format!(
        "  search_range: 1\n  processes: {{{}}}",
        new("other")
    ));
    let made = project.up("a");
    assert_eq!(port(&made, "idle"), u64::from(wanted));
    assert_eq!(port(&made, "other"), u64::from(wanted) + 8);
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

#[test]
fn extra_ports_follow_the_slot_and_never_give_way() {
    let web = server();
    let extra = web.replace(
        "port_env: PORT}",
        "port_env: PORT, extra_ports: [{port: EXTRA, port_env: [HMR, HMR_PORT]}]}",
    );
    let project = Project::new("  slots: 1");
    let configure = |strict: &str| {
        let extra = extra.replace("EXTRA", &(project.base + 20).to_string());
        project.configure(&format!("{strict}{extra}"));
    };
    configure("");
    let port = project.base + 21;
    assert_eq!(project.up("a")["env"]["HMR_PORT"], port.to_string());
    project.ok(&["down", "a"]);
    let stranger = listen(port);
    project
        .call(&["up", "a"])
        .stderr_contains(&format!("port {port} of 'web' is held by process"))
        .success();
    // A process that holds its own port causes no warning.
    let again = project.call(&["up", "a"]).success();
    assert_eq!(again.stderr_text(), "");
    project.ok(&["down", "a"]);
    configure("  strict_ports: true\n");
    project
        .call(&["up", "a"])
        .stderr_contains(&format!("port {port} of 'web' is held by"))
        .status(1);
    drop(stranger);
    project.assert_nothing();
}

#[test]
fn a_port_that_is_not_published_is_known_to_its_process_alone() {
    let private = server().replace("port_env: PORT}", "port_env: PORT, publish_primary: false}");
    let project = Project::new(&private);
    let made = project.up("a");
    assert_eq!(made["env"]["MOAT_WEB_PORT"], serde_json::Value::Null);
    assert_eq!(made["env"]["PORT"], serde_json::Value::Null);
    assert_eq!(page(web(&made)), "main");
    project.ok(&["down", "a"]);
}

/// W11: the same branch in two repositories. Slots and ports are unique on the whole machine.
#[test]
fn two_repositories_have_nothing_in_common() {
    let project = Project::new(&server());
    let other = another(&project, "other");
    let first = project.up("same");
    let second = project
        .call(&["up", "same", "--json"])
        .cwd(&other)
        .success()
        .json();
    assert_ne!(first["session"]["slot"], second["session"]["slot"]);
    assert_ne!(tree(&first), tree(&second));
    assert_eq!(
        (page(web(&first)), page(web(&second))),
        ("main".into(), "other".into())
    );
    // The table has a column for the repository as soon as there are two.
    let heads = |table: &str| {
        table
            .lines()
            .map(|line| line.split("  ").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let table = project.ok(&["wt", "list"]).stdout_text();
    let name = project.repo.file_name().unwrap().to_str().unwrap();
    let mut names = heads(&table);
    assert_eq!(names.remove(0), "REPOSITORY", "{table}");
    names.sort();
    let mut expected = [name, "other"];
    expected.sort_unstable();
    assert_eq!(names, expected, "{table}");
    let repositories = project.list();
    let repository = |place: usize| repositories[place]["session"]["repository"].to_string();
    assert_ne!(repository(0), repository(1));
    project.ok(&["down", "--all"]);
    let table = project.ok(&["wt", "list"]).stdout_text();
    assert!(table.starts_with("BRANCH "), "{table}");
    assert_eq!(
        page(web(&second)),
        "other",
        "the session of the other repository still runs"
    );
    project.call(&["down", "same"]).cwd(&other).success();
    project.assert_nothing();
}

/// A session's key is never taken for a new branch: not here, not in another repository, and not outside of all.
#[test]
fn a_key_works_from_anywhere() {
    let project = Project::new(&server());
    let made = project.up("a");
    let key = made["session"]["key"].as_str().unwrap().to_owned();
    let elsewhere = another(&project, "other");
    for dir in [&project.repo, &elsewhere, &project.moat.root().to_owned()] {
        let call = |args: &[&str]| project.call(args).cwd(dir).success();
        call(&["down", &key, "--keep"]);
        let again = call(&["up", &key, "--json"]).json();
        assert_eq!(again["session"]["branch"], "a", "in {}", dir.display());
        assert_eq!(
            (again["session"]["key"].as_str(), web(&again)),
            (Some(key.as_str()), web(&made))
        );
    }
    assert_eq!(project.list().len(), 1);
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// A command that moat advises about a session of another repository works as printed.
#[test]
fn advice_works_from_another_repository() {
    let project = Project::new(&format!(
        "  slots: 1\n  processes: {{idle: {{command: {IDLE}}}}}"
    ));
    let other = another(&project, "other");
    let made = project.up("a");
    let down = format!("moat down {}", made["session"]["key"].as_str().unwrap());
    project
        .call(&["up", "b"])
        .cwd(&other)
        .stderr_contains(&format!("take one down: {down};"))
        .status(1);
    // Another branch is checked out in the session's worktree, so that branch cannot have a session of its own.
    let tree = tree(&made);
    crate::sessions::project::git(&project.moat, &tree, &["checkout", "--quiet", "-b", "c"]);
    project
        .call(&["up", "c"])
        .stderr_contains(&format!("take that session down first: {down}\n"))
        .status(1);
    let words: Vec<&str> = down.split(' ').skip(1).collect();
    project.call(&words).cwd(&other).success();
    assert_eq!(project.list(), Vec::<serde_json::Value>::new());
}

#[test]
fn five_sessions_serve_five_pages_and_one_leaves_without_the_others() {
    let project = Project::new(&server());
    let branches = ["a", "ab", "a-b", "abc", "c/a"];
    let mut made = Vec::new();
    for branch in branches {
        let document = project.up(branch);
        std::fs::write(tree(&document).join("page"), branch).unwrap();
        made.push((branch, document));
    }
    for (branch, document) in &made {
        assert_eq!(page(web(document)), *branch);
    }
    project.ok(&["down", "a", "--force"]);
    for (branch, document) in &made[1..] {
        assert_eq!(page(web(document)), *branch);
    }
    project.ok(&["down", "--all", "--force"]);
    project.assert_nothing();
}

#[test]
fn all_slots_can_be_taken() {
    let project = Project::new(&format!(
        "  slots: 2\n  processes: {{idle: {{command: {IDLE}}}}}"
    ));
    project.up("a");
    project.up("b");
    project
        .call(&["up", "c"])
        .stderr_contains("all 2 slots are in use: a, b")
        .status(1);
    project.ok(&["down", "a"]);
    assert_eq!(project.up("c")["session"]["slot"], 1);
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

#[test]
fn whose_is_what() {
    let project = Project::new(&server());
    let made = project.up("a");
    let pid = crate::sessions::project::pid(&made, "web").to_string();
    let port = format!(":{}", web(&made));
    for word in [pid.as_str(), &port] {
        let answer = project.json(&["whose", word]);
        assert_eq!(
            (&answer["branch"], &answer["name"]),
            (&"a".into(), &"web".into()),
            "{word}"
        );
    }
    let us = std::process::id().to_string();
    project
        .call(&["whose", &us])
        .stdout("not owned by moat\n")
        .status(1);
    let next = format!(":{}", web(&made) + 1);
    project
        .call(&["whose", &next])
        .stdout_contains("slot 2 of this repository uses this port for 'web'")
        .status(1);
    project.call(&["whose", "postgres"]).status(1);
    project.call(&["whose", ":0"]).status(2);
    project.ok(&["down", "a", "--keep"]);
    // The port is assigned to the session, but a foreign process listens on it.
    let stranger = listen(u16::try_from(web(&made)).unwrap());
    project.call(&["whose", &port]).status(1);
    drop(stranger);
    project.ok(&["down", "a"]);
}

#[test]
fn the_proof_is_in_check() {
    let moat = Moat::new();
    let check = |text: &str| {
        moat.write("moat.yaml", format!("session:\n  processes:\n{text}"));
        moat.args(["check", "--ports"])
            .any_stdout()
            .any_stderr()
            .run()
    };
    let good =
        check("    web: {command: x, port: 4100, extra_ports: [{port: 4200, port_env: HMR}]}\n");
    assert_eq!(good.code, Some(0), "{good}");
    assert!(
        good.stdout_text().contains("4101") && good.stdout_text().contains("4208"),
        "{good}"
    );
    for (text, why) in [
        (
            "    a: {command: x, port: 4100}\n    b: {command: x, port: 4150}\n",
            "can reach 4188",
        ),
        (
            "    a: {command: x, port: 65500}\n",
            "above the highest port 65535",
        ),
        (
            "    a: {command: x, port: 0}\n",
            "a whole number from 1 to 65535",
        ),
        (
            "    my-api: {command: x}\n    my_api: {command: x}\n",
            "already has the variable MY_API_PORT",
        ),
        ("    A: {command: x}\n", "bad name of a process"),
        ("    a: {port: 1}\n", "'command' is missing"),
        ("    a: {command: x, prot: 1}\n", "did you mean 'port'?"),
        (
            "    a: {command: x, port_env: PORT}\n",
            "has no effect without 'port'",
        ),
        (
            "    a: {command: x, cwd: ../y}\n",
            "not a path inside the worktree",
        ),
        (
            "    a: {command: x, port: 1, port_env: 1A}\n",
            "bad variable name '1A'",
        ),
        (
            "    web: {command: x, port: 8500, port_env: MOAT_DB_PORT}\n    db: {command: x, port: 8600}\n",
            "'MOAT_DB_PORT' is a reserved name",
        ),
        (
            "    a: {command: x, port: 1, port_env: [PORT, PATH]}\n",
            "'PATH' is a reserved name",
        ),
        (
            "    a: {command: x, extra_ports: [{port: 1, port_env: HOME}]}\n",
            "'HOME' is a reserved name",
        ),
    ] {
        let bad = check(text);
        assert_eq!(bad.code, Some(1), "{text}: {bad}");
        let why = why.replace("MY_API_PORT", "MOAT_MY_API_PORT");
        assert!(bad.stdout_text().contains(&why), "{text}: {bad}");
        assert!(bad.stdout_text().starts_with("moat.yaml:"), "{bad}");
    }
}
