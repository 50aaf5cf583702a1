//! Processor architectures of kernels that are booted.

use std::fmt;

/// The architecture that a kernel is built for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// x86-64.
    #[default]
    X86,
    /// AArch64.
    Arm64,
}

impl Architecture {
    /// Debian's name of it (Debian policy 5.6.8 and `dpkg-architecture -L`).
    #[must_use]
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What stands before the name of a kernel for it: nothing for x86-64.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::X86 => "",
            Self::Arm64 => "arm64:",
        }
    }

    /// The program of QEMU that emulates it.
    #[must_use]
    pub const fn qemu_program(self) -> &'static str {
        match self {
            Self::X86 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// Debian's package with [`Self::qemu_program`].
    #[must_use]
    pub const fn qemu_package(self) -> &'static str {
        match self {
            Self::X86 => "qemu-system-x86",
            Self::Arm64 => "qemu-system-arm",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::X86 => "x86-64",
            Self::Arm64 => "arm64",
        })
    }
}
