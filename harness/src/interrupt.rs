//! SIGINT and SIGTERM: remembered, so that whatever runs can stop cleanly.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// How often anything that waits looks whether it is to stop.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// How long stopping may take. A model in the middle of a case cannot be stopped otherwise.
const GRACE: Duration = Duration::from_secs(2);

/// Number of SIGINT (signal(7)).
pub(crate) const INTERRUPT: usize = 2;
/// Number of SIGTERM.
pub(crate) const TERMINATE: usize = 15;

/// Number of the signal that came; 0 before.
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on the first SIGINT or SIGTERM is remembered, and the process ends by itself
/// soon after, whatever it does; the second one ends it at once. Where a handler cannot be
/// set the signal stays fatal, which is no harm.
pub(crate) fn catch() {
    if SIGNAL.get().is_some() {
        return;
    }
    let signal = Arc::clone(SIGNAL.get_or_init(Arc::default));
    let came = Arc::new(AtomicBool::new(false));
    for (number, value) in [(SIGINT, INTERRUPT), (SIGTERM, TERMINATE)] {
        // Actions of a signal happen in the order in which they are registered.
        let _ = flag::register_conditional_shutdown(number, status(value).into(), Arc::clone(&came));
        let _ = flag::register(number, Arc::clone(&came));
        let _ = flag::register_usize(number, Arc::clone(&signal), value);
    }
    thread::spawn(|| {
        loop {
            thread::sleep(LOOK);
            if let Some(signal) = received() {
                thread::sleep(GRACE);
                std::process::exit(status(signal).into());
            }
        }
    });
}

/// The signal that asked to stop, if one came: 2 for SIGINT, 15 for SIGTERM.
pub(crate) fn received() -> Option<usize> {
    let signal = SIGNAL.get()?.load(Ordering::Relaxed);
    (signal != 0).then_some(signal)
}

/// Whether the user wants to stop.
pub(crate) fn interrupted() -> bool {
    received().is_some()
}

/// What a process exits with because of a signal: 128 and its number.
fn status(signal: usize) -> u8 {
    u8::try_from(signal).unwrap_or(0).saturating_add(128)
}
