//! One list of scenarios, run without changes on every runtime. Scenarios for only one runtime are in `docker_only`.
//!
//! The name of a failure contains runtime and scenario, e.g. `conformance::docker::exit_codes`.

mod apple_only;
mod apple_releases;
mod background;
mod bulk;
mod closed;
mod codes;
mod copies;
mod docker_only;
mod ending;
mod environment;
mod faults;
mod files;
mod hooks;
mod input;
mod isolation;
mod json;
mod last_words;
mod log;
mod logs;
mod looking;
mod names;
mod secrets;
mod settings;
mod signals;
mod streams;
mod transient;

use crate::harness::{Moat, Runtime};

/// All scenarios, in three lists. docker and bwrap run all of them, each time. Modules named `full` run only in `make
/// test-full`.
macro_rules! scenarios {
    (everywhere { $($all:tt)* } without_podman { $($dialect:tt)* } above_the_drivers { $($above:tt)* }) => {
        tests_on! { conformance docker Runtime::Docker; $($all)* $($dialect)* $($above)* }
        tests_on! { conformance bwrap Runtime::Bwrap; $($all)* $($dialect)* $($above)* }
        tests_on! { conformance podman Runtime::Podman; $($all)* }
        on_apple! { conformance apple_1_2 "1.2.2"; $($all)* $($dialect)* }
        mod full {
            tests_on! { conformance podman Runtime::Podman; $($dialect)* $($above)* }
            on_apple! { conformance apple_1_2 "1.2.2"; $($above)* }
            on_apple! { conformance apple_0_9 "0.9.0"; $($all)* $($dialect)* $($above)* }
            on_apple! { conformance apple_0_10 "0.10.0"; $($all)* $($dialect)* $($above)* }
            on_apple! { conformance apple_0_12 "0.12.3"; $($all)* $($dialect)* $($above)* }
        }
    };
}

/// The runtimes that really run here.
macro_rules! on_machine {
    ($($list:tt)*) => {
        on_engines! { conformance; $($list)* }
        tests_on! { conformance bwrap Runtime::Bwrap; $($list)* }
    };
}

/// Runs a scenario in its own place, or notes that it is skipped.
fn on(runtime: Runtime, scenario: fn(&Moat)) {
    if let Some(moat) = Moat::on(runtime) {
        scenario(&moat);
    }
}

scenarios! {
    everywhere {
        codes { exit_codes not_found_is_127 timeout_is_124 }
        streams {
            streams_are_apart_and_exact dev_stderr_can_be_opened bytes_that_are_no_text_are_exact
            output_of_a_fast_exit_is_complete what_a_grandchild_holds_open_does_not_hang
            arguments_arrive_untouched
        }
        bulk { megabytes_of_random_bytes }
        input {
            input_from_a_pipe megabytes_of_input empty_input input_that_cannot_be_read
            a_workload_that_stops_reading_ends_the_writer
        }
        closed { head_ends_the_run_quietly }
        environment {
            variables_by_name a_newline_in_a_value a_newline_in_a_value_of_any_name
            names_that_the_engine_obeys names_that_no_shell_has our_environment_stays_outside
        }
        secrets { secrets_are_nowhere secrets_of_all_kinds_are_nowhere }
        files {
            the_workspace_is_the_working_directory mounts_read_write mounts_read_only
            files_belong_to_the_owner_of_the_workspace home_is_writable_for_anybody
        }
        isolation {
            no_network_of_the_host
            no_processes_of_the_host nothing_of_moat_is_inside no_descriptor_leaks
            nothing_is_inherited_from_the_caller
            host_secrets_are_out_of_reach moats_directory_is_out_of_reach
        }
        background {
            background_prints_the_id_alone wait_has_the_code_and_logs_the_line
            killing_the_client_changes_nothing a_command_that_is_missing_in_the_background
        }
        ending {
            stop_lets_the_workload_finish stop_kills_after_its_time kill_is_at_once
            destroy_force_ends_it_first stop_wakes_those_who_wait
        }
        signals { interrupt_stops interrupting_twice_kills signals_reach_the_workload_once }
        copies {
            a_copy_comes_back_as_it_was_left the_copy_is_the_users a_copy_keeps_what_files_are
            the_copy_of_a_failed_run_is_kept a_larger_copy a_socket_in_the_workspace
        }
        hooks {
            a_hook_runs_before_the_command a_failed_hook_is_told_from_the_command
            a_hook_leaves_the_input_alone a_hook_may_start_something stop_during_a_hook
        }
        settings {
            excluded_directories directories_of_the_workspace_are_excluded a_mount_inside_the_workspace
            ulimits_hold_inside
        }
    }
    // podman uses docker's driver here: only its dialect differs, and the dialect has no part in these scenarios.
    without_podman {
        codes { a_timeout_kills_what_ignores_term timeout_in_the_background }
        streams {
            an_empty_log_exists order_within_each_stream_is_exact
            output_arrives_while_the_workload_runs
        }
        bulk { lines_of_a_megabyte_are_whole many_lines_are_complete_and_in_order }
        input {
            input_from_a_file input_of_others_is_left_alone input_is_passed_on_as_it_comes
            background_input a_silent_writer_does_not_hold_the_run
        }
        files { a_path_as_workspace }
        background { killing_the_group_changes_nothing }
        logs { follow_ends_with_the_run a_followed_long_line_is_whole an_unfinished_line_is_seen_soon }
        ending { a_stop_never_changes_an_end }
        signals {
            terminate_stops hangup_leaves_it_running a_client_that_is_gone_holds_no_pipe
            suspending_the_client_suspends_the_output quitting_the_client_leaves_it_running
        }
        copies {
            a_link_of_the_workspace_makes_nothing_outside the_home_of_moat_is_not_copied
            a_failed_export_leaves_the_runs_code
        }
        hooks {
            a_hook_ends_with_its_first_failure a_command_that_fails_after_its_hook
            the_command_is_untouched_by_its_hook interrupting_a_hook a_timeout_counts_the_hook
            a_long_hook
        }
    }
    // The drivers have no part in these scenarios: the code above them is the same for all.
    above_the_drivers {
        codes { json_of_a_run_is_its_record }
        closed {
            a_full_device_is_said_and_the_run_goes_on closed_stdout closed_stderr closed_both
        }
        environment { variables_by_value the_last_of_a_name_counts }
        secrets { a_secret_that_cannot_be_had_ends_it_before_anything_is_made }
        names {
            a_chosen_name_is_used a_name_is_unique_among_active_runs
            a_name_is_free_after_the_end many_runs_at_once_have_their_own_names
            runs_are_found_by_id_prefix_and_name ambiguity_lists_the_candidates
        }
        background {
            wait_for_several wait_after_the_end_returns_at_once background_can_be_the_default
        }
        logs {
            the_last_lines since_a_time timestamps lines_as_json one_stream_alone
            logs_while_it_runs_end_at_once
        }
        ending {
            stop_of_an_ended_run destroy_removes_the_record destroy_refuses_an_active_run
            destroy_is_all_or_nothing
        }
        signals { interrupting_wait_changes_nothing }
        copies {
            an_export_never_writes_over_anything the_only_copy_is_not_removed_lightly
            a_run_without_a_copy_has_nothing_to_export
        }
        settings {
            flags_of_docker a_command_from_the_file variables_from_the_files mounts_of_both_forms volumes_of_type_bind
            a_timeout_from_the_file interactive_from_the_file a_project_names_its_runs
            agent_yaml_where_moat_yaml_is_missing defaults_of_the_person
            mistakes_are_found_before_anything_is_made paths_are_relative_to_the_file
        }
        looking {
            list_shows_what_is_asked_for status_counts inspect_shows_the_record
            a_dry_run_makes_nothing
        }
        json { every_document_parses every_empty_document_parses }
    }
}

// Features that Apple's command line lacks, and the reasons. `apple_only` checks the refusals and the substitutes.
mod not_on_apple {
    on_machine! {
        // No option exists; each container is a virtual machine.
        isolation { no_new_privileges }
        // No option accepts a path with both ':' and ','.
        files { odd_paths }
    }
}

// Features from 0.10 on. Before, no process passes on signals, and the workload, which is the container's first
// process, ignores its own. A command that is not executable looks like a missing one.
mod since_apple_0_10 {
    macro_rules! list {
        ($($list:tt)*) => {
            on_machine! { $($list)* }
            on_apple! { conformance apple_1_2 "1.2.2"; $($list)* }
            mod full {
                on_apple! { conformance apple_0_10 "0.10.0"; $($list)* }
                on_apple! { conformance apple_0_12 "0.12.3"; $($list)* }
            }
        };
    }
    list! {
        codes { not_executable_is_126 killed_by_signal_is_137 terminated_by_itself_is_143 }
    }
}

// Features from 0.12 on. Before, a container has all capabilities, and a container with a mounted file can be created
// and not started.
mod since_apple_0_12 {
    macro_rules! list {
        ($($list:tt)*) => {
            on_machine! { $($list)* }
            on_apple! { conformance apple_1_2 "1.2.2"; $($list)* }
            mod full {
                on_apple! { conformance apple_0_12 "0.12.3"; $($list)* }
            }
        };
    }
    list! {
        isolation { capabilities_are_dropped }
        files { a_mount_of_one_file }
        settings { a_mount_inside_an_excluded_directory a_place_to_mount_on_is_the_owners }
        copies { what_is_mounted_in_a_copy_is_no_part_of_it }
    }
}

// `apple_releases` lists the scenarios of older releases in `make test`.
mod apple_only_tests {
    macro_rules! in_version {
        ($module:ident $version:literal) => {
            on_apple! { conformance $module $version;
                apple_only {
                    what_cannot_be_done_is_refused_by_name what_the_client_is_called_with
                    names_that_its_client_obeys
                    services_are_found_by_name a_service_that_is_started_again_is_found
                    commands_beside_a_run ports_are_published stop_wakes_at_once
                    a_run_that_lost_its_supervisor an_orphan_is_found_by_its_label
                    its_own_words_are_no_output what_a_workload_says_is_its_own
                    a_build_with_a_large_dockerfile a_builder_that_goes_away
                    a_builder_that_runs_has_the_name_servers a_copy_that_is_made_twice
                    what_is_inside_comes_after_what_is_outside files_inside_directories_are_refused
                }
                faults {
                    flaky_xpc removed_behind_back removed_between_two_looks removed_and_said_in_two_ways
                    stop_timeout_but_stopped create_timeout_but_created create_that_already_exists
                    create_timeout_and_then_nobody a_system_without_networks
                    a_network_of_another_system
                    a_network_that_lets_go_late an_address_that_comes_late daemon_restart
                    answers_that_cannot_be_read answers_of_another_shape states_that_nobody_knows
                    an_inspect_that_hangs a_delete_that_is_refused_at_first a_delete_that_says_nothing
                    a_code_that_is_lost the_client_is_killed an_engine_that_goes_away
                    the_services_are_down a_kernel_is_missing a_port_that_is_taken noise_is_no_output
                }
            }
        };
    }
    // The scenario waits for a timeout, and nothing depends on the version.
    mod once {
        on_apple! { conformance apple_1_2 "1.2.2"; faults { a_start_that_hangs } }
    }
    // The scenario waits for a timeout, with the oldest dialect and the newest.
    mod hangs {
        on_apple! { conformance apple_1_2 "1.2.2"; faults { a_delete_that_hangs a_stop_that_hangs } }
        mod full {
            on_apple! { conformance apple_0_9 "0.9.0"; faults { a_delete_that_hangs a_stop_that_hangs } }
        }
    }
    // One release for each of the two forms of errors.
    mod of_each_dialect {
        macro_rules! in_version {
            ($module:ident $version:literal) => {
                on_apple! { conformance $module $version;
                    last_words {
                        behind_an_open_line with_much_behind_them beside_what_is_no_text
                        where_the_log_cannot_be_had before_the_clients of_another_command
                    }
                    transient {
                        a_start_that_was_not_heard a_start_that_is_never_heard
                        a_start_with_input_that_was_not_heard
                        a_start_with_services_that_was_not_heard
                        an_image_that_did_not_come_at_once what_a_service_comes_with
                        a_service_whose_list_fails a_service_whose_list_fails_later
                        a_supervisor_that_dies_before_the_names a_status_that_hangs
                    }
                }
            };
        }
        in_version! { apple_1_2 "1.2.2" }
        mod full {
            in_version! { apple_0_9 "0.9.0" }
        }
    }
    in_version! { apple_1_2 "1.2.2" }
    mod full {
        in_version! { apple_0_9 "0.9.0" }
        in_version! { apple_0_10 "0.10.0" }
        in_version! { apple_0_12 "0.12.3" }
    }
}

// Without `out_of_memory_is_said`: podman learns of it only with version 2 of control groups.
tests_on! { conformance podman_only_tests Runtime::Podman;
    docker_only {
        keep_keeps_the_container_until_destroy
        a_container_removed_behind_our_back_is_lost a_paused_container_is_waited_for
        a_renamed_container_is_found
        labels_are_exact limits_reach_the_engine
        reading_commands_do_not_call_the_engine kill_by_the_engine_is_an_exit
        foreign_containers_are_left_alone
    }
}

// Scenarios that depend on the user, or on podman's differences without root.
tests_on! { conformance podman_rootless Runtime::PodmanRootless;
    codes { exit_codes not_executable_is_126 not_found_is_127 timeout_is_124 }
    streams { output_of_a_fast_exit_is_complete }
    input { megabytes_of_input }
    environment { our_environment_stays_outside }
    files {
        the_workspace_is_the_working_directory mounts_read_write mounts_read_only odd_paths
        home_is_writable_for_anybody
    }
    isolation { capabilities_are_dropped no_new_privileges no_network_of_the_host no_processes_of_the_host }
    background { killing_the_client_changes_nothing }
    logs { follow_ends_with_the_run }
    ending { stop_lets_the_workload_finish stop_kills_after_its_time kill_is_at_once }
    copies { a_larger_copy what_is_mounted_in_a_copy_is_no_part_of_it }
    hooks { a_failed_hook_is_told_from_the_command }
    settings {
        a_mount_inside_the_workspace excluded_directories directories_of_the_workspace_are_excluded
        ulimits_hold_inside
    }
    docker_only { a_container_removed_behind_our_back_is_lost }
}

// The user has no part in these scenarios: podman of root runs them each time, or docker by the same driver.
mod of_any_user {
    mod full {
        tests_on! { conformance podman_rootless Runtime::PodmanRootless;
            codes { killed_by_signal_is_137 }
            streams {
                streams_are_apart_and_exact an_empty_log_exists bytes_that_are_no_text_are_exact
                what_a_grandchild_holds_open_does_not_hang
            }
            input { input_from_a_pipe a_workload_that_stops_reading_ends_the_writer }
            environment { variables_by_name a_newline_in_a_value names_that_the_engine_obeys }
            background { background_prints_the_id_alone wait_has_the_code_and_logs_the_line }
            logs { a_followed_long_line_is_whole }
            ending { stop_wakes_those_who_wait }
            signals { interrupt_stops }
            copies { the_copy_of_a_failed_run_is_kept }
            hooks { a_hook_ends_with_its_first_failure }
            docker_only { kill_by_the_engine_is_an_exit }
        }
    }
}

// What depends on the users of the engine, and what rootless podman does in another way.
tests_on! { conformance docker_rootless Runtime::DockerRootless;
    codes {
        exit_codes not_executable_is_126 not_found_is_127
        killed_by_signal_is_137 timeout_is_124
    }
    streams { streams_are_apart_and_exact output_of_a_fast_exit_is_complete }
    input { input_from_a_pipe megabytes_of_input }
    environment { variables_by_name names_that_the_engine_obeys names_that_no_shell_has }
    files {
        the_workspace_is_the_working_directory mounts_read_write mounts_read_only odd_paths
        home_is_writable_for_anybody a_mount_of_one_file
    }
    isolation { capabilities_are_dropped no_new_privileges no_network_of_the_host no_processes_of_the_host }
    background { wait_has_the_code_and_logs_the_line killing_the_client_changes_nothing }
    ending { stop_lets_the_workload_finish kill_is_at_once }
    signals { interrupt_stops }
    copies {
        the_copy_is_the_users the_copy_of_a_failed_run_is_kept a_larger_copy
        what_is_mounted_in_a_copy_is_no_part_of_it
    }
    hooks { a_hook_ends_with_its_first_failure a_failed_hook_is_told_from_the_command }
    settings { a_mount_inside_the_workspace excluded_directories volumes_of_type_bind }
    docker_only {
        a_container_removed_behind_our_back_is_lost kill_by_the_engine_is_an_exit
    }
}

tests_on! { conformance docker_only_tests Runtime::Docker;
    docker_only {
        a_user_without_an_entry_has_a_name
        out_of_memory_is_said keep_keeps_the_container_until_destroy
        a_container_removed_behind_our_back_is_lost a_paused_container_is_waited_for
        a_renamed_container_is_found
        labels_are_exact warnings_of_the_client_are_not_the_workloads limits_reach_the_engine five_engine_calls_at_most
        reading_commands_do_not_call_the_engine kill_by_the_engine_is_an_exit
        foreign_containers_are_left_alone
    }
}

tests_on! { conformance bwrap_only_tests Runtime::Bwrap;
    settings {
        another_root_filesystem what_a_sandbox_cannot_honour_is_named
        limits_by_a_control_group a_copy_for_another_owner_is_refused
        read_only_directories_can_be_removed certificates_of_the_host
    }
}
