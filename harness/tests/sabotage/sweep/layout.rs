//! The structures of the KVM API, byte by byte, and the bytes that may be anything.

/// What a getter fills.
pub struct Structure {
    /// The getter.
    pub getter: &'static str,
    /// The case that reads it, without its title.
    pub case: &'static str,
    /// Which call, counted from 1 in a virtual machine, is the first after the initial state was checked.
    pub later: u64,
    /// All of it, in order.
    pub members: Vec<Member>,
}

/// A part of a structure.
pub struct Member {
    /// From its start, in bytes.
    pub offset: usize,
    /// If it is the value of an MSR, which one; then the offset means nothing.
    pub msr: Option<u32>,
    /// Its size.
    pub bytes: usize,
    /// What a report says of it, one of these.
    pub says: Vec<String>,
    /// Whether it is read after the initial state was checked.
    pub read_later: bool,
    open: &'static [Open],
}

/// Bits of a member that may be anything.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// In which bytes.
    first: usize,
    last: usize,
    bits: u8,
    /// Only after the initial state was checked.
    later: bool,
    why: &'static str,
}

impl Member {
    /// The bits of a byte that may be anything, and why.
    pub fn open_bits(&self, byte: usize, later: bool) -> (u8, &'static str) {
        let here = self
            .open
            .iter()
            .filter(|open| (open.first..=open.last).contains(&byte) && (later || !open.later));
        here.fold((0, ""), |(bits, _), open| (bits | open.bits, open.why))
    }
}

/// All bits of a member.
const fn all(why: &'static str) -> Open {
    Open {
        first: 0,
        last: usize::MAX,
        bits: 0xff,
        later: false,
        why,
    }
}

const LAST_EXCEPTION: &[Open] = &[all("without an exception in flight it is that of the last one")];
const LAST_INTERRUPT: &[Open] = &[all("without an interrupt in flight it is that of the last one")];
const VALID_SMM: &[Open] = &[Open {
    first: 0,
    last: 0,
    bits: 8,
    later: false,
    why: "whether the SMI part is valid says nothing where there is no SMM",
}];
const PAYLOAD_MAY_WRITE: &[Open] = &[Open {
    later: true,
    ..all("a payload may change it, and no state of the model has it")
}];
const DIVIDE: &[Open] = &[Open {
    first: 0,
    last: 0,
    bits: 0b1011,
    later: true,
    why: "a payload may change it, and no state of the model has it",
}];
const VERSION: &[Open] = &[
    Open {
        first: 0,
        last: 0,
        bits: 0b101,
        later: false,
        why: "an integrated local APIC has version 10h to 15h",
    },
    Open {
        first: 3,
        last: 3,
        bits: 1,
        later: false,
        why: "whether the broadcast of an end of interrupt can be suppressed is KVM's choice",
    },
];
const COMMAND_OF_X2APIC: &[Open] = &[all(
    "bits 63:32 of the command register of x2APIC mode may lie there",
)];

/// Every register of its own value, as far as real mode allows, and two points.
const REAL_MODE: &str = "\
checks: [STATE-009]
machine:
  mode: real
  registers:
    { r15: 1, ldtr.selector: 0x60, ldtr.base: 0x83000, ldtr.limit: 0xff, ldtr.attributes: 0x82 }
code:
  start: |
    sync first
    sync second
    hlt
path: [first, second, halted]
";
const WITH_LOCAL_APIC: &str = "\
checks: [STATE-014]
machine: { mode: real, apic: xapic, registers: { apic.tpr: 0x25 } }
code:
  start: |
    sync first
    sync second
    hlt
path: [first, second, halted]
";

/// Puts members one behind the other.
fn in_order(members: &[(&'static str, usize, &'static [Open])]) -> Vec<Member> {
    let mut offset = 0;
    let place = |(says, bytes, open): &(&'static str, usize, &'static [Open])| {
        let member = Member {
            offset,
            msr: None,
            bytes: *bytes,
            says: vec![(*says).to_owned()],
            read_later: true,
            open,
        };
        offset += bytes;
        member
    };
    members.iter().map(place).collect()
}

/// Every structure that is swept.
pub fn structures() -> Vec<Structure> {
    let structure = |getter, case, later, members: Vec<Member>| Structure {
        getter,
        case,
        later,
        members,
    };
    vec![
        structure("KVM_GET_REGS", REAL_MODE, 2, regs()),
        structure("KVM_GET_SREGS", REAL_MODE, 3, sregs()),
        structure("KVM_GET_VCPU_EVENTS", REAL_MODE, 2, vcpu_events()),
        structure("KVM_GET_DEBUGREGS", REAL_MODE, 2, debugregs()),
        structure("KVM_GET_MSRS", REAL_MODE, LATER_MSRS, msrs()),
        structure("KVM_GET_LAPIC", WITH_LOCAL_APIC, 3, lapic()),
        structure(
            "KVM_GET_MP_STATE",
            WITH_LOCAL_APIC,
            3,
            in_order(&[("mp", 4, &[])]),
        ),
    ]
}

fn regs() -> Vec<Member> {
    const NAMES: [&str; 18] = [
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15", "rip", "rflags",
    ];
    in_order(&NAMES.map(|name| (name, 8, &[][..])))
}

fn sregs() -> Vec<Member> {
    const SEGMENTS: [&str; 8] = ["cs.", "ds.", "es.", "fs.", "gs.", "ss.", "tr.", "ldt"];
    const SEGMENT: usize = 24;
    let mut members: Vec<_> = SEGMENTS.map(|name| (name, SEGMENT, &[][..])).into();
    members.extend([
        ("gdt", 16, &[][..]),
        ("idt", 16, &[]),
        ("cr0", 8, &[]),
        ("cr2", 8, &[]),
        ("cr3", 8, &[]),
        ("cr4", 8, &[]),
        ("cr8", 8, &[]),
        ("efer", 8, &[]),
        ("apic.base", 8, PAYLOAD_MAY_WRITE),
        ("interrupt_bitmap", 32, &[]),
    ]);
    let mut members = in_order(&members);
    // KVM may refuse it when it is put back.
    for base in members.iter_mut().filter(|member| member.says == ["apic.base"]) {
        base.says.push("KVM_SET_SREGS".to_owned());
    }
    members
}

fn vcpu_events() -> Vec<Member> {
    in_order(&[
        ("exception", 1, &[]),
        ("exception.nr", 1, LAST_EXCEPTION),
        ("exception.has_error_code", 1, LAST_EXCEPTION),
        ("exception", 1, &[]),
        ("exception.error_code", 4, LAST_EXCEPTION),
        ("interrupt.injected", 1, &[]),
        ("interrupt.nr", 1, LAST_INTERRUPT),
        ("interrupt.soft", 1, &[]),
        ("shadow", 1, &[]),
        ("nmi.injected", 1, &[]),
        ("nmi.pending", 1, &[]),
        ("nmi.masked", 1, &[]),
        ("nmi.pad", 1, &[]),
        ("sipi_vector", 4, &[]),
        ("flags", 4, VALID_SMM),
        ("smm", 1, &[]),
        ("smi.pending", 1, &[]),
        ("inside", 1, &[]),
        ("init", 1, &[]),
        ("triple_fault.pending", 1, &[]),
        ("reserved", 26, &[]),
        ("exception_has_payload", 1, &[]),
        ("exception_payload", 8, &[]),
    ])
}

fn debugregs() -> Vec<Member> {
    in_order(&[
        ("dr0", 8, &[]),
        ("dr1", 8, &[]),
        ("dr2", 8, &[]),
        ("dr3", 8, &[]),
        ("dr6", 8, &[]),
        ("dr7", 8, &[]),
        ("flags", 8, &[]),
        ("reserved", 72, &[]),
    ])
}

/// Calls until then: one for each MSR that may not exist, one for DEBUGCTL, one for those of the state, and one
/// for all.
const LATER_MSRS: u64 = 3 + 3 + 1;

/// The values of the MSRs that there are without SMM, and `index` and `reserved` of the first entry of a
/// list. The header is the caller's: KVM does not write it.
fn msrs() -> Vec<Member> {
    const OF_THE_STATE: [(u32, &str); 12] = [
        (0xc000_0081, "star"),
        (0xc000_0082, "lstar"),
        (0xc000_0083, "cstar"),
        (0xc000_0084, "sfmask"),
        (0x174, "sysenter-cs"),
        (0x175, "sysenter-esp"),
        (0x176, "sysenter-eip"),
        (0xc000_0102, "kernel-gs-base"),
        (0x17a, "mcg.status"),
        (0x17b, "mcg.ctl"),
        (0x400, "mc0.ctl"),
        (0x401, "mc0.status"),
    ];
    // A payload may write these, and the model has none of them, so that they are read once they are set
    // and not later.
    const OTHERS: [u32; 2] = [0x277, 0xc000_0103];
    let value = |index: u32, says: String, read_later: bool| Member {
        offset: 0,
        msr: Some(index),
        bytes: 8,
        says: vec![says],
        read_later,
        open: &[],
    };
    let state = OF_THE_STATE.map(|(index, name)| value(index, name.to_owned(), true));
    let others = OTHERS.map(|index| value(index, format!("msr {index:#x}"), false));
    let entry =
        [("index of KVM_GET_MSRS", 8), ("reserved of KVM_GET_MSRS", 12)].map(|(says, offset)| Member {
            offset,
            msr: None,
            bytes: 4,
            says: vec![says.to_owned()],
            read_later: true,
            open: &[],
        });
    state.into_iter().chain(others).chain(entry).collect()
}

/// Registers have 4 bytes, and 12 follow that nothing uses, of which the first one is flipped.
fn lapic() -> Vec<Member> {
    let told = |offset: usize| format!("{offset:03X}h of KVM_GET_LAPIC");
    let register = |offset: usize| {
        let open: &[Open] = match offset {
            0x30 => VERSION,
            0x380 => PAYLOAD_MAY_WRITE,
            0x3e0 => DIVIDE,
            _ => &[],
        };
        // TPR and ISR have the processor priority follow from them.
        let priority = matches!(offset, 0x80 | 0x100..0x180).then(|| told(0xa0));
        let names = [told(offset), "\"apic.".to_owned()];
        Member {
            offset,
            msr: None,
            bytes: 4,
            says: names.into_iter().chain(priority).collect(),
            read_later: true,
            open,
        }
    };
    let gap = |offset: usize| Member {
        offset,
        msr: None,
        bytes: 1,
        says: vec![told(offset)],
        read_later: true,
        open: if offset == 0x304 { COMMAND_OF_X2APIC } else { &[] },
    };
    let registers = (0..0x400).step_by(0x10);
    registers
        .flat_map(|offset| [register(offset), gap(offset + 4)])
        .collect()
}
