//! Notices during a wait for a supervisor, which may be stopped (SIGSTOP) or blocked by a disk.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::store::{Home, RunId};

/// Time between two notices. The time scale of the tests does not apply: on a busy machine, many waits would be told.
const INTERVAL: Duration = Duration::from_secs(10);

/// Prints a notice.
pub(crate) type TellFn<'a> = &'a (dyn Fn(&str) + Sync);

/// Waits for the supervisor of a run by `wait`. After `expected`, and then every few seconds, tells which process it
/// waits for.
pub(super) fn while_waiting<T>(
    home: &Home,
    id: &RunId,
    expected: Duration,
    tell: TellFn<'_>,
    wait: impl FnOnce() -> T,
) -> T {
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut pause = expected + INTERVAL;
            while is_done.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                tell(&notice(home, id));
                pause = INTERVAL;
            }
        });
        let result = wait();
        drop(done);
        result
    })
}

fn notice(home: &Home, id: &RunId) -> String {
    let Ok(Some(owner)) = home.run(id).owner() else {
        return format!("still waiting for a supervisor of {id}");
    };
    let pid = owner.pid;
    let state = match process_state(pid) {
        Some('T' | 't') => format!(", which is stopped; to continue it: kill -CONT {pid}"),
        Some('D') => ", which waits for a disk or a network filesystem".to_owned(),
        _ => String::new(),
    };
    format!("still waiting for the supervisor of {id}, process {pid}{state}")
}

/// The state of a process, as proc(5) has it; `None` on other systems.
fn process_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.chars().next()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::store::scratch::Scratch;

    #[test]
    fn a_long_wait_is_told_and_a_short_one_is_not() {
        let (home, id) = (Scratch::new(), RunId::parse("run_0123456789ab").unwrap());
        let told = Mutex::new(Vec::new());
        let tell = |text: &str| told.lock().unwrap().push(text.to_owned());
        while_waiting(&home, &id, Duration::from_secs(60), &tell, || {});
        assert!(told.lock().unwrap().is_empty());
        assert_eq!(
            notice(&home, &id),
            "still waiting for a supervisor of run_0123456789ab"
        );
        assert!(matches!(process_state(std::process::id()), Some('R' | 'S')));
    }
}
