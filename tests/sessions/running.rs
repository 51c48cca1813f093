//! Runs in the worktree of a session.

use std::fs;

use crate::harness::{IMAGE, Moat, Runtime, until_some};
use crate::project::{Project, server, tree, web};

fn on(runtime: Runtime) -> Option<Project> {
    let moat = Moat::on(runtime)?;
    let project = Project::at(moat, &server());
    if runtime == Runtime::Docker {
        let text = fs::read_to_string(project.repo.join("moat.yaml")).unwrap();
        project.commit("moat.yaml", &format!("{text}base_image: {IMAGE}\n"));
    }
    Some(project)
}

#[test]
fn a_run_sees_the_worktree_and_the_variables() {
    for runtime in [Runtime::Bwrap, Runtime::Docker] {
        let Some(project) = on(runtime) else { continue };
        let script = "cat page; echo made >new; echo $MOAT_WEB_PORT ${MOAT_PROCESS:-none}; exit 7";
        let done = project
            .call(&["wt", "a", "--", "sh", "-c", script])
            .status(7);
        let made = &project.list()[0];
        assert_eq!(done.stdout_text(), format!("main\n{} none\n", web(made)));
        assert_eq!(
            fs::read_to_string(tree(made).join("new")).unwrap(),
            "made\n"
        );
        let id = project.moat.only_id();
        let answer = project.json(&["whose", &id]);
        assert_eq!(answer["run"], id);
        project.call(&["wt", "a..b", "--", "true"]).status(2);
        fs::write(project.repo.join("moat.yaml"), "session: [").unwrap();
        project.call(&["wt", "a", "--", "true"]).status(125);
        project.ok(&["down", "a", "--force"]);
        project.assert_nothing();
    }
}

/// A container is found by what the engine calls it, too, and what an engine does not say is not taken for a no.
#[test]
fn whose_is_a_container() {
    let Some(project) = on(Runtime::Docker) else {
        return;
    };
    let run = project.moat.args([
        "run",
        "--background",
        "--image",
        IMAGE,
        "--",
        "sleep",
        "1000",
    ]);
    run.any_stdout().any_stderr().success();
    let id = project.moat.only_id();
    let label = format!("label=moat.run={id}");
    let full = until_some("the container is there", || {
        let mut client = Runtime::Docker.client();
        let output = client
            .args(["ps", "--quiet", "--no-trunc", "--filter", &label])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        (!text.is_empty()).then_some(text)
    });
    let mut client = Runtime::Docker.client();
    let name = client
        .args(["inspect", "--format", "{{.Name}}", &full])
        .output()
        .unwrap();
    let name = String::from_utf8(name.stdout).unwrap();
    for word in [
        &full,
        &full[..12],
        &full[..4],
        name.trim().trim_start_matches('/'),
        &id,
    ] {
        // Of digits alone it is a number.
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        assert_eq!(project.json(&["whose", word])["run"], id, "{word}");
    }
    let other: String = full
        .chars()
        .map(|c| if c == 'a' { 'b' } else { 'a' })
        .collect();
    project
        .call(&["whose", &other])
        .stdout("not moat's\n")
        .status(1);
    project
        .call(&["whose", &other])
        .env("DOCKER_HOST", "unix:///nonexistent")
        .stdout_contains("cannot tell: docker")
        .status(2);
    project.ok(&["kill", &id]);
}
