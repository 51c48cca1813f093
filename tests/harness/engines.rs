//! Lists of scenarios, and the runtimes each of them runs on. A scenario is a function
//! `crate::SUITE::THEME::SCENARIO`; a test of it is in a module named after the runtime, and hands the scenario to
//! `crate::SUITE::on`, which makes its place.
//!
//! ```ignore
//! everywhere! { services; connects { aliases_and_own_values } death { nobody_waits_for_it } }
//! ```

/// A test of each scenario in a module of this name, on this runtime.
macro_rules! tests_on {
    ($suite:ident $module:ident $runtime:expr; $($theme:ident { $($name:ident)* })*) => {
        mod $module {
            use crate::harness::Runtime;
            $($(
                #[test]
                fn $name() {
                    crate::$suite::on($runtime, crate::$suite::$theme::$name);
                }
            )*)*
        }
    };
}

/// The engines that are here for real.
macro_rules! on_engines {
    ($suite:ident; $($list:tt)*) => {
        tests_on! { $suite docker Runtime::Docker; $($list)* }
        tests_on! { $suite podman Runtime::Podman; $($list)* }
    };
}

/// Apple's `container` of one version, through the stand-in in testdata/bin.
macro_rules! on_apple {
    ($suite:ident $module:ident $version:literal; $($list:tt)*) => {
        tests_on! { $suite $module Runtime::Apple($version); $($list)* }
    };
}

/// The engines, and apple in its newest version alone: nothing in these lists depends on the version.
macro_rules! everywhere {
    ($suite:ident; $($list:tt)*) => {
        on_engines! { $suite; $($list)* }
        on_apple! { $suite apple_1_2 "1.2.2"; $($list)* }
    };
}

/// docker each time; podman in `make test-full`, where its dialect has no part in what the scenarios prove.
macro_rules! on_docker {
    ($suite:ident; $($list:tt)*) => {
        tests_on! { $suite docker Runtime::Docker; $($list)* }
        mod full {
            tests_on! { $suite podman Runtime::Podman; $($list)* }
        }
    };
}

/// The same with apple, too, in `make test-full`.
macro_rules! on_docker_first {
    ($suite:ident; $($list:tt)*) => {
        tests_on! { $suite docker Runtime::Docker; $($list)* }
        mod full {
            tests_on! { $suite podman Runtime::Podman; $($list)* }
            on_apple! { $suite apple_1_2 "1.2.2"; $($list)* }
        }
    };
}
