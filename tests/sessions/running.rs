//! Runs in the worktree of a session.

use std::fs;

use crate::harness::{IMAGE, Moat, Runtime};
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
