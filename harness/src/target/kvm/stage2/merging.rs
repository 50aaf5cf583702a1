//! Merging pages of the same contents by the kernel's own daemon (KSM), seen through to its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::area::Area;
use super::{Failure, PAGE, call};

/// Where the daemon is told what to do.
const DAEMON: &str = "/sys/kernel/mm/ksm";
/// It scans pages twice before it merges them.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);
/// Bits of a page in /proc/kpageflags (Linux include/uapi/linux/kernel-page-flags.h): KPF_KSM and
/// KPF_ZERO_PAGE.
const MERGED: u64 = 1 << 21 | 1 << 24;

/// Merges pages with others that may be merged, those of zeros with the zero page. All of them must be
/// such that they can be merged.
///
/// # Errors
/// If the host is not ours, its kernel does not merge, or it has not done so in time.
pub(super) fn merge(area: &Area, page: u32, pages: u32) -> Result<(), Failure> {
    if std::process::id() != 1 {
        return Err(Failure::HostSetting);
    }
    if !std::path::Path::new(DAEMON).exists() {
        return Err(Failure::NoMerging);
    }
    area.let_merge(page, pages)
        .map_err(call("madvise(MADV_MERGEABLE)"))?;
    let settings = [("use_zero_pages", "1"), ("sleep_millisecs", "1"), ("run", "1")];
    for (name, value) in settings {
        set(name, value)?;
    }
    let merged = wait(area, page, pages);
    // What is merged stays so.
    set("run", "0")?;
    merged.map_err(call("waiting for KSM to merge pages"))
}

fn set(name: &str, value: &str) -> Result<(), Failure> {
    std::fs::write(format!("{DAEMON}/{name}"), value).map_err(call("write(/sys/kernel/mm/ksm)"))
}

fn wait(area: &Area, page: u32, pages: u32) -> io::Result<()> {
    let frames = File::open("/proc/self/pagemap")?;
    let flags = File::open("/proc/kpageflags")?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let mut all = true;
        for page in page..page + pages {
            all &= is_merged(&frames, &flags, area.address(page))?;
        }
        if all {
            return Ok(());
        }
        sleep(POLL);
    }
    let what = format!("not done after {} s", PATIENCE.as_secs());
    Err(io::Error::new(io::ErrorKind::TimedOut, what))
}

/// Whether the page at an address of this process is one that the daemon has put there.
fn is_merged(frames: &File, flags: &File, address: usize) -> io::Result<bool> {
    const PRESENT: u64 = 1 << 63;
    const FRAME: u64 = (1 << 55) - 1;
    let entry = word(frames, (address / PAGE) as u64)?;
    if entry & PRESENT == 0 {
        return Ok(false);
    }
    Ok(word(flags, entry & FRAME)? & MERGED != 0)
}

fn word(file: &File, index: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, index * 8)?;
    Ok(u64::from_ne_bytes(bytes))
}
