//! What case files say about arm64.

use spec_model::stage2::arm64::{ADDRESS_BITS, Arm64, Arm64Operation, Instruction};
use spec_model::stage2::scenario::{GuestAddress, Operation, PAGE_SIZE};
use spec_model::stage2::transcript::End;

use super::super::mistake::{Mistakes, Position};
use super::syntax::{ActionWord, Arm64Entry, StepEntry};

/// What may be said of an instruction that reads.
pub(super) const LOAD: &[&str] = &[
    "answer",
    "interrupt",
    "at-exit",
    "value",
    "exits",
    "errno",
    "ends",
];
/// And of one that does not.
pub(super) const STORE: &[&str] = &["interrupt", "at-exit", "exits", "errno", "ends"];

/// How any operation of the guest may end on arm64.
pub(super) const ENDS: &[&str] = &["syndrome", "fault-address", "undescribed"];

/// How the guest is set up.
pub(super) fn setup(entry: &Arm64Entry, mistakes: &mut Mistakes) -> Arm64 {
    let usual = Arm64::default();
    if let Some(table) = entry
        .table
        .as_ref()
        .filter(|table| !table.value.is_multiple_of(PAGE_SIZE))
    {
        mistakes.add(
            table.at,
            "a table that does not begin with a page",
            "write a multiple of 0x1000",
        );
    }
    if let Some(bits) = entry
        .address_bits
        .as_ref()
        .filter(|bits| !(32..=ADDRESS_BITS).contains(&bits.value))
    {
        let remedy = format!("write 32 to {ADDRESS_BITS}");
        mistakes.add(bits.at, format!("addresses of {} bits", bits.value), remedy);
    }
    Arm64 {
        translation: entry.translation.unwrap_or(usual.translation),
        table: entry.table.as_ref().map(|table| table.value / PAGE_SIZE),
        hardware_access_flag: entry.hardware_access_flag.unwrap_or(usual.hardware_access_flag),
        undescribed_exits: entry.undescribed_exits.unwrap_or(usual.undescribed_exits),
        address_bits: entry
            .address_bits
            .as_ref()
            .map_or(usual.address_bits, |bits| bits.value),
    }
}

/// The instruction that a word names.
pub(super) fn instruction(word: ActionWord) -> Option<Instruction> {
    Some(match word {
        ActionWord::LoadPair => Instruction::LoadPair,
        ActionWord::StorePair => Instruction::StorePair,
        ActionWord::LoadIndexed => Instruction::LoadIndexed,
        ActionWord::StoreIndexed => Instruction::StoreIndexed,
        ActionWord::LoadSimd => Instruction::LoadSimd,
        ActionWord::StoreSimd => Instruction::StoreSimd,
        ActionWord::LoadExclusive => Instruction::LoadExclusive,
        ActionWord::CompareAndSwap => Instruction::CompareAndSwap,
        ActionWord::AtomicAdd => Instruction::AtomicAdd,
        ActionWord::LoadSignedWord => Instruction::LoadSignedWord,
        ActionWord::LoadSigned => Instruction::LoadSigned,
        ActionWord::Clean => Instruction::Clean,
        ActionWord::CleanAndInvalidate => Instruction::CleanAndInvalidate,
        ActionWord::Invalidate => Instruction::Invalidate,
        ActionWord::InvalidateInstructions => Instruction::InvalidateInstructions,
        ActionWord::ZeroBlock => Instruction::ZeroBlock,
        _ => return None,
    })
}

/// An instruction with its operands.
pub(super) fn operation(instruction: Instruction, entry: &StepEntry) -> Operation {
    let number =
        |given: &Option<super::super::document::Located<u64>>| given.as_ref().map_or(0, |given| given.value);
    Operation::Arm64(Arm64Operation {
        instruction,
        at: GuestAddress::of_bytes(number(&entry.at)),
        value: number(&entry.data),
        expected: number(&entry.expected),
    })
}

/// How the guest must end, if in a way that only arm64 has, and where that is written.
pub(super) fn end(entry: &StepEntry) -> Option<(End, Position)> {
    if let Some(syndrome) = &entry.syndrome {
        let address = entry.fault_address.as_ref().or(entry.at.as_ref());
        let end = End::Exception {
            syndrome: syndrome.value,
            address: address.map_or(0, |address| address.value),
        };
        return Some((end, syndrome.at));
    }
    let undescribed = entry.undescribed.as_ref()?;
    let end = End::Undescribed {
        write: undescribed.value.write.is_some(),
        at: undescribed.value.write.or(undescribed.value.read).unwrap_or(0),
    };
    Some((end, undescribed.at))
}

/// A setup as a case file says it.
pub(super) fn print(setup: &Arm64) -> String {
    let usual = Arm64::default();
    let mut keys = Vec::new();
    if setup.translation != usual.translation {
        keys.push(format!("translation: {}", setup.translation));
    }
    if let Some(table) = setup.table {
        keys.push(format!("table: {:#x}", table * PAGE_SIZE));
    }
    if setup.hardware_access_flag {
        keys.push("hardware-access-flag: true".to_owned());
    }
    if setup.undescribed_exits {
        keys.push("undescribed-exits: true".to_owned());
    }
    if setup.address_bits != usual.address_bits {
        keys.push(format!("address-bits: {}", setup.address_bits));
    }
    format!("arm64: {{ {} }}", keys.join(", "))
}

/// An instruction as a case file says it.
pub(super) fn print_operation(operation: &Arm64Operation) -> String {
    let Arm64Operation {
        instruction,
        at,
        value,
        expected,
    } = operation;
    let mut line = format!("do: {}, at: {:#x}", instruction.name(), at.bytes());
    if *instruction == Instruction::CompareAndSwap {
        line += &format!(", expected: {expected:#x}");
    }
    let writes = matches!(
        instruction,
        Instruction::StorePair
            | Instruction::StoreIndexed
            | Instruction::StoreSimd
            | Instruction::CompareAndSwap
            | Instruction::AtomicAdd
    );
    if writes {
        line += &format!(", data: {value:#x}");
    }
    line
}
