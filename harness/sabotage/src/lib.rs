//! A KVM that is broken on purpose, to test the suite itself.
//!
//! Preloaded (`LD_PRELOAD`) into a program, this library stands between it and KVM and breaks
//! what the environment variable `CONFORM_SABOTAGE` says, see [`spec`]. With the variable empty
//! or absent every call goes through as it is. Each time that something was really changed, a
//! line goes to the file that `CONFORM_SABOTAGE_LOG` names, so that a test can tell a sabotage
//! that nobody noticed from one that never happened.
//!
//! It replaces `ioctl`, `mmap` and `open` of the C library. This is x86-64 only.

mod abi;
mod apply;
mod change;
mod kernel;
mod machines;
pub mod spec;

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use machines::Machines;
use spec::Sabotage;

/// Says what to break; `@FILE` if that is written in a file.
pub const SABOTAGE: &str = "CONFORM_SABOTAGE";
/// Names the file that gets a line for each time that something was broken.
pub const LOG: &str = "CONFORM_SABOTAGE_LOG";

/// What is broken, and what is known of the program's virtual machines.
struct Library {
    sabotages: Vec<Sabotage>,
    machines: Machines,
}

static LIBRARY: LazyLock<Mutex<Library>> = LazyLock::new(|| {
    let mut text = std::env::var(SABOTAGE).unwrap_or_default();
    if let Some(path) = text.strip_prefix('@') {
        text = std::fs::read_to_string(path).unwrap_or_else(|error| {
            eprintln!("{SABOTAGE}={text}: {error}");
            std::process::abort()
        });
    }
    let sabotages = spec::parse(&text).unwrap_or_else(|error| {
        // A sabotage that does not happen would count as one that was not noticed.
        eprintln!("{SABOTAGE}={text}: {error}");
        std::process::abort()
    });
    Mutex::new(Library {
        sabotages,
        machines: Machines::default(),
    })
});

fn library() -> MutexGuard<'static, Library> {
    LIBRARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `ioctl` of the C library, which is variadic; every request of KVM has one argument at most.
///
/// # Safety
/// As the C library's: `argument` is what the request wants.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    // Requests are 32 bits wide; musl passes them sign-extended.
    let request = request as u32;
    if request >> 8 & 0xff != abi::KVMIO {
        return kernel::ioctl(fd, request, argument);
    }
    // SAFETY: the caller promises that the argument is what this request of KVM wants.
    unsafe { apply::call(fd, request, argument) }
}

/// `mmap` of the C library.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: c_long,
) -> *mut c_void {
    let mapping = kernel::mmap(address, length, protection, flags, fd, offset);
    if fd >= 0 && offset == 0 && mapping != libc::MAP_FAILED {
        library().machines.mapped(fd, mapping.cast());
    }
    mapping
}

/// `mmap64` of the C library, the same on x86-64.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: c_long,
) -> *mut c_void {
    // SAFETY: as the caller promises.
    unsafe { mmap(address, length, protection, flags, fd, offset) }
}

/// `open` of the C library, which is variadic; without O_CREAT the mode means nothing.
///
/// # Safety
/// As the C library's: `path` is a string that ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller promises a string that ends with a NUL.
    let name = unsafe { CStr::from_ptr(path) };
    if name == c"/dev/kvm"
        && let Some(errno) = apply::refuses_to_open()
    {
        kernel::set_errno(errno);
        return -1;
    }
    kernel::open(name, flags, mode)
}

/// `open64` of the C library, the same on x86-64.
///
/// # Safety
/// As the C library's: `path` is a string that ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { open(path, flags, mode) }
}
