//! Interactive runs on a terminal of the test's own, on every runtime with terminals; on apple through its stand-in.
//!
//! The name of a failed test has the runtime and the scenario, e.g. `bwrap::a_shell_feels_as_if_it_ran_here`.

mod ending;
mod escape;
mod exec;
mod keeping;
mod keys;
mod tools;

use std::time::{Duration, Instant};

use crate::harness::screen::Screen;
use crate::harness::{Call, IMAGE, Moat, Runtime};

macro_rules! scenarios {
    ($($list:tt)*) => {
        tests_on! { interactive docker Runtime::Docker; $($list)* }
        tests_on! { interactive bwrap Runtime::Bwrap; $($list)* }
        on_apple! { interactive apple_1_2 "1.2.2"; $($list)* }
        mod full {
            tests_on! { interactive podman Runtime::Podman; $($list)* }
            // The oldest release whose containers have an init. A workload that runs as pid 1 ignores its own
            // signals.
            on_apple! { interactive apple_0_10 "0.10.0"; $($list)* }
        }
        // Scenarios in which podman's client differs; all other code is the same as for docker.
        tests_on! { interactive podman Runtime::Podman;
            keys { a_shell_feels_as_if_it_ran_here a_size_is_seen_soon }
            escape { the_escape_stops }
            ending { a_client_that_is_killed the_supervisor_is_killed codes_and_the_record_agree }
            keeping { what_was_shown_is_in_the_log }
        }
        // bwrap sandboxes cannot be entered.
        tests_on! { interactive docker_exec Runtime::Docker;
            exec {
                a_shell_in_a_run its_escape_and_its_end keys_come_at_once what_cannot_be_started
                what_ignores_its_end the_client_of_the_engine_is_killed
            }
        }
        tests_on! { interactive apple_1_2_exec Runtime::Apple("1.2.2");
            exec {
                a_shell_in_a_run its_escape_and_its_end what_cannot_be_started
            }
        }
        tests_on! { interactive podman_exec Runtime::Podman;
            exec {
                a_shell_in_a_run its_escape_and_its_end keys_come_at_once what_cannot_be_started
            }
        }
    };
}

/// Runs a scenario in a place of its own, or skips it with a note.
fn on(runtime: Runtime, scenario: fn(&Moat)) {
    if let Some(moat) = Moat::on(runtime) {
        scenario(&moat);
    }
}

scenarios! {
    keys {
        a_shell_feels_as_if_it_ran_here end_of_input_and_bytes_of_all_kinds bytes_that_come_one_by_one
        a_paste_of_a_megabyte_is_whole jobs_of_a_shell
        a_size_is_seen_soon as_moat_yaml_wants_it what_a_file_wants_gives_way
        keys_from_another_descriptor a_terminal_that_does_not_know_its_size
    }
    escape {
        the_escape_stops the_escape_kills an_escape_of_ones_own no_escape_at_all
    }
    ending {
        a_client_that_is_killed a_client_that_is_terminated a_terminal_that_goes_away
        a_client_that_panics the_supervisor_is_killed suspended_and_continued a_window_that_is_closed
        stopped_while_nothing_is_shown killed_while_nothing_is_shown killed_under_a_shell
        raw_again_after_a_pause
        codes_and_the_record_agree killed_from_elsewhere what_excludes_a_terminal
    }
    keeping {
        what_was_shown_is_in_the_log a_session_is_replayed ten_megabytes_under_a_slow_reader
        what_is_typed_is_not_kept a_log_leaves_nothing_on
    }
    tools {
        a_pager_and_an_editor inside_tmux
    }
}

/// A call of `moat run -i -- COMMAND`.
fn call<'a>(moat: &'a Moat, command: &[&str]) -> Call<'a> {
    let mut call = moat.args(["run", "-i"]);
    if moat.has_images() {
        call = call.args(["--image", IMAGE]);
    }
    call.arg("--").args(command)
}

fn start(moat: &Moat, command: &[&str]) -> Screen {
    Screen::start(&call(moat, command).command())
}

/// Starts a workload that switches on the modes of a full-screen program, prints a line, and continues.
fn start_full_screen(moat: &Moat) -> Screen {
    let screen = start(moat, &["sh", "-c", &format!("{MODES}; echo up; exec cat")]);
    screen.wait("up");
    screen
}

/// Prints the size of the terminal. Engines before 23.0 set it a moment after the start.
const SIZE: &str = "until stty size 2> /dev/null | grep -v '^0 0'; do sleep 0.01; done";

const MODES: &str =
    r"printf '\033[?1049h\033[?1002;1006h\033[?2004h\033[>1u\033[2;10r\033[?25l\033[?1h'";

/// The sequences that switch off every mode of [`MODES`].
const SANE: [&str; 8] = [
    "\x1b[?1049l",
    "\x1b[?1002l",
    "\x1b[?1006l",
    "\x1b[?2004l",
    "\x1b[<1u",
    "\x1b[r",
    "\x1b[?25h",
    "\x1b[?1l",
];

/// Asserts that the terminal has its old settings, and that every mode is switched off.
#[track_caller]
fn assert_brought_back(screen: &Screen) {
    screen.assert_sane();
    for part in SANE {
        screen.wait(part);
    }
}

/// Waits until the record has this state and nothing is left of the run. Returns the record.
#[track_caller]
fn ended(moat: &Moat, state: &str, reason: &str) -> serde_json::Value {
    let record = moat.wait_state(&moat.only_id(), state);
    assert_eq!(record["reason"], reason, "{record:#}");
    let begun = Instant::now();
    while !moat.leftovers().is_empty() {
        let late = begun.elapsed() > Duration::from_secs(20);
        assert!(!late, "left behind: {:?}", moat.leftovers());
        std::thread::sleep(Duration::from_millis(20));
    }
    record
}
