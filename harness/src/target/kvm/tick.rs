//! A timer that gets a thread out of a KVM_RUN in which the vCPU sleeps.
//!
//! With an in-kernel local APIC, HLT and wait-for-SIPI do not come back to the host: KVM_RUN
//! sleeps until an event of the guest or a signal (Linux `arch/x86/kvm/x86.c`, `vcpu_block`). No
//! other thread raises events here, so a vCPU that sleeps has nothing to wake it, and a signal
//! some time later ends KVM_RUN without touching the guest. The host then reads what the vCPU is
//! doing. A signal that meets a guest at work only makes it leave and enter once more.

use std::io;
use std::time::Duration;

/// Time until a vCPU that sleeps is noticed, and the pace at which the signal is repeated: one
/// that arrives just before KVM_RUN is entered does not interrupt it.
const PERIOD: Duration = Duration::from_millis(1);

/// A timer that interrupts the thread that made it.
pub(super) struct Tick {
    timer: libc::timer_t,
}

impl Tick {
    /// A timer for the calling thread that sends `signal`, which must have a handler.
    ///
    /// # Errors
    /// If the kernel has no timer left.
    pub(super) fn new(signal: i32) -> io::Result<Self> {
        // SAFETY: all zero is a valid sigevent: integers and a union of integers and pointers.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        // SAFETY: gettid has no preconditions.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both pointers are valid during the call.
        match unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) } {
            0 => Ok(Self { timer }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Starts to interrupt.
    pub(super) fn start(&self) {
        self.set(PERIOD);
    }

    /// Stops.
    pub(super) fn stop(&self) {
        self.set(Duration::ZERO);
    }

    fn set(&self, period: Duration) {
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: i64::from(period.subsec_nanos()),
        };
        let times = libc::itimerspec {
            it_interval: time,
            it_value: time,
        };
        // SAFETY: the timer exists as long as `self`, and `times` is valid during the call. It
        // fails only for a timer that does not exist or times that are none.
        unsafe { libc::timer_settime(self.timer, 0, &raw const times, std::ptr::null_mut()) };
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        // SAFETY: the timer was made by `new` and is deleted once.
        unsafe { libc::timer_delete(self.timer) };
    }
}
