//! From a file to a scenario, and to what must be seen at which step.

use std::path::Path;

use serde::Deserialize;
use spec_model::requirement;
use spec_model::scenario::Scenario;
use spec_model::stage2::errno;
use spec_model::stage2::scenario::{
    Backing, BackingKind, DirtyLogMode, Fill, GuestAddress, GuestStep, HostAddress, HostStep, Misaligned,
    Operation, PAGE_SIZE, Protection, Range, SlotRequest, Stage2, Step,
};
use spec_model::stage2::transcript::{End, MemoryExit};

use super::super::document::{Located, Misfit};
use super::super::mistake::{Mistakes, Position, suggest};
use super::super::tree::Node;
use super::super::{Case, Expectations, profiles, schema};
use super::syntax::{
    ActionWord, BackingEntry, DirtyLogWord, EndWord, ErrnoWord, ExitEntry, KindWord, MisalignedWord,
    ProtectionWord, SlotEntry, Stage2File, StepEntry,
};
use super::{arm64, keys};
use crate::case::expectation::{StepExpectation, StepFact};
use crate::case::syntax::Mode;

/// Longest backing in pages.
const MOST_PAGES: u32 = 8192;

/// Reads a case whose text is a tree already.
pub(in crate::case) fn read(name: String, file: &Path, tree: &Node, mistakes: &mut Mistakes) -> Option<Case> {
    let tree = schema::check_stage2(tree, mistakes);
    match Stage2File::deserialize(&tree) {
        Ok(written) => Some(build(name, file, &written, mistakes)),
        Err(Misfit { at, message }) => {
            mistakes.add(
                at.unwrap_or(tree.at),
                message,
                "see the reference in cases/README.md",
            );
            None
        }
    }
}

fn build(name: String, file: &Path, written: &Stage2File, mistakes: &mut Mistakes) -> Case {
    if written.title.value.trim().is_empty() {
        mistakes.add(
            written.title.at,
            "the title is empty",
            "say the fact in one sentence",
        );
    }
    let profiles = profiles::profiles(&written.profiles, Mode::Bare, mistakes);
    let backings = written
        .backings
        .0
        .iter()
        .map(|(name, entry)| backing(&name.value, entry, mistakes))
        .collect::<Vec<Backing>>();
    let mut reader = Reader {
        backings: &backings,
        mistakes,
    };
    let slots = written.slots.iter().map(|slot| reader.slot(slot)).collect();
    let mut expected = Vec::new();
    let mut steps = Vec::new();
    for (number, entry) in written.steps.iter().enumerate() {
        steps.push(reader.step(&entry.value));
        expect(number, entry, &mut expected);
    }
    let stage2 = Stage2 {
        slots,
        dirty_log: match written.dirty_log {
            None => DirtyLogMode::ReadClears,
            Some(DirtyLogWord::Manual) => DirtyLogMode::Manual,
            Some(DirtyLogWord::ManualInitiallySet) => DirtyLogMode::ManualInitiallySet,
            Some(DirtyLogWord::Ring) => DirtyLogMode::Ring,
        },
        host_risk: written.host_risk.unwrap_or(false),
        arm64: written.arm64.as_ref().map(|entry| arm64::setup(entry, mistakes)),
        steps,
        backings,
    };
    let checks = written
        .checks
        .iter()
        .filter_map(|id| requirement::find(&id.value.text));
    Case {
        title: written.title.value.trim().to_owned(),
        checks: checks.collect(),
        profiles,
        scenario: Scenario {
            name: name.clone(),
            stage2: Some(Box::new(stage2)),
            ..Scenario::default()
        },
        name,
        expectations: Expectations {
            steps: expected,
            ..Expectations::default()
        },
        explore: None,
        file: file.to_owned(),
    }
}

fn backing(name: &str, entry: &Located<BackingEntry>, mistakes: &mut Mistakes) -> Backing {
    let BackingEntry {
        kind,
        pages,
        fill,
        tags,
        protection,
        huge,
    } = &entry.value;
    let kind = kind_of(kind.unwrap_or(KindWord::Anonymous));
    if let Some(pages) = pages
        .as_ref()
        .filter(|pages| !(1..=MOST_PAGES).contains(&pages.value))
    {
        let remedy = format!("write 1 to {MOST_PAGES} pages");
        mistakes.add(pages.at, format!("a backing of {} pages", pages.value), remedy);
    }
    if let (Some(_), Some(tags)) = (fill, tags) {
        mistakes.add(tags.at, "`tags` and `fill` are both given", "keep one of them");
    }
    if let Some(given) = fill
        .as_ref()
        .or(tags.as_ref())
        .filter(|_| kind == BackingKind::Hole)
    {
        mistakes.add(given.at, "a hole holds nothing", "leave it out, or map something");
    }
    Backing {
        name: name.to_owned(),
        kind,
        pages: pages.as_ref().map_or(1, |pages| pages.value),
        fill: match (fill, tags) {
            (Some(fill), _) => Fill::Bytes(fill.value),
            (None, Some(tags)) => Fill::Tags(tags.value),
            (None, None) => Fill::Untouched,
        },
        protection: protection_of(protection.unwrap_or(ProtectionWord::ReadWrite)),
        huge: huge.unwrap_or(false),
    }
}

struct Reader<'a, 'm> {
    backings: &'a [Backing],
    mistakes: &'m mut Mistakes,
}

impl Reader<'_, '_> {
    fn backing(&mut self, name: &Located<String>) -> u16 {
        let found = (0..)
            .zip(self.backings)
            .find(|(_, backing)| backing.name == name.value);
        if let Some((index, _)) = found {
            return index;
        }
        let names = self.backings.iter().map(|backing| backing.name.as_str());
        let remedy = suggest(&name.value, names, "the backings");
        let what = format!("there is no backing `{}`", name.value);
        self.mistakes.add(name.at, what, remedy);
        0
    }

    fn pages_of(&self, backing: u16) -> u32 {
        self.backings
            .get(usize::from(backing))
            .map_or(1, |backing| backing.pages)
    }

    fn page(&mut self, at: &Located<u64>) -> u64 {
        if !at.value.is_multiple_of(PAGE_SIZE) {
            let remedy = "write a multiple of 0x1000, or `misaligned` if that is the point";
            self.mistakes
                .add(at.at, "a slot that does not begin with a page", remedy);
        }
        at.value / PAGE_SIZE
    }

    fn slot(&mut self, entry: &Located<SlotEntry>) -> SlotRequest {
        let entry = &entry.value;
        let backing = self.backing(&entry.backing);
        SlotRequest {
            id: entry.id.unwrap_or(0),
            space: entry.space.unwrap_or(0),
            page: self.page(&entry.at),
            pages: entry.pages.unwrap_or(u64::from(self.pages_of(backing))),
            backing,
            offset: entry.offset.unwrap_or(0),
            read_only: entry.read_only.unwrap_or(false),
            log_dirty: entry.log_dirty.unwrap_or(false),
            other_flags: 0,
            misaligned: None,
        }
    }

    fn step(&mut self, entry: &StepEntry) -> Step {
        keys::check(entry, self.mistakes);
        let at = || GuestAddress::of_bytes(number(&entry.at, 0));
        let size = number(&entry.size, 4);
        if let Some(given) = entry
            .size
            .as_ref()
            .filter(|size| !matches!(size.value, 1 | 2 | 4 | 8))
        {
            self.mistakes.add(
                given.at,
                format!("an access of {size} bytes"),
                "write 1, 2, 4 or 8",
            );
        }
        let value = number(&entry.data, 0);
        if size < 8
            && value >> (u32::from(size.min(7)) * 8) != 0
            && let Some(given) = entry.data.as_ref().filter(|_| entry.size.is_some())
        {
            let remedy = format!("`size` is {size}; write a larger one, or less data");
            self.mistakes
                .add(given.at, "this does not fit into the access", remedy);
        }
        let operation = match entry.action.value {
            ActionWord::Read => Operation::Read { at: at(), size },
            ActionWord::Write => Operation::Write {
                at: at(),
                size,
                value,
            },
            ActionWord::Add => Operation::Add {
                at: at(),
                size,
                value,
            },
            ActionWord::CompareExchange => Operation::CompareExchange {
                at: at(),
                size,
                expected: number(&entry.expected, 0),
                value,
            },
            ActionWord::Copy => Operation::Copy {
                from: GuestAddress::of_bytes(number(&entry.from, 0)),
                to: GuestAddress::of_bytes(number(&entry.to, 0)),
                length: number(&entry.length, 0),
            },
            ActionWord::Fetch => Operation::Fetch { at: at() },
            ActionWord::Spin => Operation::Spin { at: at() },
            ActionWord::Retry => Operation::Retry,
            ActionWord::UseTables => Operation::UseTables { at: at() },
            word if let Some(instruction) = arm64::instruction(word) => arm64::operation(instruction, entry),
            _ => return Step::Host(self.host(entry)),
        };
        Step::Guest(GuestStep {
            operation,
            at_exit: self.host_steps(entry.at_exit.as_ref()),
            meanwhile: self.host_steps(entry.meanwhile.as_ref()),
            answer: number(&entry.answer, u64::MAX),
            interrupted: entry.interrupt.as_ref().is_some_and(|interrupt| interrupt.value),
        })
    }

    /// What the host does while the guest is in an operation.
    fn host_steps(&mut self, steps: Option<&Located<Vec<Located<StepEntry>>>>) -> Vec<HostStep> {
        let mut read = Vec::new();
        for step in steps.into_iter().flat_map(|steps| &steps.value) {
            keys::check(&step.value, self.mistakes);
            if keys::is_guest(step.value.action.value) {
                let remedy = "write something that the host does";
                self.mistakes
                    .add(step.at, "the guest is in an operation already", remedy);
                continue;
            }
            read.push(self.host(&step.value));
        }
        read
    }

    fn host(&mut self, entry: &StepEntry) -> HostStep {
        let (id, space) = (number(&entry.id, 0), number(&entry.space, 0));
        let page = number(&entry.page, 0);
        let pages = u32::try_from(number(&entry.pages, 1)).unwrap_or(u32::MAX);
        let backing = entry.backing.as_ref().map_or(0, |name| self.backing(name));
        let place = HostAddress {
            backing,
            page,
            // `check_place` has refused what does not fit.
            offset: u16::try_from(number(&entry.offset, 0)).unwrap_or(0),
        };
        let range = Range { backing, page, pages };
        let data = number(&entry.data, 0);
        let protection = entry
            .protection
            .as_ref()
            .map_or(ProtectionWord::ReadWrite, |word| word.value);
        let protection = protection_of(protection);
        match entry.action.value {
            ActionWord::SetSlot => HostStep::SetSlot(self.slot_request(entry, backing)),
            ActionWord::DeleteSlot => HostStep::SetSlot(SlotRequest {
                id,
                space,
                page: 0,
                pages: 0,
                backing,
                offset: 0,
                read_only: false,
                log_dirty: false,
                other_flags: 0,
                misaligned: None,
            }),
            ActionWord::DirtyLog => HostStep::DirtyLog { id, space },
            ActionWord::ClearDirtyLog => HostStep::ClearDirtyLog {
                id,
                space,
                first: number(&entry.first, 0),
                pages,
            },
            ActionWord::HostRead => HostStep::Read(self.place(entry, place)),
            ActionWord::HostWrite => HostStep::Write(self.place(entry, place), data),
            ActionWord::FileRead => HostStep::ReadFile(self.place(entry, place)),
            ActionWord::FileWrite => HostStep::WriteFile(self.place(entry, place), data),
            ActionWord::WriteCode => {
                HostStep::WriteCode(self.place(entry, place), u32::try_from(data).unwrap_or(u32::MAX))
            }
            ActionWord::ChildRead => HostStep::ChildRead(self.place(entry, place)),
            ActionWord::ChildWrite => HostStep::ChildWrite(self.place(entry, place), data),
            ActionWord::Map => HostStep::Map {
                range: self.range(entry, range),
                kind: kind_of(entry.kind.as_ref().map_or(KindWord::Anonymous, |kind| kind.value)),
                file: entry.file.as_ref().map_or(backing, |name| self.backing(name)),
                protection,
            },
            ActionWord::Unmap => HostStep::Unmap(self.range(entry, range)),
            ActionWord::Protect => HostStep::Protect(self.range(entry, range), protection),
            ActionWord::Discard => HostStep::Discard(self.range(entry, range)),
            ActionWord::Free => HostStep::Free(self.range(entry, range)),
            ActionWord::Truncate => HostStep::Truncate(backing, pages),
            ActionWord::PunchHole => HostStep::PunchHole(self.range(entry, range)),
            ActionWord::Fork => HostStep::Fork,
            ActionWord::InjectAbort => HostStep::InjectAbort,
            ActionWord::WriteTables => {
                let at = self.place(entry, HostAddress { offset: 0, ..place });
                HostStep::WriteTables(at, number(&entry.flags, 0))
            }
            ActionWord::Merge => HostStep::Merge(self.range(entry, range)),
            ActionWord::ChildRun => HostStep::ChildRun,
            ActionWord::DirtyRing => HostStep::TakeRing { id, space },
            ActionWord::Move => HostStep::Move {
                range: self.range(entry, range),
                to: entry.target.as_ref().map_or(backing, |name| self.backing(name)),
            },
            // `step` has dealt with the guest's.
            _ => HostStep::Canary,
        }
    }

    fn slot_request(&mut self, entry: &StepEntry, backing: u16) -> SlotRequest {
        let set = |flag: &Option<Located<bool>>| flag.as_ref().is_some_and(|flag| flag.value);
        SlotRequest {
            id: number(&entry.id, 0),
            space: number(&entry.space, 0),
            page: entry.at.as_ref().map_or(0, |at| self.page(at)),
            pages: number(&entry.pages, u64::from(self.pages_of(backing))),
            backing,
            offset: number(&entry.offset, 0),
            read_only: set(&entry.read_only),
            log_dirty: set(&entry.log_dirty),
            other_flags: number(&entry.flags, 0),
            misaligned: entry.misaligned.as_ref().map(|word| match word.value {
                MisalignedWord::Guest => Misaligned::Guest,
                MisalignedWord::Size => Misaligned::Size,
                MisalignedWord::Host => Misaligned::Host,
            }),
        }
    }

    /// A place of 8 bytes in a backing.
    fn place(&mut self, entry: &StepEntry, place: HostAddress) -> HostAddress {
        let last = PAGE_SIZE as u32 - 8;
        if let Some(offset) = entry.offset.as_ref().filter(|offset| offset.value > last) {
            let remedy = format!("write at most {last:#x}: the 8 bytes lie in one page");
            self.mistakes
                .add(offset.at, "this offset is beyond the page", remedy);
        }
        let range = Range {
            backing: place.backing,
            page: place.page,
            pages: 1,
        };
        self.range(entry, range);
        place
    }

    fn range(&mut self, entry: &StepEntry, range: Range) -> Range {
        let there = self.pages_of(range.backing);
        let end = u64::from(range.page) + u64::from(range.pages);
        if end > u64::from(there) || range.pages == 0 {
            let at = entry.page.as_ref().map(|page| page.at);
            let at = at.or_else(|| entry.pages.as_ref().map(|pages| pages.at));
            let what = format!("page {} to {end} of a backing of {there} pages", range.page);
            self.mistakes.add(
                at.unwrap_or(entry.action.at),
                what,
                "write pages that the backing has",
            );
        }
        range
    }
}

/// The value that is given, or a default.
fn number<T: Copy>(given: &Option<Located<T>>, default: T) -> T {
    given.as_ref().map_or(default, |given| given.value)
}

/// What must be seen at a step.
fn expect(step: usize, entry: &Located<StepEntry>, expected: &mut Vec<StepExpectation>) {
    let entry = &entry.value;
    let mut add = |at: Position, fact| {
        expected.push(StepExpectation {
            step,
            expected: fact,
            line: at.line,
            column: at.column,
        });
    };
    if let Some(value) = &entry.value {
        add(value.at, StepFact::Value(value.value));
    }
    if let Some(exits) = &entry.exits {
        let exits_read: Vec<MemoryExit> = exits.value.iter().map(exit).collect();
        add(exits.at, StepFact::Exits(exits_read));
    }
    if let Some(errno) = &entry.errno {
        let number = match errno.value {
            ErrnoWord::Einval => errno::EINVAL,
            ErrnoWord::Eexist => errno::EEXIST,
            ErrnoWord::Enoent => errno::ENOENT,
            ErrnoWord::Efault => errno::EFAULT,
            ErrnoWord::Eio => errno::EIO,
            ErrnoWord::Enxio => errno::ENXIO,
            ErrnoWord::Enosys => errno::ENOSYS,
        };
        add(errno.at, StepFact::End(End::Failed(number)));
    }
    if let Some(end) = &entry.ends {
        let end_read = match end.value {
            EndWord::InternalError => End::InternalError(1),
            EndWord::Shutdown => End::Shutdown,
            EndWord::Stuck => End::Stuck,
        };
        add(end.at, StepFact::End(end_read));
    }
    if let Some((end, at)) = arm64::end(entry) {
        add(at, StepFact::End(end));
    }
    if let Some(dirty) = &entry.dirty {
        add(dirty.at, StepFact::Dirty(dirty.value.clone()));
    }
}

fn exit(entry: &ExitEntry) -> MemoryExit {
    MemoryExit {
        write: entry.write.is_some(),
        at: GuestAddress::of_bytes(entry.write.or(entry.read).unwrap_or(0)),
        length: entry.length,
        data: entry.data.unwrap_or(0),
    }
}

fn kind_of(word: KindWord) -> BackingKind {
    match word {
        KindWord::Anonymous => BackingKind::Anonymous,
        KindWord::PrivateFile => BackingKind::PrivateFile,
        KindWord::SharedFile => BackingKind::SharedFile,
        KindWord::Memfd => BackingKind::Memfd,
        KindWord::Hole => BackingKind::Hole,
    }
}

fn protection_of(word: ProtectionWord) -> Protection {
    match word {
        ProtectionWord::None => Protection::None,
        ProtectionWord::Read => Protection::Read,
        ProtectionWord::ReadWrite => Protection::ReadWrite,
    }
}
