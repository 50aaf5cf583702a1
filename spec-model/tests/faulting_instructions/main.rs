//! The law that an instruction that faults changes nothing but what the manuals allow
//! (INS-FAULT-001), for every encoding that the model executes.
//!
//! Each encoding gets operands, is executed once where all is well, and once for every way in
//! which one of its accesses can fault: a page that is absent or can only be read, on either side
//! of a page boundary, and a segment that is too short. Whatever faults must have left registers
//! and memory alone, but for accessed and dirty bits of page tables, the frame of a software
//! interrupt and the iterations that a repeated string instruction has completed.

mod guest;
mod sample;

use std::collections::BTreeSet;

use guest::{Bits, Damage, End, Guest};
use iced_x86::Code;
use proptest::prelude::*;
use sample::{Operands, sample};
use spec_model::x86::instruction_set::encodings;

const BITS: [Bits; 3] = [Bits::Code64, Bits::Code32, Bits::Code16];

/// Where an operand lies in its page: inside, and across the boundary to the next.
const OFFSETS: [u64; 2] = [0x100, 0xffd];

fn check(bits: Bits, code: Code, operands: &Operands, damage: Damage) -> Option<End> {
    let bytes = sample(code, bits.width(), operands)?;
    let guest = Guest::new(bits, damage, operands, &bytes);
    Some(guest.run(code))
}

#[test]
fn every_encoding_executes() {
    let mut seen = BTreeSet::new();
    for bits in BITS {
        for code in encodings() {
            for in_memory in [false, true] {
                let operands = Operands {
                    in_memory,
                    ..Operands::default()
                };
                if let Some(end) = check(bits, code, &operands, Damage::None) {
                    assert!(
                        end != End::Unknown,
                        "{code:?} in {bits:?} is listed and not executed"
                    );
                    seen.insert(format!("{code:?}"));
                }
            }
        }
    }
    let unseen: Vec<String> = encodings()
        .map(|code| format!("{code:?}"))
        .filter(|name| !seen.contains(name))
        .collect();
    assert!(unseen.is_empty(), "no sample could be made of {unseen:?}");
}

#[test]
fn a_fault_at_each_access_changes_nothing() {
    let mut silent = BTreeSet::new();
    for code in encodings() {
        let mut faulted = false;
        for bits in BITS {
            for (damage, offset) in Damage::ALL
                .iter()
                .flat_map(|damage| OFFSETS.map(|offset| (*damage, offset)))
            {
                for in_memory in [false, true] {
                    let operands = Operands {
                        in_memory,
                        offset,
                        ..Operands::default()
                    };
                    faulted |= check(bits, code, &operands, damage) == Some(End::Faulted);
                }
            }
        }
        if !faulted && sample::has_memory_operand(code) {
            silent.insert(format!("{code:?}"));
        }
    }
    assert!(
        silent.is_empty(),
        "the law says nothing of {silent:?}, which never faulted"
    );
}

/// Holes of the opcode map are #UD (INS-SET-001); hints that some processor gives a meaning are not.
#[test]
fn holes_of_the_opcode_map_are_undefined() {
    let fetch = |second: u8| {
        let bytes = [0x0f, second, 0xc0, 0, 0, 0, 0, 0];
        Guest::new(Bits::Code64, Damage::None, &Operands::default(), &bytes).fetch_raises_ud()
    };
    for hole in [0x04, 0x0a, 0x0c, 0x24, 0x26, 0x27, 0x36, 0x39] {
        assert!(fetch(hole), "0f {hole:02x} is defined nowhere");
    }
    for hint in 0x18..=0x1f {
        assert!(!fetch(hint), "0f {hint:02x} is a hint");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn a_fault_changes_nothing_whatever_the_operands(
        index in any::<prop::sample::Index>(),
        bits in prop::sample::select(&BITS),
        damage in prop::sample::select(Damage::ALL),
        in_memory in any::<bool>(),
        offset in 0u64..0x1000,
        values in any::<[u64; 4]>(),
        immediate in any::<u64>(),
        registers in any::<[u8; 3]>(),
        prefix in 0u8..4,
        flags in any::<u64>(),
    ) {
        let all: Vec<Code> = encodings().collect();
        let operands = Operands { in_memory, offset, values, immediate, registers, prefix, flags };
        let end = check(bits, *index.get(&all), &operands, damage);
        prop_assert!(end != Some(End::Unknown));
    }
}
