//! The part of the KVM API that can be broken: requests and the members of their structures
//! (KVM API, chapter 4; `struct kvm_run`, chapter 5). Offsets and widths are in bytes.

/// The type of all requests of KVM.
pub(crate) const KVMIO: u32 = 0xae;

pub(crate) const KVM_CREATE_VM: u32 = 0xae01;
pub(crate) const KVM_CREATE_VCPU: u32 = 0xae41;
pub(crate) const KVM_SET_USER_MEMORY_REGION: u32 = 0x4020_ae46;
pub(crate) const KVM_RUN: u32 = 0xae80;
pub(crate) const KVM_GET_MSRS: u32 = 0xc008_ae88;
pub(crate) const KVM_SET_MSRS: u32 = 0x4008_ae89;

/// What can be broken, by its name in the KVM API. `open` is that of `/dev/kvm`.
pub(crate) const CALLS: [(&str, u32); 31] = [
    ("open", OPEN),
    ("KVM_GET_API_VERSION", 0xae00),
    ("KVM_CREATE_VM", KVM_CREATE_VM),
    ("KVM_CHECK_EXTENSION", 0xae03),
    ("KVM_CREATE_VCPU", KVM_CREATE_VCPU),
    ("KVM_CREATE_IRQCHIP", 0xae60),
    ("KVM_ENABLE_CAP", 0x4068_aea3),
    ("KVM_GET_DIRTY_LOG", 0x4010_ae42),
    ("KVM_CLEAR_DIRTY_LOG", 0xc018_aec0),
    ("KVM_SET_USER_MEMORY_REGION", KVM_SET_USER_MEMORY_REGION),
    ("KVM_RUN", KVM_RUN),
    ("KVM_GET_REGS", 0x8090_ae81),
    ("KVM_SET_REGS", 0x4090_ae82),
    ("KVM_GET_SREGS", 0x8138_ae83),
    ("KVM_SET_SREGS", 0x4138_ae84),
    ("KVM_GET_MSRS", KVM_GET_MSRS),
    ("KVM_SET_MSRS", KVM_SET_MSRS),
    ("KVM_GET_LAPIC", 0x8400_ae8e),
    ("KVM_SET_LAPIC", 0x4400_ae8f),
    ("KVM_SET_CPUID2", 0x4008_ae90),
    ("KVM_GET_MP_STATE", 0x8004_ae98),
    ("KVM_SET_MP_STATE", 0x4004_ae99),
    ("KVM_NMI", 0xae9a),
    ("KVM_X86_SET_MCE", 0x4040_ae9e),
    ("KVM_GET_VCPU_EVENTS", 0x8040_ae9f),
    ("KVM_SET_VCPU_EVENTS", 0x4040_aea0),
    ("KVM_GET_DEBUGREGS", 0x8080_aea1),
    ("KVM_SET_DEBUGREGS", 0x4080_aea2),
    ("KVM_SMI", 0xaeb7),
    ("KVM_GET_XSAVE", 0x9000_aea4),
    ("KVM_GET_SUPPORTED_CPUID", 0xc008_ae05),
];

/// No request: stands for `open`.
pub(crate) const OPEN: u32 = 0;

/// The getters, each with the setter of the same structure.
const PAIRS: [(u32, u32); 6] = [
    (0x8090_ae81, 0x4090_ae82),
    (0x8138_ae83, 0x4138_ae84),
    (0x8400_ae8e, 0x4400_ae8f),
    (0x8004_ae98, 0x4004_ae99),
    (0x8040_ae9f, 0x4040_aea0),
    (0x8080_aea1, 0x4080_aea2),
];

/// The setter of what a getter gets.
pub(crate) fn setter_of(getter: u32) -> Option<u32> {
    PAIRS.iter().find(|pair| pair.0 == getter).map(|pair| pair.1)
}

/// The getter of what a setter sets.
pub(crate) fn getter_of(setter: u32) -> Option<u32> {
    PAIRS.iter().find(|pair| pair.1 == setter).map(|pair| pair.0)
}

/// Whether a request reads a structure of fixed size from KVM.
pub(crate) fn is_getter(request: u32) -> bool {
    request >> 30 == 2
}

/// The size of a request's structure, in bytes.
pub(crate) fn size(request: u32) -> usize {
    (request >> 16 & 0x3fff) as usize
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// From the start of the structure.
    pub offset: usize,
    /// Its size.
    pub width: usize,
}

const REGS: [&str; 18] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "rip", "rflags",
];

const SEGMENTS: [&str; 8] = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"];
const SEGMENT: usize = 24;
const SEGMENT_MEMBERS: [(&str, usize, usize); 6] = [
    ("base", 0, 8),
    ("limit", 8, 4),
    ("selector", 12, 2),
    ("type", 14, 1),
    ("present", 15, 1),
    ("unusable", 22, 1),
];
const SREGS: [(&str, usize, usize); 11] = [
    ("gdt.base", 192, 8),
    ("gdt.limit", 200, 2),
    ("idt.base", 208, 8),
    ("idt.limit", 216, 2),
    ("cr0", 224, 8),
    ("cr2", 232, 8),
    ("cr3", 240, 8),
    ("cr4", 248, 8),
    ("cr8", 256, 8),
    ("efer", 264, 8),
    ("apic-base", 272, 8),
];
const EVENTS: [(&str, usize, usize); 14] = [
    ("exception.injected", 0, 1),
    ("exception.nr", 1, 1),
    ("exception.pending", 3, 1),
    ("interrupt.injected", 8, 1),
    ("interrupt.shadow", 11, 1),
    ("nmi.injected", 12, 1),
    ("nmi.pending", 13, 1),
    ("nmi.masked", 14, 1),
    ("flags", 20, 4),
    ("smi.smm", 24, 1),
    ("smi.pending", 25, 1),
    ("smi.smm-inside-nmi", 26, 1),
    ("smi.latched-init", 27, 1),
    ("triple-fault.pending", 28, 1),
];
const DEBUGREGS: [(&str, usize, usize); 6] = [
    ("db0", 0, 8),
    ("db1", 8, 8),
    ("db2", 16, 8),
    ("db3", 24, 8),
    ("dr6", 32, 8),
    ("dr7", 40, 8),
];

/// A member of the structure of a request by its name; in the page of a local APIC by its offset.
pub(crate) fn field(request: u32, name: &str) -> Option<Field> {
    let of = |table: &[(&str, usize, usize)]| {
        let row = table.iter().find(|row| row.0 == name)?;
        Some(Field {
            offset: row.1,
            width: row.2,
        })
    };
    match request & 0xff {
        0x81 | 0x82 => {
            let index = REGS.iter().position(|register| *register == name)?;
            Some(Field {
                offset: index * 8,
                width: 8,
            })
        }
        0x83 | 0x84 => of(&SREGS).or_else(|| {
            let (segment, member) = name.split_once('.')?;
            let index = SEGMENTS.iter().position(|known| *known == segment)?;
            let row = SEGMENT_MEMBERS.iter().find(|row| row.0 == member)?;
            Some(Field {
                offset: index * SEGMENT + row.1,
                width: row.2,
            })
        }),
        0x8e | 0x8f => {
            let offset = usize::from_str_radix(name.strip_prefix("0x")?, 16).ok()?;
            (offset % 16 == 0 && offset < 1024).then_some(Field { offset, width: 4 })
        }
        0x98 | 0x99 => (name == "mp-state").then_some(Field { offset: 0, width: 4 }),
        0x9f | 0xa0 => of(&EVENTS),
        0xa1 | 0xa2 => of(&DEBUGREGS),
        _ => None,
    }
}

/// Members of `struct kvm_run`.
pub(crate) mod run {
    pub(crate) const IMMEDIATE_EXIT: usize = 1;
    pub(crate) const EXIT_REASON: usize = 8;
    pub(crate) const IO_DIRECTION: usize = 32;
    pub(crate) const IO_PORT: usize = 34;
    pub(crate) const IO_DATA_OFFSET: usize = 40;
    pub(crate) const MMIO_ADDRESS: usize = 32;
    pub(crate) const MMIO_DATA: usize = 40;
    pub(crate) const MMIO_IS_WRITE: usize = 52;

    pub(crate) const EXIT_IO: u32 = 2;
    pub(crate) const EXIT_MMIO: u32 = 6;
    pub(crate) const DIRECTION_OUT: u8 = 1;
}
