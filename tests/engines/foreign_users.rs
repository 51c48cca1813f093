//! A docker that maps all users of its containers to foreign ones (`userns-remap`).

use crate::crash::engine::Engine;
use crate::harness::{IMAGE, skip};

#[test]
fn a_bind_is_refused_and_a_copy_works() {
    let ranges = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    if !ranges.lines().any(|line| line.starts_with("moat-podman:")) {
        skip("no user moat-podman with a range of users (tests/setup podman)");
        return;
    }
    let Some(engine) = Engine::start(&["--userns-remap=moat-podman"]) else {
        return;
    };
    let moat = engine.place();
    moat.write("here", "before\n");
    let run = |arguments: &[&str]| {
        let mut all = vec!["run", "-q", "--image", IMAGE];
        all.extend(arguments);
        moat.args(all)
    };
    let refused = run(&["--", "true"]).any_stderr().status(125);
    let said = refused.stderr_text();
    assert!(said.contains("maps all users"), "{said}");
    assert!(said.contains("userns-remap"), "{said}");
    assert!(said.contains("workspace.mode"), "{said}");
    assert!(moat.ids().is_empty(), "nothing was made");

    moat.write("moat.yaml", "workspace: {mode: volume}\n");
    let script = "cat here; echo after >here; id -u; cut -c1-30 /proc/self/uid_map";
    let done = run(&["--", "sh", "-c", script]).any_stdout().success();
    assert!(done.stdout_text().starts_with("before\n0\n"), "{done}");
    let map = done.stdout_text().lines().nth(2).unwrap().to_owned();
    assert!(
        !map.starts_with("         0          0"),
        "root is foreign: {done}"
    );
    let out = moat.user_home().join("out");
    let copy = out.to_string_lossy();
    moat.args(["export", &moat.only_id(), &copy])
        .any_stderr()
        .success();
    let exported = std::fs::read_to_string(out.join("here")).unwrap();
    assert_eq!(exported, "after\n");

    // What the workload only reads may be a bind.
    let outside = moat.user_home().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let mount = format!("{}:/outside", outside.display());
    let refused = run(&["-m", &mount, "--", "true"]).any_stderr().status(125);
    assert!(refused.stderr_text().contains(":ro"), "{refused}");
    let mount = format!("{mount}:ro");
    run(&["-m", &mount, "--", "ls", "/outside"]).success();
    let doctor = moat.args(["doctor"]).any_stdout().any_stderr().run();
    assert!(
        doctor.stdout_text().contains("with userns-remap"),
        "{doctor}"
    );
}
