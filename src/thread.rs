//! Threads that work on their own.
//!
//! What begins a thread the library makes anew for each piece of work, 400 bytes at each place. Here it is made once.

use std::thread::{JoinHandle, Scope};

/// Begins a piece of work.
pub(crate) fn begin(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    fn begin(work: Box<dyn FnOnce() + Send>) -> JoinHandle<()> {
        std::thread::spawn(work)
    }
    begin(Box::new(work))
}

/// Begins a piece of work that borrows; the scope waits for its end.
pub(crate) fn begin_in<'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() + Send + 'scope,
) {
    fn begin<'scope>(scope: &'scope Scope<'scope, '_>, work: Box<dyn FnOnce() + Send + 'scope>) {
        scope.spawn(work);
    }
    begin(scope, Box::new(work));
}
