//! A child process, which has a copy of all memory, and reads and writes it as it is told.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::own_memory;

/// Length of an order: 0 to read, 1 to write or 2 to run; the address or descriptor; what to write.
const ORDER: usize = 17;
/// KVM_RUN, `_IO(0xae, 0x80)`.
const KVM_RUN: libc::Ioctl = 0xae80;
/// Length of a reply: an errno or 0, and what was read.
const REPLY: usize = 12;

/// The child. Dropping it ends it.
pub(super) struct Child {
    id: libc::pid_t,
    channel: UnixStream,
}

impl Child {
    /// Forks.
    ///
    /// # Errors
    /// If the system has no room for another process.
    pub(super) fn fork() -> io::Result<Self> {
        let (channel, theirs) = UnixStream::pair()?;
        let descriptor = theirs.as_raw_fd();
        // SAFETY: this process has other threads, so the child may only do what is safe in a signal
        // handler: `serve` makes system calls and nothing else, and never returns.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => serve(descriptor, channel.as_raw_fd()),
            id => Ok(Self { id, channel }),
        }
    }

    /// Has it read 8 bytes.
    pub(super) fn read(&mut self, address: usize) -> io::Result<u64> {
        self.ask(0, address, 0)
    }

    /// Has it write 8 bytes.
    pub(super) fn write(&mut self, address: usize, value: u64) -> io::Result<()> {
        self.ask(1, address, value).map(|_| ())
    }

    /// Has it call KVM_RUN on a processor of its parent.
    pub(super) fn run(&mut self, vcpu: i32) -> io::Result<()> {
        self.ask(2, vcpu as usize, 0).map(|_| ())
    }

    fn ask(&mut self, write: u8, address: usize, value: u64) -> io::Result<u64> {
        let mut order = [0; ORDER];
        order[0] = write;
        order[1..9].copy_from_slice(&(address as u64).to_le_bytes());
        order[9..].copy_from_slice(&value.to_le_bytes());
        self.channel.write_all(&order)?;
        let mut reply = [0; REPLY];
        self.channel.read_exact(&mut reply)?;
        let (errno, value) = reply.split_at(4);
        match i32::from_le_bytes(errno.try_into().unwrap_or_default()) {
            0 => Ok(u64::from_le_bytes(value.try_into().unwrap_or_default())),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the child is this value's and has not been waited for, so the number is still its.
        unsafe {
            libc::kill(self.id, libc::SIGKILL);
            libc::waitpid(self.id, std::ptr::null_mut(), 0);
        }
    }
}

/// What the child does. It ends when nobody gives orders any more.
fn serve(descriptor: i32, parents: i32) -> ! {
    // SAFETY: the parent's end, which would keep the channel open when the parent is gone.
    unsafe { libc::close(parents) };
    let mut order = [0_u8; ORDER];
    loop {
        // SAFETY: `order` is valid for writes of its length.
        let got = unsafe { libc::read(descriptor, order.as_mut_ptr().cast(), ORDER) };
        if got != ORDER as isize {
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        let word = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&order[from..from + 8]);
            u64::from_le_bytes(bytes)
        };
        let address = word(1) as usize;
        let mut bytes = word(9).to_le_bytes();
        let done = match order[0] {
            0 => own_memory::read(address, &mut bytes),
            // SAFETY: the parent names addresses in backings only, into which nothing refers.
            1 => unsafe { own_memory::write(address, &bytes) },
            // SAFETY: the number is that of a descriptor for a processor, and KVM_RUN takes no
            // argument. KVM refuses it here; if it did not, it would run the guest.
            _ => match unsafe { libc::ioctl(address as i32, KVM_RUN, 0) } {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            },
        };
        let errno = done.err().and_then(|error| error.raw_os_error()).unwrap_or(0);
        let mut reply = [0_u8; REPLY];
        reply[..4].copy_from_slice(&errno.to_le_bytes());
        reply[4..].copy_from_slice(&bytes);
        // SAFETY: `reply` is valid for reads of its length.
        unsafe { libc::write(descriptor, reply.as_ptr().cast(), REPLY) };
    }
}
