//! Host memory: what the address range of each backing maps, and what that holds.
//!
//! Contents are kept by value. Two mappings of one file page share it; the copy that a private
//! mapping gets when it is written belongs to that mapping, and fork copies it. How many
//! page frames the kernel uses for that, a run cannot tell, and so there are none here.

use std::collections::BTreeMap;

use super::page::Page;
use super::scenario::{Backing, BackingKind, Fill, HostAddress, Protection, Range};
use super::transcript::Change;
use crate::defect::{Defect, DefectSet};

/// A file; pages that it does not hold are zeros.
#[derive(Clone, Debug, Default)]
struct File {
    length: u32,
    pages: BTreeMap<u32, Page>,
}

/// What one page of an address range maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Unmapped,
    Anonymous,
    File { file: u16, page: u32, shared: bool },
}

/// One page of an address range.
#[derive(Clone, Debug)]
struct Mapped {
    source: Source,
    protection: Protection,
    /// The copy that only this mapping sees.
    own: Option<Page>,
    /// MADV_FREE was called, and nothing has been written since.
    freed: bool,
    /// The kernel may merge it with others of the same contents.
    mergeable: bool,
    /// The page frame that it shares with others since they were merged. Only a defect lets that be
    /// seen.
    merged: Option<Frame>,
}

/// A page frame under merged pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// The page that untouched memory shows.
    Zero,
    /// One of this number, for pages of the same contents.
    Numbered(usize),
}

impl Mapped {
    fn new(source: Source, protection: Protection, own: Option<Page>) -> Self {
        Self {
            source,
            protection,
            own,
            freed: false,
            mergeable: false,
            merged: None,
        }
    }

    /// Gives up the copy that only this mapping sees.
    fn drop_own(&mut self) {
        self.own = None;
        self.freed = false;
        self.merged = None;
    }
}

/// A process: the pages of each backing's range.
type Process = Vec<Vec<Mapped>>;

/// An access that the kernel refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// Whose mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Parent,
    Child,
}

/// The host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    files: Vec<File>,
    /// Which backings are to have huge pages; only a defect asks.
    huge: Vec<bool>,
    parent: Process,
    child: Option<Process>,
    /// The page that every untouched anonymous page shows. Nothing may write to it.
    zero_page: Page,
    defects: DefectSet,
}

impl Host {
    pub(super) fn new(backings: &[Backing], defects: DefectSet) -> Self {
        let mut host = Self {
            files: Vec::new(),
            huge: backings.iter().map(|backing| backing.huge).collect(),
            parent: Vec::new(),
            child: None,
            zero_page: Page::default(),
            defects,
        };
        for (index, backing) in (0..).zip(backings) {
            let mut file = File {
                length: backing.pages,
                pages: BTreeMap::new(),
            };
            let filled = |page| Page::filled(backing.fill.byte(page));
            let touched = backing.fill != Fill::Untouched;
            if backing.kind.has_file() && touched {
                file.pages = (0..backing.pages).map(|page| (page, filled(page))).collect();
            }
            host.files.push(file);
            let mapped = |page| {
                let own = (backing.kind == BackingKind::Anonymous && touched).then(|| filled(page));
                Mapped::new(source(backing.kind, index, page), backing.protection, own)
            };
            host.parent.push((0..backing.pages).map(mapped).collect());
        }
        host
    }

    fn process(&mut self, owner: Owner) -> Option<&mut Process> {
        match owner {
            Owner::Parent => Some(&mut self.parent),
            Owner::Child => self.child.as_mut(),
        }
    }

    fn mapped(&self, owner: Owner, backing: u16, page: u32) -> Option<&Mapped> {
        let process = match owner {
            Owner::Parent => &self.parent,
            Owner::Child => self.child.as_ref()?,
        };
        process
            .get(usize::from(backing))?
            .get(usize::try_from(page).ok()?)
    }

    fn mapped_mut(&mut self, owner: Owner, backing: u16, page: u32) -> Option<&mut Mapped> {
        let process = self.process(owner)?;
        let pages = process.get_mut(usize::from(backing))?;
        pages.get_mut(usize::try_from(page).ok()?)
    }

    /// Whether a page is private anonymous memory that nobody has written.
    pub(super) fn is_untouched(&self, backing: u16, page: u32) -> bool {
        self.mapped(Owner::Parent, backing, page)
            .is_some_and(|mapped| mapped.source == Source::Anonymous && mapped.own.is_none())
    }

    /// Whether the page tables of the host's process let it write a page that it has read.
    pub(super) fn is_mapped_writable(&self, backing: u16, page: u32) -> bool {
        self.mapped(Owner::Parent, backing, page).is_some_and(|mapped| {
            let has_frame = match mapped.source {
                Source::Unmapped => false,
                Source::Anonymous | Source::File { shared: false, .. } => mapped.own.is_some(),
                Source::File { shared: true, .. } => true,
            };
            mapped.protection == Protection::ReadWrite && has_frame && mapped.merged.is_none()
        })
    }

    /// Whether a backing is to have huge pages.
    pub(super) fn is_huge(&self, backing: u16) -> bool {
        self.huge.get(usize::from(backing)).is_some_and(|huge| *huge)
    }

    /// Whether the kernel may drop the page at any time.
    pub(super) fn is_freed(&self, backing: u16, page: u32) -> bool {
        self.mapped(Owner::Parent, backing, page)
            .is_some_and(|mapped| mapped.freed)
    }

    /// The kernel drops a page that it may drop.
    pub(super) fn drop_freed(&mut self, backing: u16, page: u32) {
        if let Some(mapped) = self.mapped_mut(Owner::Parent, backing, page) {
            mapped.drop_own();
        }
    }

    /// Reads one byte as a process sees it.
    ///
    /// S2-HOST-001: untouched anonymous memory reads as zeros. S2-HOST-005: what cannot be
    /// resolved, because nothing is mapped, the process may not read it, or it lies beyond
    /// the end of the file, is an error.
    pub(super) fn read(&self, owner: Owner, at: HostAddress) -> Result<u8, Refused> {
        let mapped = self.mapped(owner, at.backing, at.page).ok_or(Refused)?;
        if mapped.protection == Protection::None {
            return Err(Refused);
        }
        let shown = match mapped.source {
            Source::Unmapped => return Err(Refused),
            Source::Anonymous if mapped.own.is_none() && self.defects.has(Defect::UntouchedReadsOnes) => {
                return Ok(0xff);
            }
            Source::Anonymous => mapped.own.as_ref().unwrap_or(&self.zero_page),
            Source::File { file, page, .. } => match &mapped.own {
                Some(own) => own,
                None => return self.file_byte(file, page, at.offset).ok_or(Refused),
            },
        };
        Ok(shown.byte(at.offset))
    }

    /// Writes one byte as a process does.
    ///
    /// S2-HOST-002: a private mapping gets a copy of its own, and what it was copied from
    /// stays as it was. S2-HOST-003: a shared one changes the file. S2-HOST-006: a mapping that the
    /// process may not write refuses.
    pub(super) fn write(&mut self, owner: Owner, at: HostAddress, byte: u8) -> Result<(), Refused> {
        let mapped = self.mapped(owner, at.backing, at.page).ok_or(Refused)?;
        let unprotected =
            self.defects.has(Defect::HostProtectionIgnored) && mapped.protection == Protection::Read;
        if mapped.protection != Protection::ReadWrite && !unprotected {
            return Err(Refused);
        }
        let copy = match mapped.source {
            Source::Unmapped => return Err(Refused),
            Source::Anonymous => Page::default(),
            Source::File { file, page, shared } => {
                let written = self.files.get_mut(usize::from(file)).ok_or(Refused)?;
                if page >= written.length {
                    return Err(Refused);
                }
                let leaks = self.defects.has(Defect::PrivateFileWrittenThrough);
                let keeps = self.defects.has(Defect::SharedWriteStaysPrivate);
                if shared && !keeps || leaks {
                    written.pages.entry(page).or_default().set(at.offset, byte);
                    return Ok(());
                }
                written.pages.get(&page).cloned().unwrap_or_default()
            }
        };
        let mapped = self.mapped_mut(owner, at.backing, at.page).ok_or(Refused)?;
        mapped.freed = false;
        mapped.merged = None;
        mapped.own.get_or_insert(copy).set(at.offset, byte);
        // Copies are made at fork; a page that stays shared then is a defect.
        if owner == Owner::Parent && self.defects.has(Defect::ForkSharesPages) {
            let own = self
                .mapped(owner, at.backing, at.page)
                .and_then(|mapped| mapped.own.clone());
            if let Some(shared) = self.mapped_mut(Owner::Child, at.backing, at.page) {
                shared.own = own;
            }
        }
        Ok(())
    }

    /// Writes to the page that untouched memory shows, which only a defect does.
    pub(super) fn write_zero_page(&mut self, offset: u16, byte: u8) {
        self.zero_page.set(offset, byte);
    }

    /// Number of bytes that are not zero in a new anonymous page (S2-HOST-001).
    pub(super) fn canary(&self) -> u64 {
        self.zero_page.count_nonzero()
    }

    fn file_byte(&self, file: u16, page: u32, offset: u16) -> Option<u8> {
        let file = self.files.get(usize::from(file))?;
        if page >= file.length {
            return None;
        }
        Some(file.pages.get(&page).map_or(0, |page| page.byte(offset)))
    }

    /// Reads a byte of the file under a backing.
    pub(super) fn read_file(&self, at: HostAddress) -> Option<u8> {
        self.file_byte(at.backing, at.page, at.offset)
    }

    /// Writes a byte of the file under a backing.
    pub(super) fn write_file(&mut self, at: HostAddress, byte: u8) {
        if let Some(file) = self.files.get_mut(usize::from(at.backing)) {
            file.length = file.length.max(at.page + 1);
            file.pages.entry(at.page).or_default().set(at.offset, byte);
        }
    }

    fn each(&mut self, range: Range, mut change: impl FnMut(u32, &mut Mapped)) {
        for page in range.page..range.page.saturating_add(range.pages) {
            if let Some(mapped) = self.mapped_mut(Owner::Parent, range.backing, page) {
                change(page, mapped);
            }
        }
    }

    /// Maps something new in place of what is there (S2-HOST-004).
    pub(super) fn map(&mut self, range: Range, kind: BackingKind, file: u16, protection: Protection) {
        self.each(range, |page, mapped| {
            *mapped = Mapped::new(source(kind, file, page), protection, None);
        });
    }

    /// Moves pages to the same places of another backing (S2-HOST-004): where they were, nothing is.
    pub(super) fn move_pages(&mut self, range: Range, to: u16) {
        let mut moved = Vec::new();
        self.each(range, |page, mapped| {
            let gone = Mapped::new(Source::Unmapped, Protection::None, None);
            moved.push((page, std::mem::replace(mapped, gone)));
        });
        for (page, mapped) in moved {
            if let Some(place) = self.mapped_mut(Owner::Parent, to, page) {
                *place = mapped;
            }
        }
    }

    /// Changes what the process may do (S2-HOST-006).
    pub(super) fn protect(&mut self, range: Range, protection: Protection) {
        self.each(range, |_, mapped| mapped.protection = protection);
    }

    /// MADV_DONTNEED (S2-HOST-004): anonymous pages become untouched, a private mapping of a file
    /// shows the file again, a shared one loses nothing.
    pub(super) fn discard(&mut self, range: Range) {
        self.each(range, |_, mapped| mapped.drop_own());
    }

    /// MADV_FREE (S2-HOST-008): until it is written again, a page may be dropped at any time.
    pub(super) fn free(&mut self, range: Range) {
        self.each(range, |_, mapped| mapped.freed = mapped.own.is_some());
    }

    /// Sets the length of a file (S2-HOST-005): what lies beyond it is gone, private copies included.
    pub(super) fn truncate(&mut self, index: u16, pages: u32) {
        let Some(file) = self.files.get_mut(usize::from(index)) else {
            return;
        };
        file.length = pages;
        file.pages.retain(|page, _| *page < pages);
        let processes = std::iter::once(&mut self.parent).chain(self.child.as_mut());
        for mapped in processes.flatten().flatten() {
            if matches!(mapped.source, Source::File { file, page, .. } if file == index && page >= pages) {
                mapped.drop_own();
            }
        }
    }

    /// Punches a hole into a file (S2-HOST-004): its pages are zeros, private copies stay.
    pub(super) fn punch_hole(&mut self, range: Range) {
        if let Some(file) = self.files.get_mut(usize::from(range.backing)) {
            let end = range.page.saturating_add(range.pages);
            file.pages.retain(|page, _| !(range.page..end).contains(page));
        }
    }

    /// Makes the child (S2-HOST-007): it sees what the parent saw, and from then on only what is
    /// shared changes for both.
    pub(super) fn fork(&mut self) {
        self.child = Some(self.parent.clone());
    }

    /// Merges pages (S2-HOST-011). A page of zeros becomes the page that untouched memory shows.
    ///
    /// # Errors
    /// If one of them would not be merged: it is not private memory that was written, the kernel may drop it, or no
    /// other page that may be merged holds the same.
    pub(super) fn merge(&mut self, range: Range) -> Result<(), Refused> {
        self.each(range, |_, mapped| mapped.mergeable = true);
        let mut frames: Vec<(Page, usize)> = Vec::new();
        for mapped in self.parent.iter_mut().flatten().filter(|mapped| mapped.mergeable) {
            mapped.merged = mapped.merged.filter(|frame| *frame == Frame::Zero);
            let Some(own) = mapped.own.as_ref().filter(|_| !mapped.freed) else {
                continue;
            };
            if own.count_nonzero() == 0 && mapped.source == Source::Anonymous {
                mapped.drop_own();
                mapped.merged = Some(Frame::Zero);
                continue;
            }
            let known = frames.iter_mut().enumerate();
            let same = known.filter(|(_, (page, _))| page.holds_what(own)).last();
            let frame = match same {
                Some((frame, (_, sharers))) => {
                    *sharers += 1;
                    frame
                }
                None => {
                    frames.push((own.clone(), 1));
                    frames.len() - 1
                }
            };
            mapped.merged = Some(Frame::Numbered(frame));
        }
        let shared = |frame: &Frame| match frame {
            Frame::Zero => true,
            Frame::Numbered(number) => frames.get(*number).is_some_and(|(_, sharers)| *sharers > 1),
        };
        for mapped in self.parent.iter_mut().flatten() {
            mapped.merged = mapped.merged.filter(shared);
        }
        let mut all = true;
        self.each(range, |_, mapped| all &= mapped.merged.is_some());
        if all { Ok(()) } else { Err(Refused) }
    }

    /// Writes one byte to all pages that are merged with one, which only a defect does; whether there
    /// are any.
    pub(super) fn write_merged(&mut self, at: HostAddress, byte: u8) -> bool {
        let mapped = self.mapped(Owner::Parent, at.backing, at.page);
        let Some(frame) = mapped.and_then(|mapped| mapped.merged) else {
            return false;
        };
        if frame == Frame::Zero {
            self.zero_page.set(at.offset, byte);
            return true;
        }
        for mapped in self.parent.iter_mut().flatten() {
            if mapped.merged == Some(frame)
                && let Some(own) = &mut mapped.own
            {
                own.set(at.offset, byte);
            }
        }
        true
    }

    /// What differs from the start.
    pub(super) fn changes(&self, backings: &[Backing]) -> Vec<Change> {
        let mut changes = Vec::new();
        for (index, backing) in (0..).zip(backings) {
            for page in 0..backing.pages {
                let fill = backing.fill.byte(page);
                let change = |file, (offset, bytes)| Change {
                    backing: index,
                    file,
                    page,
                    offset,
                    bytes,
                };
                match self.shown(index, page) {
                    Some(shown) => {
                        changes.extend(shown.changes(fill).into_iter().map(|bytes| change(false, bytes)))
                    }
                    None if backing.kind == BackingKind::Hole => {}
                    None => changes.push(change(false, (0, Vec::new()))),
                }
                if !backing.kind.has_file() {
                    continue;
                }
                let file = self.files.get(usize::from(index));
                let Some(file) = file.filter(|file| page < file.length) else {
                    changes.push(change(true, (0, Vec::new())));
                    continue;
                };
                let held = file.pages.get(&page).cloned().unwrap_or_default();
                changes.extend(held.changes(fill).into_iter().map(|bytes| change(true, bytes)));
            }
        }
        changes.sort();
        changes
    }

    /// The page that a mapping shows, if it can be read.
    fn shown(&self, backing: u16, page: u32) -> Option<Page> {
        let mapped = self.mapped(Owner::Parent, backing, page)?;
        if mapped.protection == Protection::None {
            return None;
        }
        match (mapped.source, &mapped.own) {
            (Source::Unmapped, _) => None,
            (_, Some(own)) => Some(own.clone()),
            (Source::Anonymous, None) => Some(self.zero_page.clone()),
            (Source::File { file, page, .. }, None) => {
                let file = self.files.get(usize::from(file))?;
                (page < file.length).then(|| file.pages.get(&page).cloned().unwrap_or_default())
            }
        }
    }
}

fn source(kind: BackingKind, file: u16, page: u32) -> Source {
    match kind {
        BackingKind::Anonymous => Source::Anonymous,
        BackingKind::PrivateFile => Source::File {
            file,
            page,
            shared: false,
        },
        BackingKind::SharedFile | BackingKind::Memfd => Source::File {
            file,
            page,
            shared: true,
        },
        BackingKind::Hole => Source::Unmapped,
    }
}
