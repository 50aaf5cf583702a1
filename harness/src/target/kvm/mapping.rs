//! An anonymous memory mapping that backs a region of guest memory.

use std::io;
use std::ptr::NonNull;

/// Zeroed private memory, unmapped when dropped.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is owned by this value alone, and nothing in it depends on a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `length` bytes.
    ///
    /// # Errors
    /// If the host has not enough memory.
    pub(super) fn anonymous(length: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing else.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start: NonNull<u8> = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        // A huge page would make the whole region count as touched. A kernel without
        // transparent huge pages refuses, which is just as good.
        // SAFETY: the range is the mapping just made; this advice does not change contents.
        unsafe { libc::madvise(start.as_ptr().cast(), length, libc::MADV_NOHUGEPAGE) };
        Ok(Self { start, length })
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Address of the first byte in this process.
    pub(super) fn host_address(&self) -> usize {
        self.start.as_ptr() as usize
    }

    /// The contents.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is readable for `length` bytes as long as `self` lives. KVM
        // writes to it only inside KVM_RUN, which the machine that owns both the mapping
        // and the vCPUs calls from one thread and never while a slice is held.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// The contents, to change.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `anonymous` and no slice of it is left. A memory
        // slot that still points there loses its pages through KVM's MMU notifier.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
