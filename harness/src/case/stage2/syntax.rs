//! The syntax of a case file about stage-2 mappings as Rust types.
//!
//! The JSON Schema in `cases/stage2.schema.json` is generated from these types.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::document::{Entries, Located};
use super::super::value::{ProfileName, RequirementId};

/// A conformance case about stage-2 mappings: host memory, memory slots over it, and what guest
/// and host do in turn.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "a conformance case about stage-2 mappings")]
pub(in crate::case) struct Stage2File {
    /// The fact in one sentence.
    pub(super) title: Located<String>,
    /// Ids of the requirements that the case checks.
    #[serde(default)]
    pub(super) checks: Vec<Located<RequirementId>>,
    /// The implementations for which the fact holds; KVM's unless given.
    #[serde(default)]
    pub(super) profiles: Vec<Located<ProfileName>>,
    /// Pieces of host memory by name, each at addresses of its own.
    #[serde(default)]
    pub(super) backings: Entries<Located<BackingEntry>>,
    /// Memory slots that are there at the start.
    #[serde(default)]
    pub(super) slots: Vec<Located<SlotEntry>>,
    /// How dirty logs are cleared: by reading them, unless given.
    #[serde(default)]
    pub(super) dirty_log: Option<DirtyLogWord>,
    /// A host with the bug that the case is about is harmed: run in booted kernels only, or with
    /// `--allow-host-risk`.
    #[serde(default)]
    pub(super) host_risk: Option<bool>,
    /// How the guest and its virtual machine are set up on arm64. A case with this key runs on
    /// arm64 only.
    #[serde(default)]
    pub(super) arm64: Option<Arm64Entry>,
    /// What guest and host do, in order.
    pub(super) steps: Vec<Located<StepEntry>>,
}

/// How a guest is set up on arm64.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Arm64Entry {
    /// Whether the guest translates addresses, each below 0x4000000000 to itself as normal memory;
    /// yes unless given. Without translation all memory is a device to it.
    #[serde(default)]
    pub(super) translation: Option<bool>,
    /// Guest-physical address of the table of level 2 that translates the GiB from 0x4000000000.
    /// The case writes block descriptors of 2 MiB into it; memory attribute 0 is normal memory, 1 a
    /// device.
    #[serde(default)]
    pub(super) table: Option<Located<u64>>,
    /// Whether the processor sets access flags (TCR_EL1.HA).
    #[serde(default)]
    pub(super) hardware_access_flag: Option<bool>,
    /// Whether KVM_CAP_ARM_NISV_TO_USER is on.
    #[serde(default)]
    pub(super) undescribed_exits: Option<bool>,
    /// Bits of guest-physical addresses, 32 to 40; 40 unless given.
    #[serde(default)]
    pub(super) address_bits: Option<Located<u8>>,
}

/// A piece of host memory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BackingEntry {
    /// What is mapped: `anonymous` unless given.
    #[serde(default)]
    pub(super) kind: Option<KindWord>,
    /// Size in pages, 1 unless given.
    #[serde(default)]
    pub(super) pages: Option<Located<u32>>,
    /// Every byte was written with this value. Without it the memory was never touched.
    #[serde(default)]
    pub(super) fill: Option<Located<u8>>,
    /// Every byte of page n was written with this value plus n.
    #[serde(default)]
    pub(super) tags: Option<Located<u8>>,
    /// What the process may do with it: `read-write` unless given.
    #[serde(default)]
    pub(super) protection: Option<ProtectionWord>,
    /// The kernel is asked for pages of 2 MiB.
    #[serde(default)]
    pub(super) huge: Option<bool>,
}

/// A memory slot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SlotEntry {
    /// Its number, 0 unless given.
    #[serde(default)]
    pub(super) id: Option<u16>,
    /// Its address space, 0 unless given.
    #[serde(default)]
    pub(super) space: Option<u16>,
    /// Guest-physical address of its first byte.
    pub(super) at: Located<u64>,
    /// Its size in pages; that of the backing unless given.
    #[serde(default)]
    pub(super) pages: Option<u64>,
    /// The host memory under it.
    pub(super) backing: Located<String>,
    /// First page of the backing, 0 unless given.
    #[serde(default)]
    pub(super) offset: Option<u32>,
    /// Whether the guest may only read.
    #[serde(default)]
    pub(super) read_only: Option<bool>,
    /// Whether writes are logged.
    #[serde(default)]
    pub(super) log_dirty: Option<bool>,
}

/// One step: what is done, its arguments, and what must be seen.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct StepEntry {
    /// What is done.
    #[serde(rename = "do")]
    pub(super) action: Located<ActionWord>,
    /// Guest-physical address.
    #[serde(default)]
    pub(super) at: Option<Located<u64>>,
    /// Guest-physical address that a copy reads from.
    #[serde(default)]
    pub(super) from: Option<Located<u64>>,
    /// Guest-physical address that a copy writes to.
    #[serde(default)]
    pub(super) to: Option<Located<u64>>,
    /// Number of bytes of a copy.
    #[serde(default)]
    pub(super) length: Option<Located<u16>>,
    /// Size of an access of the guest in bytes: 1, 2, 4 or 8 (default 4).
    #[serde(default)]
    pub(super) size: Option<Located<u8>>,
    /// What is written, or added, or returned by code.
    #[serde(default)]
    pub(super) data: Option<Located<u64>>,
    /// What a compare-and-exchange compares with.
    #[serde(default)]
    pub(super) expected: Option<Located<u64>>,
    /// What the host answers to reads that reach it; all ones unless given.
    #[serde(default)]
    pub(super) answer: Option<Located<u64>>,
    /// After the first access that reaches it, the host enters the guest with `immediate_exit` set.
    #[serde(default)]
    pub(super) interrupt: Option<Located<bool>>,
    /// What the host does at the first access that reaches it, before the guest goes on.
    #[serde(default)]
    pub(super) at_exit: Option<Located<Vec<Located<StepEntry>>>>,
    /// What the host does in another thread once the guest spins.
    #[serde(default)]
    pub(super) meanwhile: Option<Located<Vec<Located<StepEntry>>>>,
    /// A backing.
    #[serde(default)]
    pub(super) backing: Option<Located<String>>,
    /// A page of the backing, 0 unless given.
    #[serde(default)]
    pub(super) page: Option<Located<u32>>,
    /// Number of pages: of a slot that of its backing, else 1 unless given.
    #[serde(default)]
    pub(super) pages: Option<Located<u64>>,
    /// A byte of the page, 0 unless given; of a slot the first page of its backing.
    #[serde(default)]
    pub(super) offset: Option<Located<u32>>,
    /// What is mapped.
    #[serde(default)]
    pub(super) kind: Option<Located<KindWord>>,
    /// Another backing, whose file is mapped.
    #[serde(default)]
    pub(super) file: Option<Located<String>>,
    /// What the process may do: `read-write` unless given.
    #[serde(default)]
    pub(super) protection: Option<Located<ProtectionWord>>,
    /// Number of a slot, 0 unless given.
    #[serde(default)]
    pub(super) id: Option<Located<u16>>,
    /// Address space of a slot, 0 unless given.
    #[serde(default)]
    pub(super) space: Option<Located<u16>>,
    /// Whether the guest may only read a slot.
    #[serde(default)]
    pub(super) read_only: Option<Located<bool>>,
    /// Whether writes to a slot are logged.
    #[serde(default)]
    pub(super) log_dirty: Option<Located<bool>>,
    /// Further bits of the flags of a slot.
    #[serde(default)]
    pub(super) flags: Option<Located<u32>>,
    /// Member of a slot request that is one byte off.
    #[serde(default)]
    pub(super) misaligned: Option<Located<MisalignedWord>>,
    /// First page of a dirty log to clear.
    #[serde(default)]
    pub(super) first: Option<Located<u64>>,
    /// The backing that pages are moved to.
    #[serde(default)]
    pub(super) target: Option<Located<String>>,
    /// Expected: what is read.
    #[serde(default)]
    pub(super) value: Option<Located<u64>>,
    /// Expected: the accesses that reach the host, in order.
    #[serde(default)]
    pub(super) exits: Option<Located<Vec<ExitEntry>>>,
    /// Expected: the error with which KVM_RUN or the host's operation fails.
    #[serde(default)]
    pub(super) errno: Option<Located<ErrnoWord>>,
    /// Expected: how the guest ends.
    #[serde(default)]
    pub(super) ends: Option<Located<EndWord>>,
    /// Expected: the syndrome of the exception that the guest takes (ESR_EL1, arm64).
    #[serde(default)]
    pub(super) syndrome: Option<Located<u64>>,
    /// Expected: the address in that exception (FAR_EL1); `at` unless given.
    #[serde(default)]
    pub(super) fault_address: Option<Located<u64>>,
    /// Expected: KVM_EXIT_ARM_NISV for this access.
    #[serde(default)]
    pub(super) undescribed: Option<Located<UndescribedEntry>>,
    /// Expected: the pages in the dirty log.
    #[serde(default)]
    pub(super) dirty: Option<Located<Vec<u64>>>,
}

/// KVM_EXIT_ARM_NISV; one of the two is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct UndescribedEntry {
    /// A read at this guest-physical address.
    #[serde(default)]
    pub(super) read: Option<u64>,
    /// A write to it.
    #[serde(default)]
    pub(super) write: Option<u64>,
}

/// An access that reaches the host.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ExitEntry {
    /// A read of this guest-physical address.
    #[serde(default)]
    pub(super) read: Option<u64>,
    /// A write to this guest-physical address.
    #[serde(default)]
    pub(super) write: Option<u64>,
    /// Its length in bytes.
    pub(super) length: u8,
    /// What is written.
    #[serde(default)]
    pub(super) data: Option<u64>,
}

macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$word:meta])* $variant:ident),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub(super) enum $name { $($(#[$word])* $variant),* }
    )*};
}

words! {
    /// What is mapped.
    KindWord {
        /// Private anonymous memory.
        Anonymous,
        /// A private mapping of a file.
        PrivateFile,
        /// A shared mapping of a file.
        SharedFile,
        /// A shared mapping of a file without a name.
        Memfd,
        /// Nothing.
        Hole,
    }
    /// What a process may do with its memory.
    ProtectionWord {
        /// Nothing.
        None,
        /// Read.
        Read,
        /// Read and write.
        ReadWrite,
    }
    /// How dirty logs are cleared.
    DirtyLogWord {
        /// By KVM_CLEAR_DIRTY_LOG.
        Manual,
        /// The same, and all pages are in it at first.
        ManualInitiallySet,
        /// There are none: pages are listed in the dirty ring.
        Ring,
    }
    /// A member of a slot request.
    MisalignedWord {
        /// The guest-physical address.
        Guest,
        /// The size.
        Size,
        /// The host address.
        Host,
    }
    /// How the guest ends.
    EndWord {
        /// KVM gives up.
        InternalError,
        /// Shutdown.
        Shutdown,
        /// It does not come back.
        Stuck,
    }
    /// What is done.
    ActionWord {
        /// The guest reads: `at`, `size`.
        Read,
        /// The guest writes: `at`, `size`, `data`.
        Write,
        /// The guest adds in one indivisible access: `at`, `size`, `data`.
        Add,
        /// The guest compares and exchanges: `at`, `size`, `expected`, `data`.
        CompareExchange,
        /// The guest copies bytes: `from`, `to`, `length`.
        Copy,
        /// The guest calls code: `at`.
        Fetch,
        /// The guest reads 4 bytes again and again until they are not what they were: `at`, and what
        /// the host does `meanwhile`.
        Spin,
        /// KVM_RUN again after it failed.
        Retry,
        /// KVM_SET_USER_MEMORY_REGION: `id`, `space`, `at`, `pages`, `backing`, `offset`, flags.
        SetSlot,
        /// The same with size 0: `id`, `space`.
        DeleteSlot,
        /// KVM_GET_DIRTY_LOG: `id`, `space`.
        DirtyLog,
        /// KVM_CLEAR_DIRTY_LOG: `id`, `space`, `first`, `pages`.
        ClearDirtyLog,
        /// The host reads 8 bytes through its mapping: `backing`, `page`, `offset`.
        HostRead,
        /// The host writes 8 bytes through its mapping: the same and `data`.
        HostWrite,
        /// The host reads 8 bytes of the file.
        FileRead,
        /// The host writes 8 bytes of the file.
        FileWrite,
        /// The host writes code that returns `data`.
        WriteCode,
        /// The host maps `kind` over `page`, `pages` of a backing, with `file` and `protection`.
        Map,
        /// The host unmaps them.
        Unmap,
        /// The host changes their `protection`.
        Protect,
        /// The host drops them (MADV_DONTNEED).
        Discard,
        /// The host lets the kernel drop them (MADV_FREE).
        Free,
        /// The file of a backing gets `pages` pages.
        Truncate,
        /// A hole of `page`, `pages` is punched into the file.
        PunchHole,
        /// The host forks.
        Fork,
        /// The child reads 8 bytes.
        ChildRead,
        /// The child writes 8 bytes.
        ChildWrite,
        /// The guest goes on with page tables at `at` (x86 only).
        UseTables,
        /// The host writes such tables: `backing`, `page`, and their accessed and dirty bits as `flags`.
        WriteTables,
        /// The host takes everything from the dirty ring and resets it: `id`, `space`.
        DirtyRing,
        /// The child calls KVM_RUN.
        ChildRun,
        /// The host moves `page`, `pages` of a backing to the same pages of `target` (mremap).
        Move,
        /// The host merges `page`, `pages` with others of the same contents (MADV_MERGEABLE, KSM).
        Merge,
        /// Counts bytes that are not zero in a new anonymous page.
        Canary,
        /// The host answers the access with an external abort (arm64, in `at-exit`).
        InjectAbort,
        /// The guest executes LDP of two 4-byte registers (arm64): `at`.
        LoadPair,
        /// STP of two 4-byte registers (arm64): `at`, `data` of 8 bytes.
        StorePair,
        /// LDR of 8 bytes that changes the address register (arm64): `at`.
        LoadIndexed,
        /// STR of 8 bytes that changes the address register (arm64): `at`, `data`.
        StoreIndexed,
        /// LDR of 8 bytes of a SIMD register (arm64): `at`.
        LoadSimd,
        /// STR of 8 bytes of a SIMD register (arm64): `at`, `data`.
        StoreSimd,
        /// LDAXR of 8 bytes (arm64): `at`.
        LoadExclusive,
        /// CAS of 8 bytes (arm64): `at`, `expected`, `data`.
        CompareAndSwap,
        /// LDADD of 8 bytes (arm64): `at`, `data`.
        AtomicAdd,
        /// LDRSB into a 32-bit register (arm64): `at`.
        LoadSignedWord,
        /// LDRSB into a 64-bit register (arm64): `at`.
        LoadSigned,
        /// DC CVAC (arm64): `at`.
        Clean,
        /// DC CIVAC (arm64): `at`.
        CleanAndInvalidate,
        /// DC IVAC (arm64): `at`.
        Invalidate,
        /// IC IVAU (arm64): `at`.
        InvalidateInstructions,
        /// DC ZVA, which zeroes 64 bytes (arm64): `at`.
        ZeroBlock,
    }
}

/// Name of an error, as in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum ErrnoWord {
    /// Invalid argument.
    Einval,
    /// Exists already.
    Eexist,
    /// No such entry.
    Enoent,
    /// Bad address.
    Efault,
    /// Input or output error.
    Eio,
    /// No such device or address.
    Enxio,
    /// Function not implemented.
    Enosys,
}
