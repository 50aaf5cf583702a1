//! System calls as such, past the functions that this library replaces.

use std::ffi::{CStr, c_int, c_long, c_void};
use std::io::Write as _;

/// `ioctl`, with the result and errno of the C library.
pub(crate) fn ioctl(fd: c_int, request: u32, argument: *mut c_void) -> c_int {
    // SAFETY: whoever called the library's `ioctl` promised that the argument is right for the
    // request, and requests that this library makes itself get structures of their size.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, fd, c_long::from(request), argument) };
    result as c_int
}

/// An ioctl of this library's own: the structure is as long as the request says.
pub(crate) fn ioctl_with(fd: c_int, request: u32, bytes: &mut [u8]) -> c_int {
    debug_assert!(bytes.len() >= (request >> 16 & 0x3fff) as usize);
    ioctl(fd, request, bytes.as_mut_ptr().cast())
}

/// `mmap`.
pub(crate) fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: c_long,
) -> *mut c_void {
    // SAFETY: whoever called the library's `mmap` promised what it wants.
    let result = unsafe { libc::syscall(libc::SYS_mmap, address, length, protection, flags, fd, offset) };
    result as *mut c_void
}

/// `open`.
pub(crate) fn open(path: &CStr, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the path is a string that ends with a NUL and lives during the call.
    let result = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, mode) };
    result as c_int
}

/// Sets the errno of this thread.
pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: the C library gives a valid pointer to the errno of this thread.
    unsafe { *libc::__errno_location() = errno };
}

/// Reads memory of this process; false if some of it is not mapped.
pub(crate) fn read_memory(address: u64, bytes: &mut [u8]) -> bool {
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: the kernel writes to `bytes` only, and refuses an address that is not mapped.
    let read =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read) == Ok(bytes.len())
}

/// Writes memory of this process that backs guest memory; false if some of it is not mapped or
/// not writable.
pub(crate) fn write_memory(address: u64, bytes: &[u8]) -> bool {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: the address lies in a memory slot, which the program treats as memory that the guest
    // may write at any time; the kernel refuses what is not mapped.
    let written =
        unsafe { libc::process_vm_writev(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(written) == Ok(bytes.len())
}

/// Writes a text to a file of the kernel; whether that worked.
pub(crate) fn write_file(path: &str, text: &str) -> bool {
    let file = std::fs::File::options().write(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).is_ok()
}
