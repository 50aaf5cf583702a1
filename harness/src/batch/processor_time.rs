//! Time that processors have spent, which says more than the clock on a busy machine.

use std::fs::read_to_string;
use std::time::Duration;

/// Ticks per second of the times in `/proc`, whatever the kernel's own (Linux
/// `include/asm-generic/param.h`, USER_HZ).
const TICKS: u64 = 100;

/// What this thread has had (Linux `Documentation/scheduler/sched-stats.rst`).
#[must_use]
pub fn of_thread() -> Option<Duration> {
    let statistics = read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = statistics.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// What this process and the children that it has waited for have had (proc(5), utime to
/// cstime).
#[must_use]
pub fn of_process_and_children() -> Option<Duration> {
    let status = read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = status.rsplit_once(')')?;
    let times = fields.split_whitespace().skip(11).take(4);
    let ticks = times
        .map(|field| field.parse::<u64>().ok())
        .sum::<Option<u64>>()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time() {
        let before = (of_thread().unwrap(), of_process_and_children().unwrap());
        let mut sum = 0_u64;
        while of_thread().unwrap() < before.0 + Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(of_process_and_children().unwrap() > before.1);
    }
}
