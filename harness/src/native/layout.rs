//! Where a step's memory and segments lie: the same linear addresses in the traced process and in
//! the model.

use spec_model::x86::segment::Segment;
use spec_model::x86::segmentation::Descriptor;

/// Bytes of a page.
pub const PAGE: usize = 0x1000;

/// Base of the 64 KiB that 16-bit segments span.
pub const LOW: u64 = 0x1000_0000;

/// What a program may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read it.
    Read,
    /// Read and write it.
    Write,
    /// Read and execute it.
    Execute,
    /// All of it.
    All,
}

impl Rights {
    /// Whether it can be written.
    #[must_use]
    pub const fn writable(self) -> bool {
        matches!(self, Self::Write | Self::All)
    }

    /// Whether it can be executed.
    #[must_use]
    pub const fn executable(self) -> bool {
        matches!(self, Self::Execute | Self::All)
    }
}

/// A page of the program.
#[derive(Clone, Copy, Debug)]
pub struct UserPage {
    /// Linear address.
    pub address: u64,
    /// What the program may do with it.
    pub rights: Rights,
}

const fn low(page: u64, rights: Rights) -> UserPage {
    UserPage {
        address: LOW + page * PAGE as u64,
        rights,
    }
}

/// Every page that the program has; around and between them are absent ones.
pub const PAGES: &[UserPage] = &[
    low(0x0, Rights::Write),
    low(0x1, Rights::Write),
    low(0x2, Rights::Write),
    low(0x4, Rights::Read),
    low(0x5, Rights::Write),
    low(0x7, Rights::Write),
    low(0x8, Rights::Read),
    low(0xa, Rights::Execute),
    low(0xb, Rights::Execute),
    low(0xd, Rights::All),
    low(0xe, Rights::Write),
    low(0xf, Rights::Write),
    // The two sides of the end of 32-bit addresses.
    UserPage {
        address: 0xffff_f000,
        rights: Rights::Write,
    },
    UserPage {
        address: 0x1_0000_0000,
        rights: Rights::Write,
    },
    // The last page that Linux gives to a program; the next one is canonical and absent.
    UserPage {
        address: 0x7fff_ffff_e000,
        rights: Rights::Write,
    },
];

/// Pages with code, at the end of which another one, an absent one or one without execution follows.
pub const CODE: [u64; 3] = [LOW + 0xa000, LOW + 0xb000, LOW + 0xd000];

/// Linux does not say whether what a program must not see beyond this address is present.
pub const USER_END: u64 = 0x7fff_ffff_f000;

/// The page and the offset in it of a linear address.
#[must_use]
pub fn locate(linear: u64) -> Option<(usize, usize)> {
    let offset = (linear % PAGE as u64) as usize;
    let page = PAGES
        .iter()
        .position(|page| page.address == linear - offset as u64)?;
    Some((page, offset))
}

/// A segment of the local descriptor table, in the words of modify_ldt(2).
#[derive(Clone, Copy, Debug)]
pub struct LocalSegment {
    /// Base.
    pub base: u32,
    /// Limit as the descriptor holds it: bytes, or pages.
    pub limit: u32,
    /// 0 data, 1 expand-down data, 2 code.
    pub contents: u8,
    /// Code that cannot be read, or data that cannot be written.
    pub restricted: bool,
    /// D/B.
    pub wide: bool,
    /// G.
    pub pages: bool,
    /// P.
    pub present: bool,
}

impl LocalSegment {
    const fn new(base: u32, limit: u32, contents: u8) -> Self {
        Self {
            base,
            limit,
            contents,
            restricted: false,
            wide: true,
            pages: false,
            present: true,
        }
    }

    const fn flat(contents: u8) -> Self {
        Self {
            pages: true,
            ..Self::new(0, 0xf_ffff, contents)
        }
    }

    const fn narrow(self) -> Self {
        Self { wide: false, ..self }
    }

    const fn restricted(self) -> Self {
        Self {
            restricted: true,
            ..self
        }
    }

    const fn absent(self) -> Self {
        Self {
            present: false,
            ..self
        }
    }

    /// The eight bytes that Linux makes of it: DPL 3, accessed.
    #[must_use]
    pub const fn raw(self) -> u64 {
        let kind = (self.contents as u64) << 2 | (!self.restricted as u64) << 1 | 1;
        let access = kind | 0x70 | (self.present as u64) << 7;
        let flags = (self.wide as u64) << 2 | (self.pages as u64) << 3;
        let (base, limit) = (self.base as u64, self.limit as u64);
        limit & 0xffff
            | (base & 0xff_ffff) << 16
            | access << 40
            | (limit >> 16 & 0xf) << 48
            | flags << 52
            | (base >> 24) << 56
    }
}

const fn at_low(limit: u32, contents: u8) -> LocalSegment {
    LocalSegment::new(LOW as u32, limit, contents)
}

/// The local descriptor table; nothing is an entry without a descriptor.
pub const LOCAL: [Option<LocalSegment>; 18] = [
    Some(LocalSegment::flat(0)),
    Some(LocalSegment::flat(2)),
    Some(at_low(0xffff, 2).narrow()),
    Some(at_low(0xffff, 0).narrow()),
    Some(at_low(0x2fff, 0)),
    Some(LocalSegment::flat(0).restricted()),
    Some(at_low(0x4fff, 1)),
    Some(at_low(0x1fff, 1).narrow()),
    Some(LocalSegment::flat(0).absent()),
    Some(LocalSegment::flat(2).absent()),
    Some(LocalSegment::flat(2).restricted()),
    Some(at_low(0xbfff, 2)),
    // Offsets reach beyond the end of linear addresses.
    Some(LocalSegment {
        base: 0x1000,
        ..LocalSegment::flat(0)
    }),
    Some(at_low(0xb800, 2).narrow()),
    None,
    // Ends within a page.
    Some(LocalSegment {
        base: LOW as u32 + 0x800,
        ..at_low(0x7fd, 0).narrow()
    }),
    Some(at_low(0xf, 0).restricted()),
    Some(LocalSegment::flat(0)),
];

/// The selector of an entry of the local descriptor table, for a program.
#[must_use]
pub const fn local_selector(index: usize) -> u16 {
    (index as u16) << 3 | 7
}

/// Linux's selector of 32-bit code.
pub const CODE_32: u16 = 0x23;
/// Linux's selector of data.
pub const DATA: u16 = 0x2b;
/// Linux's selector of 64-bit code.
pub const CODE_64: u16 = 0x33;

/// Linux's global descriptor table, as far as a program can load from it; what is 0 is none of its
/// business (Linux arch/x86/include/asm/segment.h). The entries of the TSS and the LDT are filled in by
/// whoever has one.
pub const GLOBAL: [u64; 16] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    // Number of the processor, in the limit.
    0x0040_f500_0000_0000,
];

/// What a selector of a program loads, whether or not it may; nothing for null and for what lies beyond
/// the tables.
#[must_use]
pub fn segment(selector: u16) -> Option<Segment> {
    let index = usize::from(selector >> 3);
    let raw = if selector & 4 != 0 {
        LOCAL.get(index)?.map_or(0, LocalSegment::raw)
    } else if index == 0 {
        return None;
    } else {
        *GLOBAL.get(index)?
    };
    Some(Descriptor { raw, address: 0 }.load(selector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_of_linux() {
        assert_eq!(
            LocalSegment::new(0, 0xfff, 2).narrow().raw(),
            0x0000_fb00_0000_0fff
        );
        let flat = segment(local_selector(0)).expect("an entry");
        assert_eq!((flat.base, flat.limit), (0, 0xffff_ffff));
        let low = segment(local_selector(2)).expect("an entry");
        assert_eq!((low.base, low.limit), (LOW, 0xffff));
        assert_eq!(segment(CODE_64).expect("an entry").attributes.0, 0xa0fb);
        assert_eq!(segment(DATA).expect("an entry").attributes.0, 0xc0f3);
    }

    #[test]
    fn a_linear_address_has_one_place() {
        assert_eq!(locate(LOW + 0x1005), Some((1, 5)));
        assert_eq!(locate(LOW + 0x3000), None);
        assert_eq!(locate(USER_END - 1), Some((PAGES.len() - 1, PAGE - 1)));
    }
}
