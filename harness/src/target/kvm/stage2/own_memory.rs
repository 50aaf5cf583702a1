//! Access to memory of this process that may not be mapped.
//!
//! The kernel copies, and reports what cannot be accessed instead of sending a signal. It does
//! to the pages what an instruction would do: untouched memory is read from the zero page, a
//! write makes a copy of what is private.

use std::io;

/// Reads what lies at an address.
///
/// # Errors
/// EFAULT if any of it may not be read.
pub(super) fn read(address: usize, bytes: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let remote = at(address, bytes.len());
    // SAFETY: `local` is `bytes`, which is valid for writes; the kernel checks `remote`.
    let done =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    complete(done, bytes.len())
}

/// Writes to an address.
///
/// # Errors
/// EFAULT if any of it may not be written.
///
/// # Safety
/// Nothing in this process may hold a reference to what is there.
pub(super) unsafe fn write(address: usize, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = at(address, bytes.len());
    // SAFETY: `local` is `bytes`, which is only read; the kernel checks `remote`, and that nobody
    // relies on what is there is the caller's promise.
    let done =
        unsafe { libc::process_vm_writev(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    complete(done, bytes.len())
}

fn at(address: usize, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: length,
    }
}

fn complete(done: isize, wanted: usize) -> io::Result<()> {
    match usize::try_from(done) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(done) if done == wanted => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}
