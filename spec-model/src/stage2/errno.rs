//! Numbers of errors, as Linux counts them on every architecture that has KVM.

/// No such entry.
pub const ENOENT: i32 = 2;
/// Interrupted.
pub const EINTR: i32 = 4;
/// Input or output error.
pub const EIO: i32 = 5;
/// No such device or address.
pub const ENXIO: i32 = 6;
/// Bad address.
pub const EFAULT: i32 = 14;
/// Exists already.
pub const EEXIST: i32 = 17;
/// Function not implemented.
pub const ENOSYS: i32 = 38;
/// Invalid argument.
pub const EINVAL: i32 = 22;
