//! Bits of RFLAGS, the control registers and EFER, and which values are legal.

/// RFLAGS bits.
pub mod flag {
    /// Carry.
    pub const CF: u64 = 1;
    /// Bit 1, always set.
    pub const FIXED: u64 = 1 << 1;
    /// Parity.
    pub const PF: u64 = 1 << 2;
    /// Auxiliary carry.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Trap.
    pub const TF: u64 = 1 << 8;
    /// Interrupt enable.
    pub const IF: u64 = 1 << 9;
    /// Direction.
    pub const DF: u64 = 1 << 10;
    /// Overflow.
    pub const OF: u64 = 1 << 11;
    /// I/O privilege level, two bits.
    pub const IOPL: u64 = 3 << 12;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u64 = 1 << 17;
    /// Alignment check.
    pub const AC: u64 = 1 << 18;
    /// CPUID can be used.
    pub const ID: u64 = 1 << 21;
    /// Virtual interrupt flags.
    pub const VIF_VIP: u64 = 3 << 19;
    /// The six arithmetic flags.
    pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
}

/// CR0 bits.
pub mod cr0 {
    /// Protection enable.
    pub const PE: u64 = 1;
    /// Monitor coprocessor: WAIT looks at TS.
    pub const MP: u64 = 1 << 1;
    /// Emulation.
    pub const EM: u64 = 1 << 2;
    /// Task switched.
    pub const TS: u64 = 1 << 3;
    /// Extension type, fixed to 1.
    pub const ET: u64 = 1 << 4;
    /// Write protect.
    pub const WP: u64 = 1 << 16;
    /// Not write-through.
    pub const NW: u64 = 1 << 29;
    /// Cache disable.
    pub const CD: u64 = 1 << 30;
    /// Paging.
    pub const PG: u64 = 1 << 31;
    /// The bits that are defined below bit 32.
    pub const DEFINED: u64 = 0xe005_003f;
}

/// CR4 bits.
pub mod cr4 {
    /// Debugging extensions: breakpoints at ports, no DR4 and DR5.
    pub const DE: u64 = 1 << 3;
    /// Page size extensions.
    pub const PSE: u64 = 1 << 4;
    /// Physical address extension.
    pub const PAE: u64 = 1 << 5;
    /// Machine checks are delivered.
    pub const MCE: u64 = 1 << 6;
    /// VMX enable.
    pub const VMXE: u64 = 1 << 13;
    /// Process-context identifiers.
    pub const PCIDE: u64 = 1 << 17;
    /// Supervisor-mode execution prevention.
    pub const SMEP: u64 = 1 << 20;
    /// Supervisor-mode access prevention.
    pub const SMAP: u64 = 1 << 21;
    /// Control-flow enforcement: shadow stacks and indirect branch tracking.
    pub const CET: u64 = 1 << 23;
    /// The bits that a guest can set in the model: those of every processor with long mode, and
    /// what cases find in CPUID before they rely on it.
    pub const MODELLED: u64 = 0x7ff | VMXE | PCIDE | SMEP | SMAP | CET;
    /// Bits that some processor defines. Which of them one supports is a matter of its
    /// CPUID; cases that test reserved bits use one outside this set.
    pub const DEFINED: u64 = 0x0fff_ffff;
}

/// EFER bits.
pub mod efer {
    /// SYSCALL enable.
    pub const SCE: u64 = 1;
    /// Long mode enable.
    pub const LME: u64 = 1 << 8;
    /// Long mode active.
    pub const LMA: u64 = 1 << 10;
    /// No-execute enable.
    pub const NXE: u64 = 1 << 11;
    /// Secure virtual machine enable (AMD).
    pub const SVME: u64 = 1 << 12;
    /// The bits that some processor defines.
    pub const DEFINED: u64 = 0x0000_fd01;
}

/// What DR6 holds after a load: only its status bits can change (SMM-IMAGE-003), among them BLD on a
/// processor that reports bus locks (DBG-DR6-005).
#[must_use]
pub const fn dr6_loaded(value: u64, bus_lock: bool) -> u64 {
    const BLD: u64 = 1 << 11;
    let fixed = if bus_lock { 0xffff_07f0 } else { 0xffff_07f0 | BLD };
    value & (0xe00f | BLD) | fixed
}

/// What DR7 holds after a load: bit 10 is fixed to 1, bits 11, 12, 14 and 15 to 0
/// (SMM-IMAGE-003).
#[must_use]
pub const fn dr7_loaded(value: u64) -> u64 {
    value & !0xd800 | 0x400
}

/// Whether CR0 holds an illegal combination: paging without protection, or NW without CD
/// (SDM vol. 3A, "Control Registers").
#[must_use]
pub const fn cr0_is_legal(value: u64) -> bool {
    let paging_without_protection = value & cr0::PG != 0 && value & cr0::PE == 0;
    let write_through_without_disable = value & cr0::NW != 0 && value & cr0::CD == 0;
    value >> 32 == 0 && !paging_without_protection && !write_through_without_disable
}

/// Whether CR4 has only defined bits.
#[must_use]
pub const fn cr4_is_legal(value: u64) -> bool {
    value & !cr4::DEFINED == 0
}

/// Whether EFER has only defined bits.
#[must_use]
pub const fn efer_is_legal(value: u64, long_mode: bool) -> bool {
    value & !efer::DEFINED == 0 && (long_mode || value & (efer::LME | efer::LMA) == 0)
}

/// Physical address bits beyond which CR3 and page-table entries are reserved. QEMU, Bochs
/// and every processor with long mode have at least 36; cases stay below that.
pub const PHYSICAL_ADDRESS_BITS: u32 = 52;

/// A linear address with bit 47 copied into bits 63:48, its canonical form with 4-level paging.
#[must_use]
#[allow(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "sign extension is the rule"
)]
pub const fn canonical_form(address: u64) -> u64 {
    ((address << 16) as i64 >> 16) as u64
}

/// Whether a linear address is canonical with 4-level paging.
#[must_use]
pub const fn is_canonical(address: u64) -> bool {
    canonical_form(address) == address
}
