//! The scenarios that older releases of Apple's command line run in `make test`; 1.2.2 runs every scenario. Each row
//! is a difference between releases, the releases on both sides of it, and the scenarios that notice it. The driver
//! checks the release in five places (src/runtime/apple/version.rs), and reads two dialects of errors and two of
//! JSON.
//!
//! All scenarios with all releases are in modules named `full`. The tables in src/runtime/apple/tests.rs cover the
//! arguments, the JSON and the errors of each release.

macro_rules! row {
    ($row:ident [$($release:ident)*] $list:tt) => {
        mod $row {
            $(with! { $release $list })*
        }
    };
}

macro_rules! with {
    (v0_9 { $($list:tt)* }) => { on_apple! { conformance apple_0_9 "0.9.0"; $($list)* } };
    (v0_10 { $($list:tt)* }) => { on_apple! { conformance apple_0_10 "0.10.0"; $($list)* } };
    (v0_12 { $($list:tt)* }) => { on_apple! { conformance apple_0_12 "0.12.3"; $($list)* } };
}

// A run starts, is logged, has its exit code, is stopped, is adopted; a service and a port work.
row! { each [v0_9 v0_10 v0_12] {
    codes { exit_codes not_found_is_127 }
    streams { streams_are_apart_and_exact }
    input { input_from_a_pipe }
    background { wait_has_the_code_and_logs_the_line }
    ending { stop_lets_the_workload_finish }
    apple_only {
        what_the_client_is_called_with commands_beside_a_run a_run_that_lost_its_supervisor
        services_are_found_by_name ports_are_published an_orphan_is_found_by_its_label
    }
} }

// `has_init`, from 0.10 on: an init process that passes on signals and reaps orphans. Before, the workload is the
// first process and ignores its own signals, and a command that is not executable looks like a missing one.
row! { init [v0_9 v0_10] {
    ending { stop_kills_after_its_time }
    signals { interrupt_stops signals_reach_the_workload_once }
    streams { what_a_grandchild_holds_open_does_not_hang }
} }
row! { with_init [v0_10] {
    codes { not_executable_is_126 killed_by_signal_is_137 terminated_by_itself_is_143 }
} }

// `has_capabilities`, from 0.12 on; before, `what_the_client_is_called_with` checks that no capability is named.
row! { capabilities [v0_12] { isolation { capabilities_are_dropped } } }

// `orders_mounts`, from 0.12 on: before, the order of the arguments counts.
row! { order_of_mounts [v0_9 v0_10 v0_12] {
    apple_only { what_is_inside_comes_after_what_is_outside }
    settings { excluded_directories a_mount_inside_the_workspace }
} }

// `mounts_files`, from 0.12 on: before, a container with a mounted file can be created and not started.
row! { files [v0_9 v0_10 v0_12] {
    apple_only { what_cannot_be_done_is_refused_by_name files_inside_directories_are_refused }
} }
row! { with_files [v0_12] {
    files { a_mount_of_one_file }
    settings { a_mount_inside_an_excluded_directory a_place_to_mount_on_is_the_owners }
    copies { what_is_mounted_in_a_copy_is_no_part_of_it }
} }

// `builds_with_dns`, from 1.2.1 on: before, moat sets the name servers of a running builder.
row! { builder [v0_9 v0_12] { apple_only { a_builder_that_runs_has_the_name_servers } } }

// Up to 0.9 an error is printed as in its cause: `Error: notFound: "text"`.
row! { errors_with_codes [v0_9] {
    apple_only { its_own_words_are_no_output a_builder_that_goes_away }
    faults {
        flaky_xpc removed_behind_back removed_and_said_in_two_ways stop_timeout_but_stopped
        create_timeout_but_created create_that_already_exists a_system_without_networks
        a_network_that_lets_go_late daemon_restart a_delete_that_is_refused_at_first
        a_delete_that_says_nothing a_code_that_is_lost the_services_are_down a_kernel_is_missing
        a_port_that_is_taken
    }
    last_words { behind_an_open_line before_the_clients of_another_command }
    transient { a_start_that_was_not_heard an_image_that_did_not_come_at_once }
} }

// In 0.10 several errors do not say that a resource is missing.
row! { errors_without_a_reason [v0_10] {
    faults { removed_behind_back removed_and_said_in_two_ways a_delete_that_says_nothing }
} }

// Before 1.0 the JSON has dates as numbers, its state in another place, and an empty array for a missing resource.
row! { json_before_1_0 [v0_9 v0_12] {
    faults {
        removed_between_two_looks answers_of_another_shape states_that_nobody_knows
        an_address_that_comes_late
    }
} }
