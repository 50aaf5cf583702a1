//! Labels, branches, sections, directives and points: where things come to lie.

use std::collections::BTreeMap;

use spec_model::scenario::{PointKind, SYNC_PORT};

use super::super::{Bits, Mistake, Section, assemble};
use super::{bytes, program, section};

#[test]
fn branches_are_as_short_as_they_can_be() {
    // 126 bytes of space and the jump over 2 bytes: +127 is the last that reaches.
    let forward = |space: usize| format!("jmp over\n.space {space}\nover: nop");
    assert!(bytes(&forward(127), Bits::Bits32).starts_with(&[0xeb, 0x7f]));
    assert!(bytes(&forward(128), Bits::Bits32).starts_with(&[0xe9, 0x80, 0, 0, 0]));
    assert!(bytes(&forward(128), Bits::Bits16).starts_with(&[0xe9, 0x80, 0]));
    let backward = |space: usize| format!("back: .space {space}\njz back");
    assert!(bytes(&backward(126), Bits::Bits64).ends_with(&[0x74, 0x80]));
    assert!(bytes(&backward(127), Bits::Bits64).ends_with(&[0x0f, 0x84, 0x7b, 0xff, 0xff, 0xff]));
}

#[test]
fn a_branch_that_grows_pushes_another_out_of_reach() {
    // The second jump reaches only while the first is short.
    let text = "a: jmp far_away\n.space 124\njmp a\n.space 200\nfar_away: nop";
    let all = bytes(text, Bits::Bits32);
    assert!(all.starts_with(&[0xe9]));
    assert_eq!(
        all.get(5 + 124..5 + 124 + 5),
        Some(&[0xe9, 0x7a, 0xff, 0xff, 0xff][..])
    );
}

#[test]
fn a_long_chain_of_growing_branches_settles() {
    // Each jump reaches its target behind the next jump only while that one is short, and
    // the last is long: they grow one after the other.
    const JUMPS: usize = 400;
    let link = |number: usize| format!("jmp t{}\n.space 25\nt{number}: .space 75\n", number + 1);
    let text: String = (0..JUMPS).map(link).collect::<String>() + &format!(".space 200\nt{JUMPS}: nop");
    let program = program(&[section(&text, Bits::Bits32)]);
    let long = program
        .listing
        .iter()
        .filter(|line| line.bytes.starts_with(&[0xe9]))
        .count();
    assert_eq!(long, JUMPS);
}

/// With the prefix 67h the instruction would be longer, reach one byte further and count in
/// another register.
#[test]
fn loop_counts_in_the_usual_register_whatever_its_operand_size() {
    assert_eq!(bytes("data16 loopne $", Bits::Bits16), [0xe0, 0xfe]);
    assert_eq!(bytes("data16 loopne $", Bits::Bits32), [0x66, 0xe0, 0xfd]);
    assert_eq!(bytes("data32 loop $", Bits::Bits16), [0x66, 0xe2, 0xfd]);
}

#[test]
fn loop_keeps_its_counter_at_the_edge_of_its_reach() {
    for bits in [Bits::Bits16, Bits::Bits32, Bits::Bits64] {
        assert_eq!(bytes("loop $ + 129", bits), [0xe2, 0x7f]);
        let errors = assemble(&[section("loop $ + 130", bits)], &BTreeMap::new()).expect_err("too far");
        assert!(
            errors
                .iter()
                .all(|error| matches!(error.mistake, Mistake::TargetTooFar { .. }))
        );
    }
}

#[test]
fn branches_between_segments_go_to_the_same_linear_address() {
    let first = Section {
        name: "first",
        text: "jmp second",
        bits: Bits::Bits16,
        segment_base: 0x1_0000,
        origin: Some(0x100),
    };
    let second = Section {
        name: "second",
        text: "nop\njmp 0x1020:first\nmov ax, offset first",
        segment_base: 0x1_0200,
        origin: Some(0),
        ..first
    };
    let program = program(&[first, second]);
    let lines: Vec<&[u8]> = program.listing.iter().map(|line| line.bytes.as_slice()).collect();
    // From linear 10100h to 10200h; elsewhere the label has its own offset.
    let far = [0xea, 0x00, 0x01, 0x20, 0x10];
    assert_eq!(
        lines,
        [&[0xe9, 0xfd, 0x00][..], &[0x90], &far, &[0xb8, 0x00, 0x01]]
    );
    // Below the base of the segment there is nothing that a near jump could reach.
    let back = Section {
        text: "jmp first",
        ..second
    };
    let errors = assemble(&[first, back], &BTreeMap::new()).expect_err("out of the segment");
    let outside = Mistake::TargetOutsideSegment {
        offset: -0x100,
        width: 16,
    };
    assert_eq!(errors.first().map(|error| &error.mistake), Some(&outside));
}

#[test]
fn sections_without_origin_follow_each_other_in_their_segment() {
    let at = |name, segment_base, origin| Section {
        name,
        text: "nop\nnop\nnop",
        bits: Bits::Bits16,
        segment_base,
        origin,
    };
    let program = program(&[
        at("a", 0x1000, None),
        at("smi-handler", 0x3_0000, Some(0x8000)),
        at("b", 0x1000, None),
        at("c", 0x5000, None),
        at("d", 0x1000, None),
    ]);
    let linear: Vec<(&str, u64, u64)> = program
        .labels
        .iter()
        .map(|(name, label)| (name.as_str(), label.offset, label.linear))
        .collect();
    // A name with a minus sign is no label.
    let expected = [
        ("a", 0, 0x1000),
        ("b", 0x10, 0x1010),
        ("c", 0, 0x5000),
        ("d", 0x20, 0x1020),
    ];
    assert_eq!(linear, expected);
    let addresses: Vec<u64> = program.blobs.iter().map(|blob| blob.address).collect();
    assert_eq!(addresses, [0x1000, 0x1010, 0x1020, 0x5000, 0x3_8000]);
}

#[test]
fn data_directives_write_little_endian() {
    let text =
        "db 1, 'ab', \"c;d\", -1, 'e' + 1\ndw 0x1234, here\ndd linear here\nhere: dq 0x1122334455667788";
    let section = Section {
        segment_base: 0x10_0000,
        origin: Some(0x20),
        ..section(text, Bits::Bits32)
    };
    let program = program(&[section]);
    let expected = [
        &[1, b'a', b'b', b'c', b';', b'd', 0xff, b'f'][..],
        &[0x34, 0x12, 0x30, 0x00],
        &[0x30, 0x00, 0x10, 0x00],
        &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
    ];
    let blob = program.blobs.first().expect("one blob");
    assert_eq!((blob.address, &blob.bytes), (0x10_0020, &expected.concat()));
}

#[test]
fn align_space_and_at_move_on() {
    let program = program(&[section(
        "nop\n.align 4\nhlt\n.space 2\n.at 0x20\nlater: cli",
        Bits::Bits16,
    )]);
    let blobs: Vec<(u64, &[u8])> = program
        .blobs
        .iter()
        .map(|blob| (blob.address, blob.bytes.as_slice()))
        .collect();
    assert_eq!(
        blobs,
        [(0, &[0x90, 0x90, 0x90, 0x90, 0xf4, 0, 0][..]), (0x20, &[0xfa])]
    );
    assert_eq!(program.labels.get("later").map(|label| label.offset), Some(0x20));
}

#[test]
fn code_size_changes_inside_a_section() {
    let text =
        ".code16\njmp dword 0x08:protected\n.code32\nprotected: mov eax, 1\n.code64\nmov rax, [protected]";
    let program = program(&[section(text, Bits::Bits64)]);
    let lines: Vec<&[u8]> = program.listing.iter().map(|line| line.bytes.as_slice()).collect();
    assert_eq!(
        lines,
        [
            &[0x66, 0xea, 8, 0, 0, 0, 8, 0][..],
            &[0xb8, 1, 0, 0, 0],
            &[0x48, 0x8b, 0x04, 0x25, 8, 0, 0, 0],
        ]
    );
    assert_eq!(
        program.labels.get("protected").map(|label| label.bits),
        Some(Bits::Bits32)
    );
}

#[test]
fn a_label_never_decides_about_the_width_of_a_number() {
    let text = "add eax, end - start\nmov al, [ebx + end - start]\nend:";
    let expected = [&[0x05, 11, 0, 0, 0][..], &[0x8a, 0x83, 11, 0, 0, 0]].concat();
    assert_eq!(bytes(text, Bits::Bits32), expected);
}

#[test]
fn constants_and_labels_make_numbers() {
    let constants = BTreeMap::from([("SMBASE".to_owned(), 0x3_0000)]);
    let section = section("mov ebx, SMBASE + 0xfef8\nmov eax, linear start", Bits::Bits32);
    let section = Section {
        segment_base: 0x7000,
        ..section
    };
    let program = assemble(&[section], &constants).expect("it assembles");
    let lines: Vec<&[u8]> = program.listing.iter().map(|line| line.bytes.as_slice()).collect();
    assert_eq!(lines, [&[0xbb, 0xf8, 0xfe, 0x03, 0][..], &[0xb8, 0, 0x70, 0, 0]]);
}

#[test]
fn points_are_numbered_syncs_first() {
    let first = section(
        "sync before-smi\nhalt waiting\nsync after\nsync before-smi",
        Bits::Bits16,
    );
    let second = Section {
        name: "second",
        text: "sync third\nsync after",
        segment_base: 0x1000,
        ..first
    };
    let program = program(&[first, second]);
    let names: Vec<&str> = program.points.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(names, ["before-smi", "after", "third", "waiting"]);
    assert_eq!(
        program.points.last().map(|point| point.kind),
        Some(PointKind::Halt { resume: 3 })
    );
    let port = |number| SYNC_PORT + number;
    let expected = [
        vec![0xe6, port(0), 0xf4, 0xe6, port(1), 0xe6, port(0)],
        vec![0xe6, port(2), 0xe6, port(1)],
    ];
    assert_eq!(
        program
            .blobs
            .into_iter()
            .map(|blob| blob.bytes)
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn a_halt_resumes_at_its_linear_address() {
    let section = Section {
        segment_base: 0x1_2340,
        origin: Some(0x10),
        ..section("nop\nhalt asleep", Bits::Bits16)
    };
    let program = program(&[section]);
    let resume = 0x1_2340 + 0x10 + 2;
    assert_eq!(
        program.points.first().map(|point| point.kind),
        Some(PointKind::Halt { resume })
    );
}

#[test]
fn relative_to_rip_means_the_target_or_the_distance() {
    assert_eq!(
        bytes("x: lea rax, [rip + x]", Bits::Bits64),
        [0x48, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff]
    );
    assert_eq!(
        bytes("lea rax, [rip + 0x10]", Bits::Bits64),
        [0x48, 0x8d, 0x05, 0x10, 0, 0, 0]
    );
    // The immediate after the displacement counts too.
    assert_eq!(
        bytes("x: mov byte ptr [rel x], 1", Bits::Bits64),
        [0xc6, 0x05, 0xf9, 0xff, 0xff, 0xff, 1]
    );
    assert_eq!(
        bytes("mov byte ptr [rip - 1], 1", Bits::Bits64),
        [0xc6, 0x05, 0xff, 0xff, 0xff, 0xff, 1]
    );
}
