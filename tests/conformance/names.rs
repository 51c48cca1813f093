//! Names and ids, and the runs that an argument means.

use std::collections::BTreeSet;

use crate::harness::Moat;

const WAITING: &str = "until [ -e /workspace/go ]; do sleep 0.05; done";

pub(crate) fn a_chosen_name_is_used(moat: &Moat) {
    moat.run_with(["-n", "Web.1_x"], ["true"]).success();
    assert_eq!(moat.record(&moat.only_id())["name"], "Web.1_x");
    moat.args(["wait", "Web.1_x"]).success();
}

pub(crate) fn a_name_is_unique_among_active_runs(moat: &Moat) {
    let id = moat.background_with(["--name", "job"], WAITING);
    moat.run_with(["--name", "job"], ["true"])
        .stderr(format!(
            "error: the name 'job' belongs to {id}, which is running\n  \
             hint: choose another --name, or: moat stop {id}\n"
        ))
        .status(125);
    assert_eq!(moat.only_id(), id, "the refused run left nothing");
    moat.write("go", "");
    moat.args(["wait", &id]).success();
}

pub(crate) fn a_name_is_free_after_the_end(moat: &Moat) {
    moat.run_with(["--name", "job"], ["sh", "-c", "exit 1"])
        .status(1);
    moat.run_with(["--name", "job"], ["true"]).success();
    assert_eq!(moat.ids().len(), 2);
}

pub(crate) fn many_runs_at_once_have_their_own_names(moat: &Moat) {
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let script = format!("echo {number}; {WAITING}; exit {number}");
                let id = moat.background(&script);
                if moat.ids().len() == 8 {
                    moat.write("go", "");
                }
                moat.args(["wait", &id]).status(number);
                let out = format!("{number}\n");
                moat.args(["logs", &id]).stdout(out).success();
            });
        }
    });
    let name = |id: &String| moat.record(id)["name"].as_str().map(str::to_owned);
    let names: BTreeSet<_> = moat.ids().iter().map(name).collect();
    assert_eq!(names.len(), 8, "{names:?}");
}

pub(crate) fn runs_are_found_by_id_prefix_and_name(moat: &Moat) {
    moat.run_with(["--name", "alpha-one"], ["echo", "first"])
        .stdout("first\n")
        .success();
    let first = moat.only_id();
    moat.run_with(["--name", "alpha"], ["echo", "second"])
        .stdout("second\n")
        .success();
    let find = |argument: &str, line: &str| {
        moat.args(["logs", argument]).stdout(line).success();
    };
    find(&first, "first\n");
    // An exact name wins over a longer name with the same beginning.
    find("alpha", "second\n");
    find("alpha-", "first\n");
    let other = moat.ids().into_iter().find(|id| *id != first).expect("two");
    let same = first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b);
    let prefix = &first[..same.count() + 1];
    find(prefix, "first\n");
    moat.args(["logs", "beta"])
        .stderr("error: no such run: 'beta'\n  hint: see all runs: moat list -a\n")
        .status(3);
}

pub(crate) fn ambiguity_lists_the_candidates(moat: &Moat) {
    for name in ["one-a", "one-b"] {
        moat.run_with(["--name", name], ["true"]).success();
    }
    for argument in ["one", "run_"] {
        for command in ["logs", "wait", "stop", "kill", "inspect", "destroy"] {
            let done = moat.args([command, argument]).any_stderr().status(3);
            let text = done.stderr_text();
            assert!(
                text.contains(&format!("error: '{argument}' could be 2 runs")),
                "{text}"
            );
            assert!(text.contains("one-a") && text.contains("one-b"), "{text}");
        }
    }
    assert_eq!(moat.ids().len(), 2, "nothing was destroyed");
}
