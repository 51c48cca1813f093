//! Services of runs, on real engines with real servers, and on apple through its stand-in: only the run's workload
//! reaches them, a failure says why, and nothing is left of them.
//!
//! The name of a failed test has the runtime and the scenario, e.g. `podman::by_url_and_by_parts`. Tests that need no
//! engine have modules of their own.
//!
//! No image registry is needed: tests/setup builds the images from packages, with a stand-in for Ollama.

mod config;
mod connects;
mod death;
mod exec;
mod failing;
mod injection;
mod logs;
mod passwords;
mod place;
mod private;
mod provisioning;
mod stopping;
mod timing;

use crate::harness::Runtime;

/// Runs a scenario, which creates its place itself because places differ in their images.
fn on(runtime: Runtime, scenario: fn(Runtime)) {
    scenario(runtime);
}

everywhere! { services;
    connects { aliases_and_own_values }
    exec { input_is_streamed }
    failing { one_that_ends_at_once }
    private { no_other_run_reaches_them }
    provisioning { got_once_and_kept }
}

/// Scenarios that run on docker: podman and apple have no code of their own for them.
mod docker_first {
    on_docker_first! { services;
        connects { names_that_no_shell_has }
        death { nobody_waits_for_it a_run_without_services }
        exec { it_ends_with_all_that_it_started }
        failing {
            an_image_that_cannot_be_had a_command_that_is_not_there
            one_that_nothing_can_ask one_that_dies_while_another_starts one_of_several
        }
        provisioning { nothing_to_get one_that_does_not_exist killed }
    }
}

/// Scenarios without apple, whose stand-in is too slow for tests that measure time. Everything else in them is the
/// same for apple; tests/conformance/apple_only.rs has what only apple does.
mod at_its_time {
    on_engines! { services;
        connects { by_url_and_by_parts }
        death { started_again }
        exec { streams_and_codes }
        stopping { by_stop }
    }
}

tests_on! { services docker_rootless Runtime::DockerRootless;
    connects { by_url_and_by_parts }
    exec { streams_and_codes }
}

/// Scenarios without apple in which podman behaves like docker.
mod on_one_engine {
    on_docker! { services;
        connects { secrets_of_services the_variables_of_a_workload }
        death {
            the_run_goes_on_without_it started_again_by_a_slow_engine started_again_and_again
        }
        exec {
            what_it_printed_is_kept what_cannot_be_found_is_left_alone
            where_it_cannot_run five_at_once_in_a_service
        }
        failing {
            one_that_ends_well_before_it_is_ready one_that_is_never_ready
            what_the_readiness_command_says long_lines_are_cut the_image_of_the_workload
        }
        logs { what_a_service_says unknown_services }
        passwords { nobody_sees_them }
        provisioning {
            two_runs_that_want_the_same two_runs_that_want_different_ones interrupted
            stopped_while_another_one_gets_it
        }
        stopping { by_ctrl_c by_kill }
    }
}

/// Scenarios that read docker's details of a container, limit memory (podman can only with cgroups v2), or measure
/// times that are moat's own.
mod on_docker {
    tests_on! { services docker Runtime::Docker;
        failing { one_that_needs_more_memory }
        private { containers_and_networks_of_services }
        timing { real_servers servers_that_sleep }
    }
}
