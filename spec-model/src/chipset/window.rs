//! What each view of guest-physical memory sees in the windows of SMRAM.

use super::register::{EXTENDED_MEBIBYTES, Registers, esmramc, smram};
use super::{ChipsetError, Kind, Rules};
use crate::defect::{Defect, DefectSet};

/// Who looks at memory, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// A processor outside SMM.
    Outside,
    /// Instruction fetches of a processor in SMM.
    Code,
    /// Everything else that a processor in SMM does, page walks and the state-save area
    /// included.
    Data,
}

impl View {
    /// Data accesses of a processor in or out of SMM.
    #[must_use]
    pub const fn data(in_smm: bool) -> Self {
        if in_smm { Self::Data } else { Self::Outside }
    }

    /// Instruction fetches of a processor in or out of SMM.
    #[must_use]
    pub const fn code(in_smm: bool) -> Self {
        if in_smm { Self::Code } else { Self::Outside }
    }
}

/// Number of windows: the compatible one, high SMRAM, TSEG, the SMBASE after RESET.
pub const WINDOWS: usize = 4;

/// First address of the compatible window, in the address space and in DRAM.
pub const COMPATIBLE: u64 = 0xa_0000;
/// Where the window is with H_SMRAME set.
pub const HIGH: u64 = 0xfeda_0000;
/// Size of both in bytes.
const COMPATIBLE_SIZE: u64 = 0x2_0000;
/// QEMU's SMRAM at the SMBASE after RESET.
const DEFAULT: u64 = 0x3_0000;
const DEFAULT_SIZE: u64 = 0x2_0000;
const MEBIBYTE: u64 = 1 << 20;

/// A range of guest-physical addresses for which the chipset decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First address.
    pub start: u64,
    /// Size in bytes; 0 for a window that there is not.
    pub size: u64,
    /// Address in DRAM that the first address leads to.
    pub dram: u64,
    outside: bool,
    code: bool,
    data: bool,
}

impl Window {
    /// A window that holds no address.
    pub const NONE: Self = Self {
        start: 0,
        size: 0,
        dram: 0,
        outside: false,
        code: false,
        data: false,
    };

    /// Whether an address lies in it.
    #[must_use]
    pub const fn contains(&self, address: u64) -> bool {
        address >= self.start && address - self.start < self.size
    }

    /// Whether a view sees DRAM here. If not, nothing answers.
    #[must_use]
    pub const fn sees(&self, view: View) -> bool {
        match view {
            View::Outside => self.outside,
            View::Code => self.code,
            View::Data => self.data,
        }
    }

    /// The addresses for which it decides, and whether a processor outside SMM sees DRAM there.
    pub(super) const fn outside_range(&self) -> (u64, u64, bool) {
        (self.start, self.size, self.outside)
    }

    /// Where an access to an address inside goes: an address in DRAM, or nowhere.
    #[must_use]
    pub fn route(&self, address: u64, view: View) -> Option<u64> {
        self.sees(view).then(|| self.dram + (address - self.start))
    }
}

/// The windows for these register values (CHIPSET-SMRAM-001 to CHIPSET-SMRAM-006,
/// CHIPSET-HIGH-001, CHIPSET-TSEG-001, CHIPSET-DEFAULT-001).
///
/// # Errors
/// If D_OPEN and D_CLS are both in force, or TSEG does not fit.
pub fn windows(
    kind: Kind,
    rules: Rules,
    registers: &Registers,
    top: u64,
    defects: DefectSet,
) -> Result<[Window; WINDOWS], ChipsetError> {
    let enabled = registers.smram & smram::G_SMRAME != 0 || defects.has(Defect::SmramEnableIgnored);
    let open = !defects.has(Defect::SmramOpenIgnored)
        && registers.smram & smram::D_OPEN != 0
        && (enabled || !rules.open_needs_enable);
    let closed_to_data = rules.has_close && registers.smram & smram::D_CLS != 0;
    if open && closed_to_data {
        return Err(ChipsetError::OpenAndClosed);
    }
    let closed_to_data = closed_to_data && !defects.has(Defect::SmramCloseIgnored);
    let leaks = defects.has(Defect::ClosedSmramReadable);
    let high = registers.esmramc & esmramc::H_SMRAME != 0
        && (enabled || !rules.open_needs_enable)
        && !defects.has(Defect::HighSmramMissing);
    let smram_at = |start, size, dram, present: bool, open: bool| Window {
        start,
        size,
        dram,
        outside: present && (open || leaks && enabled),
        code: present && (enabled || open),
        data: present && (enabled || open) && !closed_to_data,
    };
    let mut windows = [Window::NONE; WINDOWS];
    windows[0] = smram_at(COMPATIBLE, COMPATIBLE_SIZE, COMPATIBLE, !high, open);
    if kind == Kind::Q35 {
        windows[1] = smram_at(HIGH, COMPATIBLE_SIZE, COMPATIBLE, high, open);
    }
    let size = segment_size(registers, rules);
    let has_segment = enabled && registers.esmramc & esmramc::T_EN != 0 && size != 0;
    if has_segment && !defects.has(Defect::TsegMissing) {
        if size + MEBIBYTE > top {
            return Err(ChipsetError::SegmentTooLarge { size, top });
        }
        windows[2] = smram_at(top - size, size, top - size, true, open && rules.open_shows_tseg);
    }
    if registers.closes_default() {
        windows[3] = Window {
            start: DEFAULT,
            size: DEFAULT_SIZE,
            dram: DEFAULT,
            outside: leaks,
            code: true,
            data: true,
        };
    }
    Ok(windows)
}

/// Size of TSEG in bytes by TSEG_SZ; 0 for the reserved value.
fn segment_size(registers: &Registers, rules: Rules) -> u64 {
    match (registers.esmramc & esmramc::TSEG_SZ) >> 1 {
        0 => MEBIBYTE,
        1 => 2 * MEBIBYTE,
        2 => 8 * MEBIBYTE,
        _ if rules.has_paravirtual_registers => u64::from(EXTENDED_MEBIBYTES) * MEBIBYTE,
        _ => 0,
    }
}
