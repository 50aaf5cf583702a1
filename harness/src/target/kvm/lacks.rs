//! What a backend is known to lack, row by row.
//!
//! A row makes a scenario unsupported where KVM tells nothing of it by a capability or by CPUID. It is
//! as narrow as what is known: one field and the bits of it that are lost, or one kind of instruction in
//! one mode. Whatever no row names is a difference.

use spec_model::host_state::{Fault, StateFault};
use spec_model::x86::state::VcpuState;

use super::super::{Backend, Lack};
use super::failure::Failure;

/// CR0.PE and CR0.PG.
const PROTECTION: u64 = 1;
const PAGING: u64 = 1 << 31;

/// KVM_INTERNAL_ERROR_EMULATION (KVM API 5, KVM_EXIT_INTERNAL_ERROR).
const EMULATION: u32 = 1;

/// One thing that a backend lacks.
struct Row {
    /// Name in reports.
    name: &'static str,
    backend: Backend,
    what: What,
    /// What it lacks, in a sentence without a full stop.
    text: &'static str,
    /// Where that is written, or that and where it was seen.
    source: &'static str,
}

/// How a scenario comes upon it.
enum What {
    /// It starts in long mode.
    LongMode,
    /// These bits of a field read back clear although the host has set them; with that, these members of
    /// getters may tell what they cannot tell otherwise.
    Cleared {
        field: &'static str,
        bits: u64,
        tells: &'static [&'static str],
    },
    /// KVM_RUN ends in KVM_EXIT_INTERNAL_ERROR, suberror 1, at one of these opcodes.
    Instruction {
        opcodes: &'static [u8],
        protected_mode_only: bool,
    },
}

const ROWS: &[Row] = &[
    Row {
        name: "pvm-long-mode",
        backend: Backend::Pvm,
        what: What::LongMode,
        text: "the PVM backend runs long mode as a paravirtual interface of its own, not as the manuals define it",
        source: "Documentation/virt/kvm/x86/pvm-spec.rst of virt-pvm/linux",
    },
    Row {
        name: "pvm-legacy-paging",
        backend: Backend::Pvm,
        what: What::Cleared {
            field: "cr0",
            bits: PAGING,
            tells: &["triple_fault.pending"],
        },
        text: "the PVM backend does not keep CR0.PG outside long mode: it reads back clear",
        source: "seen only, on Linux 6.18.44; pvm_set_cr0 in arch/x86/kvm/pvm/pvm.c of virt-pvm/linux stores CR0 as given",
    },
    Row {
        name: "pvm-iret",
        backend: Backend::Pvm,
        what: What::Instruction {
            opcodes: &[0xcf],
            protected_mode_only: true,
        },
        text: "the PVM backend emulates what runs outside long mode, and KVM's emulator has no IRET in protected mode",
        source: "Linux arch/x86/kvm/emulate.c, em_iret",
    },
    Row {
        name: "pvm-software-interrupts",
        backend: Backend::Pvm,
        what: What::Instruction {
            opcodes: &[0xcc, 0xcd, 0xce],
            protected_mode_only: true,
        },
        text: "the PVM backend emulates what runs outside long mode, and KVM's emulator has no INT n, INT3 and INTO in protected mode",
        source: "Linux arch/x86/kvm/emulate.c, emulate_int",
    },
    Row {
        name: "pvm-int1",
        backend: Backend::Pvm,
        what: What::Instruction {
            opcodes: &[0xf1],
            protected_mode_only: false,
        },
        text: "the PVM backend emulates what runs outside long mode, and KVM's emulator has no INT1",
        source: "Linux arch/x86/kvm/emulate.c, opcode_table (icebp is decoded and has no function)",
    },
    Row {
        name: "pvm-fpu",
        backend: Backend::Pvm,
        what: What::Instruction {
            opcodes: &[0xd8, 0xd9, 0xda, 0xdc, 0xde, 0xdf],
            protected_mode_only: false,
        },
        text: "the PVM backend emulates what runs outside long mode, and KVM's emulator has of the FPU only FNINIT, FNSTCW and FNSTSW",
        source: "Linux 6.12.117 arch/x86/kvm/emulate.c, opcode_table, escape_d9, escape_db and escape_dd",
    },
    Row {
        name: "pvm-far-return-to-outer-level",
        backend: Backend::Pvm,
        what: What::Instruction {
            opcodes: &[0xca, 0xcb],
            protected_mode_only: true,
        },
        text: "the PVM backend emulates what runs outside long mode, and KVM's emulator has no RETF to an outer privilege level",
        source: "Linux arch/x86/kvm/emulate.c, __load_segment_descriptor",
    },
    Row {
        name: "pvm-far-transfer-to-a-task",
        backend: Backend::Pvm,
        what: What::Instruction {
            opcodes: &[0x9a, 0xea],
            protected_mode_only: true,
        },
        text: "the PVM backend emulates what runs outside long mode, and KVM's emulator has no far CALL and JMP through gates and to task-state segments",
        source: "Linux 6.12.118 arch/x86/kvm/emulate.c, __load_segment_descriptor",
    },
];

impl Row {
    fn lack(&self, seen: String) -> Lack {
        Lack::Row {
            row: self.name.to_owned(),
            text: format!("{} ({})", self.text, self.source),
            seen,
        }
    }
}

fn rows(backend: Backend) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.backend == backend)
}

/// What a backend lacks to start in long mode, if it is listed.
pub(super) fn long_mode(backend: Backend) -> Option<Lack> {
    let row = rows(backend).find(|row| matches!(row.what, What::LongMode))?;
    Some(row.lack(String::new()))
}

/// What a backend lacks by which all of `faults` come about, if it is listed: the first one's row.
fn of_faults(backend: Backend, faults: &[StateFault]) -> Option<Lack> {
    let row_of = |fault: &StateFault| {
        let Fault::NotKept { field, set, read } = &fault.what else {
            return None;
        };
        rows(backend).find(|row| match row.what {
            What::Cleared {
                field: name, bits, ..
            } => name == field && set & bits != 0 && *read == set & !bits,
            _ => false,
        })
    };
    let first = row_of(faults.first()?)?;
    let comes_with_it = |fault: &StateFault| match (&fault.what, &first.what) {
        (Fault::Told { member, .. }, What::Cleared { tells, .. }) => tells.contains(&member.as_str()),
        _ => row_of(fault).is_some(),
    };
    faults
        .iter()
        .all(comes_with_it)
        .then(|| first.lack(String::new()))
}

/// What faults amount to: something that the backend is listed to lack, or differences.
pub(super) fn failure(backend: Backend, faults: Vec<StateFault>) -> Failure {
    of_faults(backend, &faults).map_or(Failure::State(faults), Failure::Lacks)
}

/// What a backend lacks by which KVM_RUN gave up on an instruction, if it is listed.
/// `instruction` holds the bytes at CS:RIP, none if they are not in memory: then no row is meant, since
/// every KVM gives up there.
pub(super) fn of_internal_error(
    backend: Backend,
    suberror: u32,
    state: &VcpuState,
    instruction: &[u8],
) -> Option<Lack> {
    if suberror != EMULATION {
        return None;
    }
    let protected_mode = state.cr0 & PROTECTION != 0;
    let opcode = instruction.iter().copied().find(|byte| !is_prefix(*byte));
    let row = rows(backend).find(|row| match row.what {
        What::Instruction {
            opcodes,
            protected_mode_only,
        } => {
            opcode.is_some_and(|opcode| opcodes.contains(&opcode)) && (protected_mode || !protected_mode_only)
        }
        What::LongMode | What::Cleared { .. } => false,
    })?;
    let hex: Vec<_> = instruction.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(row.lack(format!(
        ", at rip {:#x}, instruction bytes {}",
        state.rip,
        hex.join(" ")
    )))
}

/// Whether a byte is a legacy prefix.
fn is_prefix(byte: u8) -> bool {
    matches!(
        byte,
        0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use spec_model::host_state::HostCall;

    use super::*;

    fn not_kept(field: &str, set: u64, read: u64) -> StateFault {
        StateFault::at_start(
            0,
            Fault::NotKept {
                field: field.to_owned(),
                set,
                read,
            },
        )
    }

    #[test]
    fn rows_have_names_of_their_own_and_a_source() {
        let names: HashSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        assert!(
            ROWS.iter()
                .all(|row| !row.source.is_empty() && !row.text.ends_with('.'))
        );
    }

    #[test]
    fn a_row_covers_its_field_and_nothing_beside_it() {
        let paging = not_kept("cr0", 0x8001_0011, 0x1_0011);
        let name = |backend, faults: &[StateFault]| match of_faults(backend, faults) {
            Some(Lack::Row { row, .. }) => Some(row),
            _ => None,
        };
        let listed = Some("pvm-legacy-paging".to_owned());
        assert_eq!(name(Backend::Pvm, std::slice::from_ref(&paging)), listed);
        assert_eq!(name(Backend::Svm, std::slice::from_ref(&paging)), None);
        assert_eq!(name(Backend::Pvm, &[]), None);
        // Another bit of the same field, another field beside it, a bit that appears.
        assert_eq!(name(Backend::Pvm, &[not_kept("cr0", 0x8001_0011, 0x11)]), None);
        assert_eq!(name(Backend::Pvm, &[not_kept("cr0", 0x11, 0x8000_0011)]), None);
        assert_eq!(name(Backend::Pvm, &[paging.clone(), not_kept("r15", 0, 1)]), None);
        // A shutdown that comes with it, and one alone; something else that is told.
        let told = |member: &str| {
            let what = Fault::Told {
                call: HostCall::GetVcpuEvents,
                member: member.to_owned(),
                allowed: vec![0],
                read: 1,
            };
            StateFault::at_start(0, what)
        };
        let shutdown = told("triple_fault.pending");
        assert_eq!(
            name(Backend::Pvm, &[paging.clone(), shutdown.clone()]),
            Some("pvm-legacy-paging".to_owned())
        );
        assert_eq!(name(Backend::Pvm, &[shutdown]), None);
        assert_eq!(name(Backend::Pvm, &[paging, told("flags")]), None);
    }

    #[test]
    fn a_row_covers_its_instruction_in_its_mode() {
        let real = VcpuState {
            cr0: 0x10,
            ..VcpuState::default()
        };
        let protected = VcpuState {
            cr0: 0x11,
            ..VcpuState::default()
        };
        let listed =
            |suberror, state, bytes: &[u8]| of_internal_error(Backend::Pvm, suberror, state, bytes).is_some();
        assert!(listed(1, &protected, &[0xcf]));
        assert!(listed(1, &protected, &[0x66, 0xcf]));
        assert!(!listed(1, &real, &[0xcf]));
        assert!(listed(1, &real, &[0xf1]));
        assert!(!listed(1, &protected, &[0x90, 0xcf]));
        assert!(!listed(3, &protected, &[0xcf]));
        assert!(of_internal_error(Backend::Svm, 1, &protected, &[0xcf]).is_none());
    }
}
