//! Variables of the workload.

use crate::harness::Moat;

pub(crate) fn variables_by_value(moat: &Moat) {
    moat.run_with(
        ["-e", "A=b=c", "-e", "EMPTY=", "--env=SPACE= x  y "],
        [
            "sh",
            "-c",
            r#"printf '[%s]' "$A" "${EMPTY-unset}" "$SPACE""#,
        ],
    )
    .stdout("[b=c][][ x  y ]")
    .success();
}

pub(crate) fn variables_by_name(moat: &Moat) {
    moat.run_with(
        ["-e", "FROM_OUTSIDE"],
        ["sh", "-c", r#"echo "$FROM_OUTSIDE""#],
    )
    .env("FROM_OUTSIDE", "a 'value' \"of\" $mine")
    .stdout("a 'value' \"of\" $mine\n")
    .success();
}

pub(crate) fn a_newline_in_a_value(moat: &Moat) {
    moat.run_with(
        ["-e", "LINES=one\ntwo\n"],
        ["sh", "-c", r#"printf '%s.' "$LINES""#],
    )
    .stdout("one\ntwo\n.")
    .success();
}

pub(crate) fn the_last_of_a_name_counts(moat: &Moat) {
    moat.run_with(
        ["-e", "A=1", "-e", "A=2"],
        ["sh", "-c", "echo $A; env | grep -c ^A="],
    )
    .stdout("2\n1\n")
    .success();
}

/// A value must reach the workload completely, and must not change moat's own child processes. A service account is
/// JSON with several lines.
pub(crate) fn a_newline_in_a_value_of_any_name(moat: &Moat) {
    for name in ["GOOGLE_CREDENTIALS", "GOPASS_KEY", "GO"] {
        let flag = format!("{name}=a\nb");
        let script = format!("echo \"${name}\"");
        moat.run_with(["-e", &flag], ["sh", "-c", &script])
            .stdout("a\nb\n")
            .success();
    }
}

pub(crate) fn names_that_the_engine_obeys(moat: &Moat) {
    let variables = [
        ("HOME", "/tmp"),
        ("DOCKER_HOST", "tcp://127.0.0.1:1"),
        ("DOCKER_CONFIG", "/nowhere"),
        ("DOCKER_CONTEXT", "none-such"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("https_proxy", "http://127.0.0.1:1"),
        ("NO_PROXY", "a,b"),
        ("LD_PRELOAD", "/nowhere.so"),
        ("GODEBUG", "x=y"),
        ("TMPDIR", "/nowhere"),
        ("NO_COLOR", "1"),
    ];
    let mut flags = Vec::new();
    let mut expected = String::new();
    let mut script = String::new();
    for (name, value) in variables {
        flags.extend(["-e".to_owned(), format!("{name}={value}")]);
        script.push_str(&format!("echo \"{name}=${name}\"; "));
        expected.push_str(&format!("{name}={value}\n"));
    }
    moat.run_with(flags, ["sh", "-c", &script])
        .stdout(expected)
        // The workload's dynamic linker complains, if there is one.
        .any_stderr()
        .success();
}

/// An environment has names that a shell does not have. They come from flags and files, and a hook does not change that.
pub(crate) fn names_that_no_shell_has(moat: &Moat) {
    moat.write("names.env", "spring.datasource.url=jdbc:x\n1A=5 # five\n");
    let expected = [
        "1A=5",
        "A B=6",
        "Q*=7",
        "a-b=of the file",
        "code=kept",
        "discovery.type=single-node",
        "given-here=from outside",
        "spring.datasource.url=jdbc:x",
    ];
    for hook in ["", "hooks: {pre_run: 'true'}\n"] {
        let yaml = format!("env_file: names.env\nenv: {{a-b: of the file, code: kept}}\n{hook}");
        moat.write("moat.yaml", &yaml);
        let flags = [
            "-ediscovery.type=single-node",
            "-eA B=6",
            "-eQ*=7",
            "-egiven-here",
        ];
        let done = moat
            .run_with(flags, ["env"])
            .env("given-here", "from outside");
        let done = done.any_stdout().success();
        let text = done.stdout_text();
        let mut found: Vec<&str> = text
            .lines()
            .filter(|line| expected.contains(line) || line.contains("MOAT"))
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{hook}: {text}");
    }
}

pub(crate) fn our_environment_stays_outside(moat: &Moat) {
    let done = moat
        .run(["env"])
        .env("NOT_FOR_THE_WORKLOAD", "x")
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .any_stdout()
        .success();
    let names: Vec<String> = done
        .stdout_text()
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
        .collect();
    let expected = [
        "HOME", "HOSTNAME", "PATH", "PWD", "SHLVL", "_", "OLDPWD", "TERM",
    ];
    for name in &names {
        assert!(expected.contains(&name.as_str()), "{name} came along");
    }
    assert!(names.contains(&"PATH".to_owned()) && names.contains(&"HOME".to_owned()));
}
