//! The few parts of ELF-64 files that provisioning and booting need (System V ABI,
//! chapter 4 "Object Files" and chapter 5 "Program Loading").
//!
//! Every read is bounds-checked: a damaged file yields [`NotElf`], never a panic.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// The file is not a little-endian 64-bit ELF file, or its headers point outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a little-endian 64-bit ELF file, or cut short")]
pub struct NotElf;

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
/// Size of an ELF-64 file header in bytes.
pub const EHDR_SIZE: usize = 64;
/// Size of a program header in bytes.
const PHDR_SIZE: usize = 56;
/// Size of a section header in bytes.
const SHDR_SIZE: usize = 64;

/// A parsed ELF-64 file; borrows the file's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Elf<'a> {
    bytes: &'a [u8],
}

struct ProgramHeader {
    kind: u32,
    offset: usize,
    file_size: usize,
}

struct SectionHeader {
    name: usize,
    offset: usize,
    size: usize,
}

impl<'a> Elf<'a> {
    /// Checks the identification bytes.
    ///
    /// # Errors
    /// If this is not a little-endian ELF-64 file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotElf> {
        const MAGIC_64_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";
        if bytes.len() < EHDR_SIZE || !bytes.starts_with(MAGIC_64_LITTLE_ENDIAN) {
            return Err(NotElf);
        }
        Ok(Self { bytes })
    }

    /// Path of the program interpreter (PT_INTERP); none in a static executable.
    ///
    /// # Errors
    /// If a header points outside the file.
    pub fn interpreter(&self) -> Result<Option<OsString>, NotElf> {
        for header in self.program_headers()? {
            if header.kind == PT_INTERP {
                let path = self.range(header.offset, header.file_size)?;
                return Ok(Some(until_nul(path).to_owned()));
            }
        }
        Ok(None)
    }

    /// Where the last loadable segment ends, in bytes from the start of the file; the file
    /// may be shorter if it is damaged. Debug information and symbol tables stand behind,
    /// and cutting them off needs no `strip`.
    ///
    /// # Errors
    /// If the program headers are outside what was given of the file.
    pub fn loadable_end(&self) -> Result<usize, NotElf> {
        let table_end = (PHDR_SIZE * self.half(0x38)?)
            .checked_add(self.quad(0x20)?)
            .ok_or(NotElf)?;
        let mut end = table_end.max(EHDR_SIZE);
        for header in self.program_headers()? {
            if header.kind == PT_LOAD {
                end = end.max(header.offset.checked_add(header.file_size).ok_or(NotElf)?);
            }
        }
        Ok(end)
    }

    /// The file header of a copy that ends at [`Self::loadable_end`].
    ///
    /// # Errors
    /// If the file is shorter than its header.
    pub fn header_without_sections(&self) -> Result<[u8; EHDR_SIZE], NotElf> {
        let mut header: [u8; EHDR_SIZE] = self.field(0)?;
        for field in [0x28..0x30, 0x3c..0x3e, 0x3e..0x40] {
            // e_shoff, e_shnum, e_shstrndx: there are no sections any more.
            header.get_mut(field).ok_or(NotElf)?.fill(0);
        }
        Ok(header)
    }

    /// Contents of the section of that name, if there is one.
    ///
    /// # Errors
    /// If a header points outside the file.
    pub fn section(&self, name: &str) -> Result<Option<&'a [u8]>, NotElf> {
        let headers = self.section_headers()?;
        let Some(names) = headers.get(self.half(0x3e)?) else {
            return Ok(None);
        };
        let names = self.range(names.offset, names.size)?;
        for header in &headers {
            let own_name = names.get(header.name..).ok_or(NotElf)?;
            if until_nul(own_name) == name {
                return self.range(header.offset, header.size).map(Some);
            }
        }
        Ok(None)
    }

    fn program_headers(&self) -> Result<Vec<ProgramHeader>, NotElf> {
        let (table, count) = (self.quad(0x20)?, self.half(0x38)?);
        (0..count)
            .map(|index| {
                let at = table.checked_add(index * PHDR_SIZE).ok_or(NotElf)?;
                Ok(ProgramHeader {
                    kind: self.word(at)?,
                    offset: self.quad(offset(at, 0x08)?)?,
                    file_size: self.quad(offset(at, 0x20)?)?,
                })
            })
            .collect()
    }

    fn section_headers(&self) -> Result<Vec<SectionHeader>, NotElf> {
        let (table, count) = (self.quad(0x28)?, self.half(0x3c)?);
        (0..count)
            .map(|index| {
                let at = table.checked_add(index * SHDR_SIZE).ok_or(NotElf)?;
                Ok(SectionHeader {
                    name: self.word(at)? as usize,
                    offset: self.quad(offset(at, 0x18)?)?,
                    size: self.quad(offset(at, 0x20)?)?,
                })
            })
            .collect()
    }

    fn range(&self, start: usize, length: usize) -> Result<&'a [u8], NotElf> {
        let end = start.checked_add(length).ok_or(NotElf)?;
        self.bytes.get(start..end).ok_or(NotElf)
    }

    fn field<const N: usize>(&self, at: usize) -> Result<[u8; N], NotElf> {
        self.range(at, N)?.try_into().map_err(|_| NotElf)
    }

    fn half(&self, at: usize) -> Result<usize, NotElf> {
        self.field(at).map(u16::from_le_bytes).map(usize::from)
    }

    fn word(&self, at: usize) -> Result<u32, NotElf> {
        self.field(at).map(u32::from_le_bytes)
    }

    fn quad(&self, at: usize) -> Result<usize, NotElf> {
        usize::try_from(u64::from_le_bytes(self.field(at)?)).map_err(|_| NotElf)
    }
}

fn offset(base: usize, by: usize) -> Result<usize, NotElf> {
    base.checked_add(by).ok_or(NotElf)
}

fn until_nul(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_executable() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn finds_a_section_and_the_interpreter_of_this_test_program() {
        let bytes = own_executable();
        let elf = Elf::parse(&bytes).unwrap();
        let interp = elf.section(".interp").unwrap().map(until_nul);
        assert_eq!(elf.interpreter().unwrap().as_deref(), interp);
        assert!(elf.section(".text").unwrap().is_some_and(|text| !text.is_empty()));
        assert_eq!(elf.section(".no-such-section").unwrap(), None);
    }

    #[test]
    fn the_loadable_part_still_runs() {
        let bytes = own_executable();
        let elf = Elf::parse(&bytes).unwrap();
        let mut part = elf.header_without_sections().unwrap().to_vec();
        part.extend(&bytes[EHDR_SIZE..elf.loadable_end().unwrap()]);
        assert!(part.len() < bytes.len());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stripped");
        std::fs::write(&path, part).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        let output = std::process::Command::new(&path)
            .args(["--list", "elf::"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("the_loadable_part_still_runs"), "{text}");
    }

    #[test]
    fn damaged_files_are_errors() {
        let bytes = own_executable();
        assert_eq!(Elf::parse(b"\x7fELF").unwrap_err(), NotElf);
        assert_eq!(Elf::parse(b"MZ").unwrap_err(), NotElf);
        let cut = &bytes[..bytes.len() / 2];
        assert_eq!(Elf::parse(cut).unwrap().section(".text"), Err(NotElf));
        let mut wild = bytes.clone();
        wild[0x20..0x28].fill(0xff);
        assert_eq!(Elf::parse(&wild).unwrap().interpreter(), Err(NotElf));
        assert_eq!(Elf::parse(&wild).unwrap().loadable_end(), Err(NotElf));
    }
}
