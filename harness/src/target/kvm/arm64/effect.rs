//! Outcomes in words, and those that operations must have.

use super::machine::{DATA, End, HOLE, Mmio, Outcome};
use crate::target::arm64_operation::{Access, COMPARE_AND_SWAP, EXCLUSIVE, Operation, READ_SIGNED};

/// Where an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A slot with KVM_MEM_READONLY.
    ReadOnly,
    /// No slot.
    Hole,
}

impl Place {
    /// Its guest-physical address.
    pub fn address(self) -> u64 {
        match self {
            Self::ReadOnly => DATA,
            Self::Hole => HOLE,
        }
    }
}

/// The exception class in a syndrome register (Arm ARM D24.2.37, EC).
fn class(syndrome: u64) -> &'static str {
    match syndrome >> 26 & 0x3f {
        0x00 => "undefined instruction",
        0x21 => "instruction abort",
        0x25 => "data abort",
        _ => "another exception",
    }
}

/// The fault status of an abort (Arm ARM D24.2.37, DFSC and IFSC).
fn status(syndrome: u64) -> String {
    match syndrome & 0x3f {
        0x10 => " (external)".to_owned(),
        0x21 => " (alignment)".to_owned(),
        0x00 => String::new(),
        other => format!(" (fault status {other:#x})"),
    }
}

/// An outcome in one line. `memory` is what the data slot holds at its start afterwards.
pub(super) fn words(outcome: &Outcome, memory: &[u8]) -> String {
    let mut parts: Vec<String> = outcome.exits.iter().map(exit).collect();
    parts.push(match &outcome.end {
        End::Done => "done".to_owned(),
        End::Exception { syndrome, .. } => format!("{}{}", class(*syndrome), status(*syndrome)),
        End::Failed(libc::ENOSYS) => "KVM_RUN fails with ENOSYS".to_owned(),
        End::Failed(libc::EFAULT) => "KVM_RUN fails with EFAULT".to_owned(),
        End::Failed(errno) => format!("KVM_RUN fails with errno {errno}"),
        End::Stuck => "KVM_RUN does not come back".to_owned(),
        End::Other(exit) => format!("exit {exit}"),
    });
    parts.push(format!("memory {}", hex(memory)));
    parts.join(", ")
}

/// The same with the registers that an operation gives results in.
pub(super) fn words_with_registers(outcome: &Outcome, memory: &[u8]) -> String {
    let [_, x1, x2, x3] = outcome.registers;
    let status = if x3 == u64::MAX {
        String::new()
    } else {
        format!(", status {x3}")
    };
    format!("{}, x1 {x1:#x}, x2 {x2:#x}{status}", words(outcome, memory))
}

fn exit(exit: &Mmio) -> String {
    match exit {
        Mmio::Read { address, length } => format!("MMIO read of {length} at {address:#x}"),
        Mmio::Write { address, bytes } => format!("MMIO write of {} at {address:#x}", hex(bytes)),
    }
}

/// Bytes in hexadecimal, at most 16 of them.
fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().take(16).map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().concat()
}

/// What the operation has to do in memory that is all zero and may not be written to, or in none
/// at all, X1 and X2 being `values`; none where the manuals do not say (KVM API 5, KVM_EXIT_MMIO and
/// KVM_CAP_READONLY_MEM; Arm ARM D24.2.40).
pub(super) fn expected(operation: &Operation, place: Place, values: [u64; 2]) -> Option<String> {
    let zero = hex(&[0; 16]);
    let bytes = values[0].to_le_bytes();
    let written = bytes.get(..usize::from(operation.length)).map(hex);
    let refused = format!("KVM_RUN fails with ENOSYS, memory {zero}");
    let address = place.address();
    match (operation.access, place) {
        (Access::Write, Place::ReadOnly | Place::Hole) if operation.described => Some(format!(
            "MMIO write of {} at {address:#x}, done, memory {zero}",
            written?
        )),
        (Access::Read, Place::Hole) if operation.described => Some(format!(
            "MMIO read of {} at {address:#x}, done, memory {zero}",
            operation.length
        )),
        (Access::Read | Access::Write | Access::ReadModifyWrite, Place::Hole) => Some(refused),
        (Access::Write | Access::ReadModifyWrite, Place::ReadOnly) => Some(refused),
        (Access::Read, Place::ReadOnly) => Some(format!("done, memory {zero}")),
        (Access::Fetch, Place::Hole) => Some(format!("instruction abort (external), memory {zero}")),
        // The word 0 is permanently undefined (Arm ARM C6.2.388, UDF), so it was executed.
        (Access::Fetch, Place::ReadOnly) => Some(format!("undefined instruction, memory {zero}")),
        // Which page of a read-only slot was touched before makes a difference to KVM.
        (Access::Maintenance, Place::ReadOnly) => None,
        (Access::Maintenance, Place::Hole) => Some(format!("done, memory {zero}")),
    }
}

/// What an operation on 16 bytes that may be written does: the bytes and X1, X2 afterwards, the
/// way [`words_with_registers`] puts it (Arm ARM C6).
pub(super) fn in_memory(operation: &Operation, before: [u64; 2], values: [u64; 2]) -> String {
    let (mut after, mut registers, mut status) = (before, values, "");
    let mask = match operation.length {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    };
    match (operation.access, operation.length) {
        (Access::Read, 16) => registers = before,
        (Access::Read, _) if *operation == READ_SIGNED => {
            registers[0] = i64::from(before[0].to_le_bytes()[0] as i8).cast_unsigned();
        }
        (Access::Read, _) => registers[0] = before[0] & mask,
        (Access::Write, 16) => after = values,
        // The smallest block that DC ZVA may have is as long as what is looked at.
        (Access::Write, 0) => after = [0; 2],
        (Access::Write, _) => after[0] = before[0] & !mask | values[0] & mask,
        (Access::ReadModifyWrite, _) => {
            registers[0] = before[0];
            if *operation == EXCLUSIVE {
                (after[0], status) = (values[1], ", status 0");
            } else if *operation == COMPARE_AND_SWAP {
                after[0] = if before[0] == values[0] {
                    values[1]
                } else {
                    before[0]
                };
            } else {
                after[0] = before[0].wrapping_add(values[1]);
            }
        }
        (Access::Maintenance | Access::Fetch, _) => {}
    }
    let memory = after.map(u64::to_le_bytes).concat();
    let [x1, x2] = registers;
    format!("done, memory {}, x1 {x1:#x}, x2 {x2:#x}{status}", hex(&memory))
}
