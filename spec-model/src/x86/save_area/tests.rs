use std::collections::BTreeSet;

use quickcheck::quickcheck;

use super::*;
use crate::profile::{IoRestart, PROFILES};
use crate::scenario::Cpuid;
use crate::x86::segment::SegmentName;
use crate::x86::state::VcpuState;

#[test]
fn every_byte_belongs_to_exactly_one_row() {
    for layout in LAYOUTS {
        let mut next = 0;
        for row in layout.rows {
            let range = row.range(layout.size());
            assert_eq!(
                range.start, next,
                "{}: gap or overlap at {:04x} ({})",
                layout.name, row.offset, row.name
            );
            next = range.end;
        }
        assert_eq!(next, layout.size(), "{} ends early", layout.name);
        let (size, offset) = if layout.name == "intel-64" {
            (1024, 0xfc00)
        } else {
            (SAVE_AREA_SIZE, SAVE_AREA_OFFSET)
        };
        assert_eq!(
            (layout.size(), layout.offset()),
            (size, offset),
            "{}",
            layout.name
        );
    }
}

#[test]
fn names_and_state_are_held_once() {
    for layout in LAYOUTS {
        let (mut names, mut bits) = (BTreeSet::new(), BTreeSet::new());
        for row in layout.rows.iter().filter(|row| !row.is_reserved()) {
            assert!(names.insert(row.name), "{}: two rows {}", layout.name, row.name);
            if let Some(field) = row.field() {
                assert!(Field::named(field).is_some(), "{}: no field {field}", layout.name);
                let shift = match row.content {
                    Content::Part { shift, .. } => shift,
                    Content::Copy(_) => continue,
                    _ => 0,
                };
                assert!(
                    bits.insert((field, shift)),
                    "{}: {field} is held twice",
                    layout.name
                );
                assert!(row.restored && row.width <= 8, "{}: {}", layout.name, row.name);
            }
        }
    }
}

/// Every field that an SMI saves is held by a row or in the hidden place, but for those that a
/// format is known to lack.
#[test]
fn nothing_is_lost() {
    for layout in LAYOUTS {
        let missing: Vec<&str> = layout
            .missing()
            .map(|field| field.name)
            .filter(|name| !matches!(*name, "r8" | "r9" | "r10" | "r11" | "r12" | "r13" | "r14" | "r15"))
            .collect();
        match (layout.rest, layout.name) {
            (Rest::Hidden, "amd-64") => assert!(missing.is_empty(), "{missing:?}"),
            (Rest::Hidden, "intel-64") => {
                assert!(missing.contains(&"gdtr.limit") && missing.contains(&"cs.base"))
            }
            (Rest::Hidden, _) => assert!(missing.contains(&"cr4") && missing.contains(&"gdtr.base")),
            (Rest::NotSaved, "kvm-32" | "qemu-32") => assert_eq!(missing, ["efer", "ssp"], "{}", layout.name),
            (Rest::NotSaved, "bochs-32" | "qemu-64") => assert_eq!(missing, ["ssp"], "{}", layout.name),
            (Rest::NotSaved, name) => assert!(missing.is_empty(), "{name}: {missing:?}"),
        }
    }
}

/// Bit 17: SMBASE can be relocated, in all of them. Bit 16: I/O instructions can be restarted,
/// and then there is a field for it and the profiles that use the format implement it.
#[test]
fn revision_identifiers_say_what_the_formats_can() {
    for (name, revision) in [
        ("kvm-32", 0x2_0000),
        ("kvm-64", 0x2_0064),
        ("amd-64", 0x3_0064),
        ("intel-32", 0x3_0004),
        ("intel-64", 0x3_0101),
        ("qemu-32", 0x2_0000),
        ("qemu-64", 0x2_0064),
        ("bochs-32", 0x2_0000),
        ("bochs-64", 0x2_0064),
    ] {
        let layout = Layout::named(name).expect("it is listed");
        assert_eq!(layout.revision, revision, "{name}");
        let row = layout.row("revision-id").expect("every format has one");
        assert_eq!((row.offset, row.width), (0x7efc, 4), "{name}");
        let area = layout.encode(&VcpuState::default(), Extras::default());
        assert_eq!(row.read(&area), u64::from(revision));
        let restart = layout.rows.iter().any(|row| row.content == Content::IoRestart);
        assert_eq!(restart, revision & 1 << 16 != 0, "{name}");
    }
    for profile in PROFILES {
        for long_mode in [false, true] {
            let cpuid = Cpuid {
                long_mode,
                ..Cpuid::default()
            };
            let announced = profile.layout(cpuid).revision & 1 << 16 != 0;
            assert_eq!(
                announced,
                profile.io_restart == IoRestart::Implemented,
                "{}",
                profile.name
            );
        }
    }
}

#[test]
fn access_rights_have_the_encoding_of_each_format() {
    let mut state = VcpuState::default();
    state.segment_mut(SegmentName::Ds).attributes.0 = 0xc093;
    state.segment_mut(SegmentName::Es).attributes.0 = 0x1_0012;
    for (name, usable, unusable) in [
        ("kvm-32", 0x00c0_9300, 0x1200),
        ("kvm-64", 0xc093, 0x12),
        ("amd-64", 0xc093, 0x12),
        ("qemu-32", 0xc093, 0x12),
        ("qemu-64", 0xc093, 0x12),
        ("bochs-32", 0xc193, 0x12),
        ("bochs-64", 0xc193, 0x12),
    ] {
        let layout = Layout::named(name).expect("it is listed");
        let area = layout.encode(&state, Extras::default());
        let read = |row| layout.row(row).map(|row| row.read(&area));
        assert_eq!(read("ds.attributes"), Some(usable), "{name}");
        assert_eq!(read("es.attributes"), Some(unusable), "{name}");
        let mut restored = VcpuState::default();
        layout.restore(&area, &mut restored, false);
        assert_eq!(restored.segment(SegmentName::Ds).attributes.0, 0xc093, "{name}");
        assert!(restored.segment(SegmentName::Es).attributes.unusable(), "{name}");
    }
    for layout in [&INTEL_32, &INTEL_64] {
        assert!(layout.row("ds.attributes").is_none());
    }
}

/// What KVM or QEMU wrote is no usable segment for Bochs, and
/// of two 32-bit areas at the same offsets neither is understood by the other.
#[test]
fn foreign_areas_are_misread() {
    let mut state = VcpuState::default();
    state.segment_mut(SegmentName::Ds).attributes.0 = 0xc093;
    let rights = |writer: &Layout, reader: &Layout| {
        let mut restored = VcpuState::default();
        reader.restore(&writer.encode(&state, Extras::default()), &mut restored, false);
        restored.segment(SegmentName::Ds).attributes
    };
    assert!(rights(&KVM_64, &BOCHS_64).unusable());
    assert_eq!(rights(&BOCHS_64, &KVM_64).0, 0xc093);
    assert!(rights(&KVM_32, &QEMU_32).0 != 0xc093 && rights(&QEMU_32, &KVM_32).0 != 0xc093);
}

#[test]
fn what_is_not_written_is_as_the_format_says() {
    for layout in LAYOUTS {
        let mut area = vec![0xaa; layout.size()];
        layout.encode_over(&mut area, &VcpuState::default(), Extras::default());
        let reserved = layout
            .rows
            .iter()
            .find(|row| row.is_reserved())
            .expect("there is one");
        let byte = area[reserved.range(layout.size())][0];
        let expected = if layout.unwritten == Unwritten::Zero {
            0
        } else {
            0xaa
        };
        assert_eq!(byte, expected, "{}", layout.name);
        assert_eq!(
            layout.leaves_open(reserved),
            layout.unwritten == Unwritten::Unspecified
        );
    }
    let upper_half = QEMU_64.row_at(0x7f74 - 0x7e00).expect("it is reserved");
    assert!(upper_half.is_reserved(), "upper half of RFLAGS in QEMU");
}

#[test]
fn qemu_takes_smbase_only_if_the_saved_revision_says_so() {
    let state = VcpuState {
        smbase: 0x5_0000,
        ..VcpuState::default()
    };
    for layout in LAYOUTS {
        let mut area = layout.encode(&state, Extras::default());
        layout.row("revision-id").expect("a row").write(&mut area, 0);
        let mut restored = VcpuState::default();
        layout.restore(&area, &mut restored, false);
        let taken = layout.relocation == Relocation::Always;
        assert_eq!(restored.smbase == 0x5_0000, taken, "{}", layout.name);
        assert_eq!(taken, !layout.name.starts_with("qemu"), "{}", layout.name);
    }
}

#[test]
fn ssp_is_saved_where_the_processor_has_it() {
    for (name, offset) in [("kvm-64", 0x7f18), ("amd-64", 0x7f18), ("bochs-64", 0x7f40)] {
        let layout = Layout::named(name).expect("it is listed");
        let row = layout.row("ssp").expect("it has a row");
        assert_eq!(row.offset, offset, "{name}");
        let state = VcpuState {
            ssp: 0x1122_3344_5566_7788,
            ..VcpuState::default()
        };
        for shadow_stack in [false, true] {
            let extras = Extras {
                shadow_stack,
                ..Extras::default()
            };
            let area = layout.encode(&state, extras);
            let expected = if shadow_stack { state.ssp } else { 0 };
            assert_eq!(row.read(&area), expected, "{name}");
            let mut restored = VcpuState::default();
            layout.restore(&area, &mut restored, shadow_stack);
            assert_eq!(restored.ssp, expected, "{name}");
        }
    }
}

#[test]
fn io_instructions_are_recorded_as_each_vendor_numbers_them() {
    let out = IoInstruction {
        port: 0xb2,
        width: 1,
        input: false,
        string: false,
        repeated: false,
        immediate: true,
        rip: 0x1234,
        rcx: 1,
        rsi: 2,
        rdi: 3,
    };
    let rep_insw = IoInstruction {
        port: 0x1f0,
        width: 2,
        input: true,
        string: true,
        repeated: true,
        immediate: false,
        ..out
    };
    for (instruction, intel, amd) in [
        (out, 0x00b2_0083, 0x00b2_0012),
        (rep_insw, 0x01f0_0075, 0x01f0_002f),
    ] {
        let extras = Extras {
            io: Some(instruction),
            ..Extras::default()
        };
        let read = |layout: &Layout, row| {
            let area = layout.encode(&VcpuState::default(), extras);
            layout.row(row).map(|row| row.read(&area))
        };
        assert_eq!(read(&INTEL_32, "io.state"), Some(intel));
        assert_eq!(read(&INTEL_64, "io.state"), Some(intel));
        assert_eq!(read(&INTEL_64, "io.rip"), Some(0x1234));
        assert_eq!(read(&AMD_64, "io.trap"), Some(amd));
        assert_eq!(read(&AMD_64, "io.rdi"), Some(3));
        assert_eq!(read(&KVM_64, "io.trap"), Some(0));
    }
}

/// A state with arbitrary values in every field that the layout restores.
fn arbitrary(layout: &Layout, seed: &[u64]) -> VcpuState {
    let mut state = VcpuState::default();
    for (index, row) in layout.rows.iter().filter(|row| row.restored).enumerate() {
        let value = seed
            .get(index % seed.len().max(1))
            .copied()
            .unwrap_or(0)
            .rotate_left(index as u32);
        let (Some(name), false) = (row.field(), matches!(row.content, Content::Copy(_))) else {
            continue;
        };
        let field = Field::named(name).expect("checked above");
        if let Content::Attributes { segment, .. } = row.content {
            let rights = value as u32 & 0xf0ff;
            let unusable = if rights & 0x80 == 0 { 0x1_0000 } else { 0 };
            state.segment_mut(segment).attributes.0 = rights | unusable;
        } else {
            let shift = match row.content {
                Content::Part { shift, .. } => shift,
                _ => 0,
            };
            let bits = (u32::from(row.width) * 8).min(u32::from(field.bits) - u32::from(shift));
            let value = (value & u64::MAX >> (64 - bits)) << shift;
            let others = field.read(&state) & !(u64::MAX >> (64 - bits) << shift);
            field.write(&mut state, others | value);
        }
    }
    state
}

quickcheck! {
    /// Restoring what was encoded gives back everything that the layout holds, and encoding
    /// that again gives the same bytes.
    fn encode_and_restore_are_inverse(seed: Vec<u64>) -> bool {
        LAYOUTS.iter().all(|layout| {
            let state = arbitrary(layout, &seed);
            let extras = Extras { shadow_stack: true, ..Extras::default() };
            let area = layout.encode(&state, extras);
            let mut restored = VcpuState::default();
            layout.restore(&area, &mut restored, true);
            let missing: Vec<&str> = layout.missing().map(|field| field.name).collect();
            FIELDS
                .iter()
                .filter(|field| is_saved(field.name) && !missing.contains(&field.name))
                .all(|field| field.read(&restored) == field.read(&state))
                && layout.encode(&restored, extras) == area
        })
    }

    /// Only rows that RSM restores change the state: arbitrary bytes elsewhere are ignored.
    fn bytes_that_are_not_restored_are_ignored(seed: Vec<u64>, noise: u8) -> bool {
        LAYOUTS.iter().all(|layout| {
            let area = layout.encode(&arbitrary(layout, &seed), Extras::default());
            let mut noisy = area.clone();
            for row in layout.rows.iter().filter(|row| !row.restored && row.content != Content::Revision) {
                noisy[row.range(layout.size())].fill(noise);
            }
            let restored = |area: &[u8]| {
                let mut state = VcpuState::default();
                layout.restore(area, &mut state, false);
                state
            };
            restored(&area) == restored(&noisy)
        })
    }
}
