//! A session from its beginning to its end.

use crate::sessions::project::{IDLE, Project};
use crate::smoke::place;

/// A repository whose sessions have one process.
pub(super) fn project() -> Option<Project> {
    let processes = format!("  processes: {{idle: {{command: {IDLE}, port: BASE}}}}");
    place().map(|moat| Project::at(moat, &processes))
}

#[test]
fn up_status_logs_and_down() {
    let Some(project) = project() else {
        return;
    };
    let made = project.up("feature");
    assert_eq!(made["session"]["status"], "active");
    let shown = project.json(&["wt", "status", "feature"]);
    assert_eq!(shown["session"], made["session"]);
    assert_eq!(shown["processes"][0]["name"], "idle");
    assert_eq!(shown["processes"][0]["running"], true);
    project
        .call(&["wt", "logs", "feature", "idle"])
        .stderr("moat: started\n")
        .success();
    let variables = project.json(&["wt", "env", "feature"]);
    assert_eq!(variables["MOAT_BRANCH"], "feature");
    project.ok(&["down", "feature", "--keep"]);
    assert_eq!(project.list()[0]["session"]["status"], "stopped");
    project.ok(&["down", "feature"]);
    project.assert_nothing();
}
