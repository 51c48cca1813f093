//! Images that moat builds, on real engines and on apple's stand-in: their content, when moat builds or reuses one, which
//! of several runs builds, and that a failed or stopped build leaves nothing.
//!
//! The name of a failed test has the runtime and the scenario, e.g. `podman::twenty_first_runs_build_once`. Tests that
//! need one engine have modules of their own.
//!
//! No image registry is needed: builds start from `moat-test/busybox:1` or `moat-test/debian:12`. Each test puts a tag and
//! a label of its own on top, so that tests do not share a build cache, and the label finds every image to remove.

mod container;
mod examples;
mod failing;
mod owner;
mod place;
mod project;
mod runtimes;
mod secrets;
mod sharing;

use crate::harness::Runtime;

/// Runs a scenario, which creates its place itself because places differ in their images.
fn on(runtime: Runtime, scenario: fn(Runtime)) {
    scenario(runtime);
}

everywhere! { images;
    failing { a_base_that_does_not_exist_is_said }
    owner { files_are_the_workspace_owners }
    project { a_base_image_alone_is_used_as_it_is }
    sharing { a_client_killed_during_a_build_changes_nothing }
}

/// Scenarios that run on docker: podman and apple have no code of their own for them.
mod docker_first {
    on_docker_first! { images;
        container { a_copy_is_of_the_directory_alone }
        failing { a_failure_as_json }
        owner { a_copy_is_the_users a_hook_before_the_command_is_the_users }
        runtimes { another_base_gets_a_copy }
        secrets { nothing_is_built_without_its_secrets }
    }
}

/// Scenarios without apple: its stand-in builds with docker, and has no volumes. Everything else in them is the same
/// for apple.
mod with_their_builders {
    on_engines! { images;
        project { rebuild_builds_anew a_base_with_another_content_is_noticed }
        container { ports_are_published_on_the_loopback_alone volumes_outlive_runs }
        failing {
            a_failing_step_is_shown_with_its_last_lines what_a_step_says_is_no_verdict_on_the_engine
        }
        owner { without_a_build_too places_to_mount_on_are_the_owners }
        sharing { stop_during_a_build a_builder_killed_in_mid_build_leaves_nothing }
    }
}

/// Scenarios without apple in which podman behaves like docker.
mod with_one_builder {
    on_docker! { images;
        sharing { a_killed_builder_is_replaced }
        container {
            a_run_with_ports_that_ends_at_once a_port_that_is_taken
            the_root_of_a_volume_stays_as_it_was_left volumes_of_projects_are_apart
        }
        failing {
            a_base_without_apt_is_said in_the_background_the_failure_is_the_clients
            the_output_of_a_build on_a_terminal_a_build_is_one_line
        }
        owner {
            users_of_the_base_do_not_get_in_the_way root_stays_root
            another_owner_gets_another_image excluded_directories_are_the_users
            directories_around_mounts_are_the_owners
        }
        project {
            every_input_counts the_build_is_kept_with_its_run
            the_entry_point_of_the_base_does_not_get_in_the_way
        }
        runtimes {
            the_first_runtime_is_the_base a_runtime_that_does_not_work_on_the_base_fails_the_build
            versions_are_those_of_the_registry
        }
        secrets { no_secret_is_in_an_image }
        sharing {
            twenty_first_runs_build_once kill_during_a_build stop_while_waiting_for_another_build
            interrupting_a_build a_failure_is_shared_by_those_who_wait
        }
    }
}

/// Scenarios that read docker's limits or the place of docker's copy of a workspace, and scenarios with packages,
/// which install with the same steps on every runtime.
mod on_docker {
    tests_on! { images docker Runtime::Docker;
        container {
            limits_are_set volumes_in_use_and_volumes_unknown the_volume_of_a_workspace_goes_with_the_run a_kept_container_with_a_copy
        }
        project { tools_of_all_kinds_and_hooks }
    }
}

/// Scenarios of podman alone.
mod on_podman {
    tests_on! { images podman Runtime::Podman;
        failing { a_build_that_others_got_in_the_way_of_is_tried_again }
    }
}
