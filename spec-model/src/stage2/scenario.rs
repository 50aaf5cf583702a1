//! What is run: pieces of host memory, memory slots over them, and steps of guest and host.
//!
//! Nothing here belongs to one architecture: a step says what the guest does to memory, and
//! each target has the machine code for it.

use serde::{Deserialize, Serialize};

use super::arm64::{Arm64, Arm64Operation};

/// Bytes of a page, of the host and of the guest.
pub const PAGE_SIZE: u64 = 4096;

/// First guest-physical page that belongs to the target: its code lies there, and no slot of a
/// scenario may.
pub const SERVER_PAGE: u64 = 0xf_0000;
/// Number of such pages.
pub const SERVER_PAGES: u64 = 16;
/// The slot that holds them.
pub const SERVER_SLOT: u16 = 200;

/// A run of one virtual processor over memory slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stage2 {
    /// Pieces of host memory, each at an address range of its own in the host's process.
    pub backings: Vec<Backing>,
    /// Slots that are there at the start. Each must be one that KVM accepts.
    pub slots: Vec<SlotRequest>,
    /// How dirty logs behave in this virtual machine.
    pub dirty_log: DirtyLogMode,
    /// On a host with the bug that this is about, the run changes memory of other processes.
    pub host_risk: bool,
    /// The virtual machine and its guest on arm64, if they are not as usual.
    pub arm64: Option<Arm64>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// A piece of host memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Backing {
    /// Name in reports.
    pub name: String,
    /// What is mapped at the start.
    pub kind: BackingKind,
    /// Size in pages.
    pub pages: u32,
    /// What it holds at the start.
    pub fill: Fill,
    /// What the host's process may do with it.
    pub protection: Protection,
    /// The kernel is asked for pages of 2 MiB (MADV_HUGEPAGE).
    pub huge: bool,
}

/// What the address range of a backing maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackingKind {
    /// Private anonymous memory.
    Anonymous,
    /// A private mapping of a file.
    PrivateFile,
    /// A shared mapping of a file.
    SharedFile,
    /// A shared mapping of a file without a name (`memfd_create`).
    Memfd,
    /// Nothing.
    Hole,
}

impl BackingKind {
    /// Whether a file lies under it.
    #[must_use]
    pub const fn has_file(self) -> bool {
        matches!(self, Self::PrivateFile | Self::SharedFile | Self::Memfd)
    }
}

/// What a backing holds at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// It has never been touched: zeros.
    Untouched,
    /// Every byte was written with this value.
    Bytes(u8),
    /// Every byte of page n was written with this value plus n.
    Tags(u8),
}

impl Fill {
    /// The byte that page `page` is filled with.
    #[must_use]
    pub fn byte(self, page: u32) -> u8 {
        match self {
            Self::Untouched => 0,
            Self::Bytes(byte) => byte,
            Self::Tags(first) => first.wrapping_add((page & 0xff) as u8),
        }
    }
}

/// What a process may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// PROT_NONE.
    None,
    /// PROT_READ.
    Read,
    /// PROT_READ and PROT_WRITE.
    ReadWrite,
}

/// A guest-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GuestAddress {
    /// Guest page number.
    pub page: u64,
    /// Byte in the page.
    pub offset: u16,
}

impl GuestAddress {
    /// The address of byte `bytes` after this one.
    #[must_use]
    pub fn plus(self, bytes: u64) -> Self {
        Self::of_bytes(self.bytes().wrapping_add(bytes))
    }

    /// The same in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.page
            .wrapping_mul(PAGE_SIZE)
            .wrapping_add(u64::from(self.offset))
    }

    /// The address that is this number of bytes.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Self {
        Self {
            page: bytes / PAGE_SIZE,
            // A remainder by the page size fits.
            offset: (bytes % PAGE_SIZE) as u16,
        }
    }
}

/// Pages of one backing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    /// Index into [`Stage2::backings`].
    pub backing: u16,
    /// First page of it.
    pub page: u32,
    /// Number of pages.
    pub pages: u32,
}

/// A place in a backing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostAddress {
    /// Index into [`Stage2::backings`].
    pub backing: u16,
    /// Page of it.
    pub page: u32,
    /// Byte in the page.
    pub offset: u16,
}

/// What KVM_SET_USER_MEMORY_REGION is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotRequest {
    /// Number of the slot.
    pub id: u16,
    /// Address space, the upper half of the slot argument.
    pub space: u16,
    /// First guest page.
    pub page: u64,
    /// Size in pages; 0 deletes the slot.
    pub pages: u64,
    /// Backing under it.
    pub backing: u16,
    /// First page of the backing.
    pub offset: u32,
    /// Whether the guest may only read (KVM_MEM_READONLY).
    pub read_only: bool,
    /// Whether writes are logged (KVM_MEM_LOG_DIRTY_PAGES).
    pub log_dirty: bool,
    /// Further bits of the flags.
    pub other_flags: u32,
    /// One of the three addresses is off by one byte.
    pub misaligned: Option<Misaligned>,
}

/// The member of a slot request that is not a multiple of the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misaligned {
    /// guest_phys_addr.
    Guest,
    /// memory_size.
    Size,
    /// userspace_addr.
    Host,
}

/// How dirty logs behave (KVM API 4.8 and 7.18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirtyLogMode {
    /// Reading a log clears it.
    #[default]
    ReadClears,
    /// It is cleared by KVM_CLEAR_DIRTY_LOG only (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE).
    Manual,
    /// The same, and every page counts as dirty at first (KVM_DIRTY_LOG_INITIALLY_SET).
    ManualInitiallySet,
    /// Pages are listed in a ring (KVM_CAP_DIRTY_LOG_RING), and there are no logs.
    Ring,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Step {
    /// The guest does something.
    Guest(GuestStep),
    /// The host does something.
    Host(HostStep),
}

/// One operation of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GuestStep {
    /// What it does.
    pub operation: Operation,
    /// What the host answers to reads that reach it; an access takes the low bytes.
    pub answer: u64,
    /// What the host does when the first access reaches it, before the guest goes on.
    pub at_exit: Vec<HostStep>,
    /// What the host does in another thread once the guest spins.
    pub meanwhile: Vec<HostStep>,
    /// The host enters the guest with `immediate_exit` set after the first access.
    pub interrupted: bool,
}

/// An operation of the guest. Sizes are 1, 2, 4 or 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Reads.
    Read {
        /// Where.
        at: GuestAddress,
        /// Size in bytes.
        size: u8,
    },
    /// Writes.
    Write {
        /// Where.
        at: GuestAddress,
        /// Size in bytes.
        size: u8,
        /// What.
        value: u64,
    },
    /// Adds in one indivisible access, and gets what was there before.
    Add {
        /// Where.
        at: GuestAddress,
        /// Size in bytes, 1, 2 or 4.
        size: u8,
        /// What is added.
        value: u64,
    },
    /// Writes in one indivisible access if the value is as expected, and gets what was there.
    CompareExchange {
        /// Where.
        at: GuestAddress,
        /// Size in bytes, 1, 2 or 4.
        size: u8,
        /// What must be there.
        expected: u64,
        /// What is written then.
        value: u64,
    },
    /// Copies bytes in ascending order.
    Copy {
        /// From where.
        from: GuestAddress,
        /// To where.
        to: GuestAddress,
        /// Number of bytes.
        length: u16,
    },
    /// Calls code at this address that returns a number (see [`HostStep::WriteCode`]).
    Fetch {
        /// Where.
        at: GuestAddress,
    },
    /// Reads [`SPIN_SIZE`] bytes again and again, until they are not what they were.
    Spin {
        /// Where.
        at: GuestAddress,
    },
    /// Goes on with the operation that KVM_RUN failed in.
    Retry,
    /// Goes on with paging, and the tables that [`HostStep::WriteTables`] has written there; x86 only.
    UseTables {
        /// Where.
        at: GuestAddress,
    },
    /// Executes an instruction that only arm64 has.
    Arm64(Arm64Operation),
}

/// Bytes that a guest reads that spins.
pub const SPIN_SIZE: u8 = 4;

/// One operation of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostStep {
    /// Creates, changes, moves or deletes a slot.
    SetSlot(SlotRequest),
    /// Reads the dirty log of a slot (KVM_GET_DIRTY_LOG).
    DirtyLog {
        /// The slot.
        id: u16,
        /// Its address space.
        space: u16,
    },
    /// Clears part of a dirty log (KVM_CLEAR_DIRTY_LOG), all bits of the range.
    ClearDirtyLog {
        /// The slot.
        id: u16,
        /// Its address space.
        space: u16,
        /// First page of the slot.
        first: u64,
        /// Number of pages.
        pages: u32,
    },
    /// Reads 8 bytes through the mapping.
    Read(HostAddress),
    /// Writes 8 bytes through the mapping.
    Write(HostAddress, u64),
    /// Reads 8 bytes of the file under the backing, as another mapping of it shows them.
    ReadFile(HostAddress),
    /// Writes 8 bytes of the file under the backing.
    WriteFile(HostAddress, u64),
    /// Writes code that returns this number.
    WriteCode(HostAddress, u32),
    /// Maps something in place of what is there.
    Map {
        /// Where.
        range: Range,
        /// What.
        kind: BackingKind,
        /// Backing whose file is mapped, at the same pages; its own unless it is another.
        file: u16,
        /// What the process may do with it.
        protection: Protection,
    },
    /// Unmaps.
    Unmap(Range),
    /// Changes what the process may do (mprotect).
    Protect(Range, Protection),
    /// Drops pages (MADV_DONTNEED).
    Discard(Range),
    /// Lets the kernel drop pages whenever it likes (MADV_FREE).
    Free(Range),
    /// Sets the length of the file under a backing, in pages.
    Truncate(u16, u32),
    /// Punches a hole into the file under a backing (FALLOC_FL_PUNCH_HOLE).
    PunchHole(Range),
    /// Makes a child process, which gets a copy of the memory. The scenario goes on in the parent.
    Fork,
    /// The child reads 8 bytes through its mapping.
    ChildRead(HostAddress),
    /// The child writes 8 bytes through its mapping.
    ChildWrite(HostAddress, u64),
    /// Maps a new anonymous page and counts the bytes in it that are not zero.
    Canary,
    /// Answers an access with an external data abort (KVM_SET_VCPU_EVENTS, `ext_dabt_pending`);
    /// arm64 only.
    InjectAbort,
    /// Writes page tables that map addresses to themselves, with these accessed and dirty bits in
    /// their entries; see [`super::tables`].
    WriteTables(HostAddress, u32),
    /// The child calls KVM_RUN.
    ChildRun,
    /// Takes everything from the dirty ring and resets it; shows the pages of this slot.
    TakeRing {
        /// The slot.
        id: u16,
        /// Its address space.
        space: u16,
    },
    /// Moves pages to the same places of another backing (mremap).
    Move {
        /// Which.
        range: Range,
        /// The other backing.
        to: u16,
    },
    /// Merges private pages with others of the same contents for which this was done, and those of
    /// zeros with the zero page (MADV_MERGEABLE, KSM with `use_zero_pages`).
    Merge(Range),
}
