//! The system calls of tracing, one function each. All unsafe code of the native target is here.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Memory that this process shares with the one it traces.
pub(super) struct Shared {
    descriptor: OwnedFd,
    start: *mut u8,
    length: usize,
}

impl Shared {
    /// `length` bytes of zeros.
    pub(super) fn new(length: usize) -> io::Result<Self> {
        // SAFETY: the name is a C string that outlives the call.
        let number = unsafe { libc::memfd_create(c"conform-native".as_ptr(), libc::MFD_CLOEXEC) };
        check(number.into())?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        // SAFETY: no memory is involved.
        check(unsafe { libc::ftruncate(descriptor.as_raw_fd(), length as libc::off_t) }.into())?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without an address the mapping replaces none.
        let start = unsafe {
            let null = std::ptr::null_mut();
            libc::mmap(
                null,
                length,
                protection,
                libc::MAP_SHARED,
                descriptor.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            descriptor,
            start: start.cast(),
            length,
        })
    }

    /// Number of the descriptor, which a child inherits.
    pub(super) fn descriptor(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }

    fn check_range(&self, offset: usize, length: usize) {
        let end = offset.checked_add(length);
        assert!(end.is_some_and(|end| end <= self.length), "within shared memory");
    }

    /// Copies bytes out of it.
    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.check_range(offset, bytes.len());
        // SAFETY: the range lies within the mapping, which nobody writes meanwhile: the traced process
        // stands still whenever this one runs. Raw pointers, since no reference may exist to memory that
        // another process writes.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start.add(offset), bytes.as_mut_ptr(), bytes.len());
        }
    }

    /// Copies bytes into it.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        self.check_range(offset, bytes.len());
        // SAFETY: as in `read`.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(offset), bytes.len());
        }
    }

    /// Whether it holds these bytes.
    pub(super) fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        self.check_range(offset, bytes.len());
        // SAFETY: as in `read`.
        unsafe { libc::memcmp(self.start.add(offset).cast(), bytes.as_ptr().cast(), bytes.len()) == 0 }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing points into it any more.
        unsafe {
            libc::munmap(self.start.cast(), self.length);
        }
    }
}

/// How the traced process stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// By this signal.
    Signal(i32),
    /// It is gone; the status of waitpid(2).
    Gone(i32),
}

/// A process that the thread which made it traces. Dropping it ends it.
pub(super) struct Traced {
    id: libc::pid_t,
    /// Only the thread that traces may ask anything of it.
    thread: PhantomData<*const ()>,
}

impl Traced {
    /// Forks a process that maps `pages` bytes of shared memory at `address`, and stops.
    ///
    /// # Errors
    /// If the system does not let it; with EPERM if it does not let it be traced.
    pub(super) fn start(shared: &Shared, address: u64, length: usize) -> io::Result<Self> {
        let descriptor = shared.descriptor();
        // SAFETY: this process may have other threads, so the child may only do what is safe in a signal
        // handler: `serve` makes system calls and nothing else, and never returns.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => serve(descriptor, address, length),
            id => {
                let traced = Self {
                    id,
                    thread: PhantomData,
                };
                match traced.wait()? {
                    Stopped::Signal(libc::SIGSTOP) => {
                        traced.ask(libc::PTRACE_SETOPTIONS, 0, libc::PTRACE_O_EXITKILL as usize)?
                    }
                    Stopped::Gone(status) if libc::WIFEXITED(status) => {
                        return Err(io::Error::from_raw_os_error(libc::WEXITSTATUS(status)));
                    }
                    _ => return Err(io::Error::from(io::ErrorKind::Other)),
                }
                Ok(traced)
            }
        }
    }

    /// Its number.
    pub(super) fn id(&self) -> i32 {
        self.id
    }

    fn ask(&self, request: libc::c_uint, address: usize, data: usize) -> io::Result<()> {
        // SAFETY: callers pass as `data` what their request reads or writes, which lives until it returns.
        let result = unsafe { libc::ptrace(request, self.id, address, data) };
        check(result).map(|_| ())
    }

    /// Waits until it stops.
    pub(super) fn wait(&self) -> io::Result<Stopped> {
        loop {
            let mut status = 0;
            // SAFETY: `status` is valid for writes.
            let found = unsafe { libc::waitpid(self.id, &raw mut status, libc::__WALL) };
            if found == self.id {
                let stopped = libc::WIFSTOPPED(status);
                return Ok(if stopped {
                    Stopped::Signal(libc::WSTOPSIG(status))
                } else {
                    Stopped::Gone(status)
                });
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Goes on, with a signal or with none.
    pub(super) fn go_on(&self, signal: i32) -> io::Result<()> {
        self.ask(libc::PTRACE_CONT, 0, signal as usize)
    }

    /// Its registers.
    pub(super) fn registers(&self) -> io::Result<libc::user_regs_struct> {
        // SAFETY: all zero is a valid value: numbers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        self.ask(libc::PTRACE_GETREGS, 0, (&raw mut registers).addr())?;
        Ok(registers)
    }

    /// Gives it registers.
    pub(super) fn set_registers(&self, registers: &libc::user_regs_struct) -> io::Result<()> {
        self.ask(libc::PTRACE_SETREGS, 0, std::ptr::from_ref(registers).addr())
    }

    /// The code of the signal that it has stopped with.
    pub(super) fn signal_code(&self) -> io::Result<i32> {
        // SAFETY: all zero is a valid value: numbers.
        let mut information: libc::siginfo_t = unsafe { std::mem::zeroed() };
        self.ask(libc::PTRACE_GETSIGINFO, 0, (&raw mut information).addr())?;
        Ok(information.si_code)
    }

    /// Address, length and signature of the restartable sequences that its C library has registered;
    /// an address of 0 for none.
    pub(super) fn restartable_sequences(&self) -> io::Result<(u64, u32, u32)> {
        #[repr(C)]
        struct Configuration {
            address: u64,
            length: u32,
            signature: u32,
            flags: u32,
            padding: u32,
        }
        let mut found = Configuration {
            address: 0,
            length: 0,
            signature: 0,
            flags: 0,
            padding: 0,
        };
        const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;
        let length = size_of::<Configuration>();
        self.ask(PTRACE_GET_RSEQ_CONFIGURATION, length, (&raw mut found).addr())?;
        Ok((found.address, found.length, found.signature))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: no memory is involved; the process is this one's child and not yet waited for, so the
        // number is still its own.
        unsafe {
            libc::kill(self.id, libc::SIGKILL);
        }
        while let Ok(Stopped::Signal(_)) = self.wait() {}
    }
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// What the child does: it makes shared memory its own, lets itself be traced and stops; from then on its
/// parent says what it does. It makes system calls and nothing else.
fn serve(descriptor: i32, address: u64, length: usize) -> ! {
    // SAFETY: the child has one thread and a copy of everything; the mapping replaces none, and whatever
    // fails ends it with its errno.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let wanted = address as *mut libc::c_void;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
        let start = libc::mmap(wanted, length, protection, flags, descriptor, 0);
        let none = std::ptr::null_mut::<libc::c_void>();
        let fails = start != wanted
            || libc::setpgid(0, 0) != 0
            || libc::ptrace(libc::PTRACE_TRACEME, 0, none, none) != 0
            || libc::kill(libc::getpid(), libc::SIGSTOP) != 0;
        if fails {
            libc::_exit(*libc::__errno_location() & 0xff);
        }
        // Nobody lets it go on from here.
        libc::_exit(libc::EINVAL)
    }
}
