//! The host memory under a scenario: one address range for each backing.
//!
//! Ranges lie far below where the kernel puts new mappings, so that nothing else gets to be
//! where a scenario has unmapped something, and guard pages stand around each.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use spec_model::stage2::scenario::{Backing, BackingKind, Fill, PAGE_SIZE, Protection};

use super::own_memory;

/// Where ranges begin; a process on arm64 may have 39 bits of addresses only.
const FIRST: usize = 0x20_0000_0000;
/// Distance of ranges. Each begins at a multiple of 2 MiB, as huge pages do.
const STRIDE: usize = 0x1000_0000;
/// Number of ranges.
const RANGES: usize = 1024;
/// Bytes of guard pages before and after each.
const GUARD: usize = 0x20_0000;
/// Longest backing in pages.
const MOST_PAGES: u32 = 8192;
/// Bytes of a huge page.
const HUGE_PAGE: usize = 0x20_0000;
/// Bytes of a page.
const PAGE: usize = PAGE_SIZE as usize;

/// The range that is tried next.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The address range of one backing, and the file under it. Dropping it unmaps the range.
pub(super) struct Area {
    start: usize,
    pages: u32,
    file: Option<File>,
}

impl Area {
    /// Maps a backing with what it holds at the start.
    ///
    /// # Errors
    /// If the host cannot.
    pub(super) fn new(backing: &Backing) -> io::Result<Self> {
        if backing.pages > MOST_PAGES {
            let what = format!(
                "a backing of {} pages; {MOST_PAGES} at most are possible",
                backing.pages
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let file = match backing.kind {
            BackingKind::Memfd => Some(memfd()?),
            BackingKind::PrivateFile | BackingKind::SharedFile => Some(nameless_file()?),
            BackingKind::Anonymous | BackingKind::Hole => None,
        };
        let start = reserve(backing.pages)?;
        let area = Self {
            start,
            pages: backing.pages,
            file,
        };
        if let Some(file) = &area.file {
            file.set_len(u64::from(backing.pages) * PAGE_SIZE)?;
            if backing.fill != Fill::Untouched {
                for page in 0..backing.pages {
                    file.write_all_at(&[backing.fill.byte(page); PAGE], u64::from(page) * PAGE_SIZE)?;
                }
            }
        }
        let written = backing.kind == BackingKind::Anonymous && backing.fill != Fill::Untouched;
        let first = if written {
            Protection::ReadWrite
        } else {
            backing.protection
        };
        area.map(0, backing.pages, backing.kind, area.file.as_ref(), first)?;
        if backing.huge {
            if std::process::id() == 1 {
                // A kernel with less than 512 MiB switches huge pages off.
                std::fs::write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise")?;
            }
            let start = std::ptr::without_provenance_mut(start);
            // SAFETY: the range was mapped for this value, into which nothing refers.
            check(unsafe { libc::madvise(start, PAGE * backing.pages as usize, libc::MADV_HUGEPAGE) })?;
        }
        if written {
            for page in 0..backing.pages {
                area.write(page, 0, &[backing.fill.byte(page); PAGE])?;
            }
            area.protect(0, backing.pages, backing.protection)?;
        }
        Ok(area)
    }

    /// Address of a page in this process.
    pub(super) fn address(&self, page: u32) -> usize {
        self.start + PAGE * page as usize
    }

    /// The file under it.
    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Whether anonymous memory of the range lies in pages of 2 MiB, all that can.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub(super) fn is_huge(&self) -> io::Result<bool> {
        let maps = std::fs::read_to_string("/proc/self/smaps")?;
        let start = format!("{:x}-", self.start);
        let mut lines = maps.lines().skip_while(|line| !line.starts_with(&start));
        let line = lines.find_map(|line| line.strip_prefix("AnonHugePages:"));
        let size = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kilobytes: usize = size.and_then(|size| size.trim().parse().ok()).unwrap_or(0);
        let all = PAGE * self.pages as usize / HUGE_PAGE * HUGE_PAGE;
        Ok(kilobytes * 1024 == all)
    }

    /// Reads through the mapping.
    pub(super) fn read(&self, page: u32, offset: u16, bytes: &mut [u8]) -> io::Result<()> {
        own_memory::read(self.address(page) + usize::from(offset), bytes)
    }

    /// Writes through the mapping.
    pub(super) fn write(&self, page: u32, offset: u16, bytes: &[u8]) -> io::Result<()> {
        self.inside(page, 1)?;
        // SAFETY: the range belongs to this value, and there never is a reference into it.
        unsafe { own_memory::write(self.address(page) + usize::from(offset), bytes) }
    }

    /// Maps something in place of what is there. `file` is mapped at the same pages.
    pub(super) fn map(
        &self,
        page: u32,
        pages: u32,
        kind: BackingKind,
        file: Option<&File>,
        protection: Protection,
    ) -> io::Result<()> {
        self.inside(page, pages)?;
        let address = std::ptr::without_provenance_mut(self.address(page));
        let length = PAGE * pages as usize;
        let (flags, descriptor) = match (kind, file) {
            (BackingKind::Hole, _) => {
                // SAFETY: the pages lie in the range of this value, into which nothing refers.
                return check(unsafe { libc::munmap(address, length) });
            }
            (BackingKind::Anonymous, _) => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
            (BackingKind::PrivateFile, Some(file)) => (libc::MAP_PRIVATE, file.as_raw_fd()),
            (BackingKind::SharedFile | BackingKind::Memfd, Some(file)) => {
                (libc::MAP_SHARED, file.as_raw_fd())
            }
            (_, None) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "this backing has no file",
                ));
            }
        };
        let offset = if descriptor == -1 {
            0
        } else {
            u64::from(page) * PAGE_SIZE
        };
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: as above; a file stays open as long as it is borrowed.
        let mapped = unsafe {
            libc::mmap(
                address,
                length,
                flags_of(protection),
                flags | libc::MAP_FIXED | libc::MAP_NORESERVE,
                descriptor,
                offset,
            )
        };
        check(if mapped == libc::MAP_FAILED { -1 } else { 0 })
    }

    /// mremap to the same pages of another range.
    pub(super) fn move_pages(&self, page: u32, pages: u32, to: &Self) -> io::Result<()> {
        self.inside(page, pages)?;
        to.inside(page, pages)?;
        let length = PAGE * pages as usize;
        let from = std::ptr::without_provenance_mut(self.address(page));
        let target = std::ptr::without_provenance_mut::<libc::c_void>(to.address(page));
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: both places lie in ranges of such values, into which nothing refers.
        let moved = unsafe { libc::mremap(from, length, length, flags, target) };
        check(if moved == libc::MAP_FAILED { -1 } else { 0 })
    }

    /// mprotect.
    pub(super) fn protect(&self, page: u32, pages: u32, protection: Protection) -> io::Result<()> {
        self.inside(page, pages)?;
        let address = std::ptr::without_provenance_mut(self.address(page));
        // SAFETY: the pages lie in the range of this value, into which nothing refers.
        check(unsafe { libc::mprotect(address, PAGE * pages as usize, flags_of(protection)) })
    }

    /// madvise with MADV_DONTNEED or MADV_FREE.
    pub(super) fn drop_pages(&self, page: u32, pages: u32, at_once: bool) -> io::Result<()> {
        self.inside(page, pages)?;
        let address = std::ptr::without_provenance_mut(self.address(page));
        let advice = if at_once {
            libc::MADV_DONTNEED
        } else {
            libc::MADV_FREE
        };
        // SAFETY: the pages lie in the range of this value, into which nothing refers.
        check(unsafe { libc::madvise(address, PAGE * pages as usize, advice) })
    }

    /// Lets the kernel merge pages with others of the same contents (MADV_MERGEABLE).
    pub(super) fn let_merge(&self, page: u32, pages: u32) -> io::Result<()> {
        self.inside(page, pages)?;
        let address = std::ptr::without_provenance_mut(self.address(page));
        // SAFETY: the pages lie in the range of this value, into which nothing refers.
        check(unsafe { libc::madvise(address, PAGE * pages as usize, libc::MADV_MERGEABLE) })
    }

    fn inside(&self, page: u32, pages: u32) -> io::Result<()> {
        match page.checked_add(pages) {
            Some(end) if end <= self.pages && pages != 0 => Ok(()),
            _ => {
                let what = format!("{pages} pages from page {page} of a backing of {}", self.pages);
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        let start = std::ptr::without_provenance_mut(self.start - GUARD);
        let length = PAGE * self.pages as usize + 2 * GUARD;
        // SAFETY: the range and its guards were reserved for this value, into which nothing refers.
        // Slots that still point there lose their pages through KVM's MMU notifier.
        unsafe { libc::munmap(start, length) };
    }
}

/// Reserves a range with its guards, which nothing may access.
fn reserve(pages: u32) -> io::Result<usize> {
    let length = PAGE * pages as usize;
    for _ in 0..RANGES {
        let range = NEXT.fetch_add(1, Ordering::Relaxed) % RANGES;
        let start = FIRST + range * STRIDE;
        // SAFETY: with MAP_FIXED_NOREPLACE a mapping never takes the place of another one.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::without_provenance_mut(start - GUARD),
                length + 2 * GUARD,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
        if mapped != libc::MAP_FAILED {
            return Ok(start);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EEXIST) {
            return Err(error);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::OutOfMemory,
        "no address range is left for a backing",
    ))
}

fn memfd() -> io::Result<File> {
    // SAFETY: the name ends with a NUL.
    let descriptor = unsafe { libc::memfd_create(c"conform".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// A file in the folder for temporary files that has no name any more.
fn nameless_file() -> io::Result<File> {
    if std::process::id() == 1 {
        // The file system of a booted kernel has no such folder at first.
        std::fs::create_dir_all(std::env::temp_dir())?;
    }
    tempfile::tempfile()
}

fn flags_of(protection: Protection) -> i32 {
    match protection {
        Protection::None => libc::PROT_NONE,
        Protection::Read => libc::PROT_READ,
        Protection::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
    }
}

fn check(result: i32) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
