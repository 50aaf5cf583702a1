//! Intel's format for processors without Intel 64 (SDM vol. 3C, table "SMRAM State Save Map";
//! EDK2 `MdePkg/Include/Register/Intel/SmramSaveStateMap.h`, `SMRAM_SAVE_STATE_MAP32`).
//!
//! Descriptor caches, table registers and CR4 have no documented place. The low half of the
//! revision identifier differs between processors; the I/O state is there from 0004h on.

use super::row::{reserved, special, state, unspecified, writable};
use super::{Content, IoField, Layout, Relocation, Rest, Unwritten};
use crate::requirement;

/// Intel processors, IA-32
pub static INTEL_32: Layout = Layout {
    name: "intel-32",
    title: "Intel processors, IA-32",
    revision: 0x0003_0004,
    revision_varies: 0xffff,
    unwritten: Unwritten::Unspecified,
    relocation: Relocation::Always,
    rest: Rest::Hidden,
    segments: &requirement::SMM_FORMAT_002,
    identifies: &requirement::SMM_FORMAT_005,
    rows: &[
        reserved(0x7e00, 248),
        writable(0x7ef8, 4, "smbase"),
        special(0x7efc, 4, "revision-id", false, Content::Revision),
        special(0x7f00, 2, "io-restart", true, Content::IoRestart),
        special(0x7f02, 2, "auto-halt-restart", true, Content::AutoHalt),
        reserved(0x7f04, 156),
        unspecified(0x7fa0, 4, "io.memory-address"),
        special(0x7fa4, 4, "io.state", false, Content::Io(IoField::State)),
        state(0x7fa8, 2, "es.selector"),
        reserved(0x7faa, 2),
        state(0x7fac, 2, "cs.selector"),
        reserved(0x7fae, 2),
        state(0x7fb0, 2, "ss.selector"),
        reserved(0x7fb2, 2),
        state(0x7fb4, 2, "ds.selector"),
        reserved(0x7fb6, 2),
        state(0x7fb8, 2, "fs.selector"),
        reserved(0x7fba, 2),
        state(0x7fbc, 2, "gs.selector"),
        reserved(0x7fbe, 2),
        reserved(0x7fc0, 4),
        state(0x7fc4, 2, "tr.selector"),
        reserved(0x7fc6, 2),
        state(0x7fc8, 4, "dr7"),
        state(0x7fcc, 4, "dr6"),
        writable(0x7fd0, 4, "rax"),
        writable(0x7fd4, 4, "rcx"),
        writable(0x7fd8, 4, "rdx"),
        writable(0x7fdc, 4, "rbx"),
        writable(0x7fe0, 4, "rsp"),
        writable(0x7fe4, 4, "rbp"),
        writable(0x7fe8, 4, "rsi"),
        writable(0x7fec, 4, "rdi"),
        writable(0x7ff0, 4, "rip"),
        writable(0x7ff4, 4, "rflags"),
        state(0x7ff8, 4, "cr3"),
        state(0x7ffc, 4, "cr0"),
    ],
};
