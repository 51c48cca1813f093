//! Lists of scenarios, and the runtimes on which each of them runs. A scenario is a function
//! `crate::SUITE::THEME::SCENARIO`. Its test is in a module named after the runtime, and passes the scenario to
//! `crate::SUITE::on`, which creates its place.
//!
//! ```ignore
//! everywhere! { services; connects { aliases_and_own_values } death { nobody_waits_for_it } }
//! ```

/// A test of each scenario on this runtime, in a module of this name.
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

/// The engines that really run here.
macro_rules! on_engines {
    ($suite:ident; $($list:tt)*) => {
        tests_on! { $suite docker Runtime::Docker; $($list)* }
        tests_on! { $suite podman Runtime::Podman; $($list)* }
    };
}

/// One version of Apple's `container`, through the stand-in in testdata/bin.
macro_rules! on_apple {
    ($suite:ident $module:ident $version:literal; $($list:tt)*) => {
        tests_on! { $suite $module Runtime::Apple($version); $($list)* }
    };
}

/// The engines, and only the newest version of apple: nothing in these lists depends on the version.
macro_rules! everywhere {
    ($suite:ident; $($list:tt)*) => {
        on_engines! { $suite; $($list)* }
        on_apple! { $suite apple_1_2 "1.2.2"; $($list)* }
    };
}

/// docker each time; podman in `make test-full`, because its dialect has no part in what the scenarios prove.
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
