//! Which engines a list of scenarios runs on: `everywhere! { theme { scenario … } … }` makes a test of each
//! `crate::theme::scenario(runtime)`, in a module that is called like the engine.

macro_rules! tests_on {
    ($module:ident $runtime:expr; $($theme:ident { $($name:ident)* })*) => {
        mod $module {
            use super::Runtime;
            $($(
                #[test]
                fn $name() {
                    crate::$theme::$name($runtime);
                }
            )*)*
        }
    };
}

/// The engines that are here for real.
macro_rules! on_engines {
    ($($list:tt)*) => {
        tests_on! { docker Runtime::Docker; $($list)* }
        tests_on! { podman Runtime::Podman; $($list)* }
    };
}

/// These, and apple in its newest version alone, as nothing in it depends on the version.
macro_rules! everywhere {
    ($($list:tt)*) => {
        on_engines! { $($list)* }
        tests_on! { apple_1_2 Runtime::Apple("1.2.2"); $($list)* }
    };
}
