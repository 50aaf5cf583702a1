//! The kernel that Xen starts as its first domain: an ELF image with hardly any code.
//!
//! All that the guest does between two cases is hypercalls and moves to two control registers, and the host
//! prepares each of them through the debugger. So the kernel is one SYSCALL and two MOVs, each with a place to
//! stop behind it.

/// Guest-virtual address of the image, far above the memory of cases. Guest-virtual address 0 is
/// guest-physical address 0 ([`VIRT_BASE`]).
const BASE: u64 = 0x3f_0000;
/// Where the kernel starts, and where its breakpoint is.
pub(super) const ENTRY: u64 = BASE;
/// The SYSCALL of every hypercall.
pub(super) const HYPERCALL: u64 = BASE + 1;
/// Where the guest stops behind it.
pub(super) const AFTER_HYPERCALL: u64 = BASE + 3;
/// Where the guest goes if Xen calls it unasked: an instruction that it stays at.
pub(super) const IDLE: u64 = BASE + 4;
/// MOV CR2, RAX.
pub(super) const MOVE_TO_CR2: u64 = BASE + 6;
/// MOV CR4, RAX.
pub(super) const MOVE_TO_CR4: u64 = BASE + 10;
/// How far behind such a MOV the guest stops.
pub(super) const MOVE_LENGTH: u64 = 3;
/// A page for what hypercalls read.
pub(super) const ARGUMENTS: u64 = 0x3e_e000;
/// A page for the top-level page table of programs.
pub(super) const PROGRAM_TABLE: u64 = 0x3e_d000;

/// NOP; SYSCALL; NOP; JMP to itself; MOV CR2, RAX; NOP; MOV CR4, RAX; NOP.
const CODE: [u8; 14] = [
    0x90, 0x0f, 0x05, 0x90, 0xeb, 0xfe, 0x0f, 0x22, 0xd0, 0x90, 0x0f, 0x22, 0xe0, 0x90,
];
/// Where pseudo-physical memory begins in the guest's address space.
const VIRT_BASE: u64 = 0;

/// Types of notes (`xen/include/public/elfnote.h`).
const NOTE_ENTRY: u32 = 1;
const NOTE_VIRT_BASE: u32 = 3;
const NOTE_PADDR_OFFSET: u32 = 4;
const NOTE_XEN_VERSION: u32 = 5;
const NOTE_GUEST_OS: u32 = 6;
const NOTE_LOADER: u32 = 8;
const NOTE_PAE_MODE: u32 = 9;
const NOTE_FEATURES: u32 = 10;

const ELF_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// Readable, writable and executable.
const ALL_RIGHTS: u32 = 7;
const READABLE: u32 = 4;

/// The image.
pub(super) fn image() -> Vec<u8> {
    let notes = notes();
    let notes_at = CODE.len().next_multiple_of(4);
    let start = ELF_HEADER + 2 * PROGRAM_HEADER;
    let size = notes_at + notes.len();
    let mut image = elf_header();
    image.extend(program_header(LOAD, ALL_RIGHTS, start, 0, size));
    image.extend(program_header(
        NOTE,
        READABLE,
        start + notes_at,
        notes_at,
        notes.len(),
    ));
    image.extend(CODE);
    image.resize(start + notes_at, 0);
    image.extend(notes);
    image
}

/// A 64-bit executable for x86-64 with two program headers and no sections.
fn elf_header() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    for half in [2_u16, 62] {
        header.extend(half.to_le_bytes());
    }
    header.extend(1_u32.to_le_bytes());
    for word in [ENTRY, ELF_HEADER as u64, 0] {
        header.extend(word.to_le_bytes());
    }
    header.extend(0_u32.to_le_bytes());
    for half in [ELF_HEADER as u16, PROGRAM_HEADER as u16, 2, 64, 0, 0] {
        header.extend(half.to_le_bytes());
    }
    header
}

/// `place` is where the segment lies from [`BASE`].
fn program_header(kind: u32, rights: u32, offset: usize, place: usize, size: usize) -> Vec<u8> {
    let address = BASE + place as u64;
    let mut header = Vec::with_capacity(PROGRAM_HEADER);
    header.extend(kind.to_le_bytes());
    header.extend(rights.to_le_bytes());
    for word in [offset as u64, address, address, size as u64, size as u64, 4] {
        header.extend(word.to_le_bytes());
    }
    header
}

fn notes() -> Vec<u8> {
    let number = |value: u64| value.to_le_bytes().to_vec();
    let text = |value: &str| [value.as_bytes(), b"\0"].concat();
    let notes = [
        (NOTE_GUEST_OS, text("conform")),
        (NOTE_XEN_VERSION, text("xen-3.0")),
        (NOTE_LOADER, text("generic")),
        (NOTE_VIRT_BASE, number(VIRT_BASE)),
        (NOTE_PADDR_OFFSET, number(VIRT_BASE)),
        (NOTE_ENTRY, number(ENTRY)),
        (NOTE_PAE_MODE, text("yes")),
        (NOTE_FEATURES, text("!writable_page_tables|pae_pgdir_above_4gb")),
    ];
    let mut bytes = Vec::new();
    for (kind, value) in notes {
        for word in [4, value.len() as u32, kind] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"Xen\0");
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_an_executable_whose_code_begins_at_the_entry() {
        let image = image();
        assert_eq!(image.get(..4), Some(b"\x7fELF".as_slice()));
        let word = |at: usize| {
            let bytes: [u8; 8] = image[at..at + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        let (entry, offset, address) = (word(24), word(ELF_HEADER + 8), word(ELF_HEADER + 16));
        let at = usize::try_from(offset + entry - address).expect("a small image");
        assert_eq!(image.get(at..at + CODE.len()), Some(CODE.as_slice()));
        let hypercall = usize::try_from(HYPERCALL - ENTRY).expect("a small image");
        assert_eq!(CODE.get(hypercall..hypercall + 2), Some([0x0f, 0x05].as_slice()));
        for (place, modrm) in [(MOVE_TO_CR2, 0xd0), (MOVE_TO_CR4, 0xe0)] {
            let at = usize::try_from(place - ENTRY).expect("a small image");
            let length = usize::try_from(MOVE_LENGTH).expect("a short instruction");
            assert_eq!(CODE.get(at..at + length), Some([0x0f, 0x22, modrm].as_slice()));
        }
        let notes = usize::try_from(word(ELF_HEADER + PROGRAM_HEADER + 8)).expect("a small image");
        assert_eq!(image.get(notes + 12..notes + 16), Some(b"Xen\0".as_slice()));
    }
}
