//! Ctrl-C: remembers it, so that the run can stop cleanly.

use std::sync::atomic::{AtomicBool, Ordering};

use libc::{SIGINT, SIGTERM, c_int, c_void, siginfo_t};
use vmm_sys_util::signal::register_signal_handler;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn remember(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on SIGINT and SIGTERM are remembered rather than fatal. Where the handler
/// cannot be set they stay fatal, which is no harm.
pub(super) fn catch() {
    for signal in [SIGINT, SIGTERM] {
        let _ = register_signal_handler(signal, remember);
    }
}

/// Whether the user wants to stop.
pub(super) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
