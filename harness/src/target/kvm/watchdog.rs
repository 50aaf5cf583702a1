//! Gets a thread out of KVM_RUN when the guest does not reach a point in time.
//!
//! One long-lived thread looks several times per budget whether the stretch that the
//! guest is in is still the one it saw before. Arming and disarming are one atomic
//! increment each: no clock and no system call on the way into the guest.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often the thread looks within one budget. A signal that arrives just before
/// KVM_RUN is entered does not interrupt it, so the signal is repeated at this pace.
const LOOKS_PER_BUDGET: u32 = 8;

/// Interrupts guests that run on.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Number of the current stretch; odd while the guest may run.
    stretch: AtomicU64,
    /// The last stretch that took too long.
    expired: AtomicU64,
    /// Kernel thread id of the thread in the stretch.
    runner: AtomicI32,
    stop: AtomicBool,
}

impl Watchdog {
    /// Starts the thread. A stretch that takes longer than `budget` expires.
    ///
    /// # Errors
    /// If the signal handler cannot be installed or the thread cannot be started.
    pub(super) fn start(budget: Duration) -> io::Result<Self> {
        install_handler()?;
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("kvm-watchdog".to_owned())
            .spawn(move || watch(&watched, budget))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Begins a stretch on the calling thread.
    pub(super) fn arm(&self) {
        self.shared.runner.store(runner_id(), Ordering::Relaxed);
        self.shared.stretch.fetch_add(1, Ordering::Release);
    }

    /// Ends the stretch.
    pub(super) fn disarm(&self) {
        self.shared.stretch.fetch_add(1, Ordering::Release);
    }

    /// Whether the current stretch took too long.
    pub(super) fn expired(&self) -> bool {
        self.shared.expired.load(Ordering::Acquire) == self.shared.stretch.load(Ordering::Relaxed)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It holds nothing and cannot panic; there is nothing to do if it did.
            let _ = thread.join();
        }
    }
}

fn watch(shared: &Shared, budget: Duration) {
    let mut seen = 0;
    let mut since = Instant::now();
    while !shared.stop.load(Ordering::Acquire) {
        thread::park_timeout(budget / LOOKS_PER_BUDGET);
        let stretch = shared.stretch.load(Ordering::Acquire);
        if stretch != seen {
            seen = stretch;
            since = Instant::now();
        } else if stretch % 2 == 1 && since.elapsed() >= budget {
            shared.expired.store(stretch, Ordering::Release);
            interrupt(shared.runner.load(Ordering::Relaxed));
        }
    }
}

/// The signal that interrupts KVM_RUN.
pub(super) fn signal() -> i32 {
    libc::SIGRTMIN()
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// Installs a handler that does nothing: a signal with a handler makes KVM_RUN return
/// EINTR, one that is ignored does not.
fn install_handler() -> io::Result<()> {
    // SAFETY: all zero is a valid sigaction: no flags (so no SA_RESTART), empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = ignore;
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: `action` is initialised and its handler does nothing, which is
    // async-signal-safe; no old action is asked for.
    match unsafe { libc::sigaction(signal(), &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Kernel thread id of the calling thread, which from then on takes the signal.
fn runner_id() -> i32 {
    thread_local!(static ID: Cell<i32> = const { Cell::new(0) });
    ID.with(|id| {
        if id.get() == 0 {
            // SAFETY: gettid has no preconditions.
            id.set(unsafe { libc::gettid() });
            unblock_signal();
        }
        id.get()
    })
}

fn unblock_signal() {
    // SAFETY: all zero is storage for a sigset_t, which sigemptyset then initialises.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for reads and writes during the three calls, and no old mask
    // is asked for.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}

fn interrupt(thread: i32) {
    // SAFETY: tgkill takes three integers. A thread that is gone gives ESRCH, and a thread
    // of this process that got its number takes a signal whose handler does nothing.
    unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_expires_and_the_next_one_does_not() {
        let watchdog = Watchdog::start(Duration::from_millis(40)).expect("watchdog");
        watchdog.arm();
        let begin = Instant::now();
        while !watchdog.expired() {
            assert!(begin.elapsed() < Duration::from_secs(20), "never expired");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(begin.elapsed() >= Duration::from_millis(40));
        watchdog.disarm();
        watchdog.arm();
        assert!(!watchdog.expired());
        watchdog.disarm();
    }

    #[test]
    fn a_blocking_call_is_interrupted() {
        let watchdog = Watchdog::start(Duration::from_millis(40)).expect("watchdog");
        watchdog.arm();
        // SAFETY: poll on no descriptors only sleeps.
        let outcome = unsafe { libc::poll(std::ptr::null_mut(), 0, 20_000) };
        let error = io::Error::last_os_error();
        watchdog.disarm();
        assert_eq!(outcome, -1);
        assert_eq!(error.raw_os_error(), Some(libc::EINTR));
    }
}
