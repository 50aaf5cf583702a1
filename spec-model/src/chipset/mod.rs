//! The chipset's control of SMRAM: a host bridge with the registers of the 440FX or the Q35.
//!
//! The host bridge decides which accesses to certain windows of guest-physical memory reach
//! DRAM and which go to the bus, where nothing answers: reads give all ones and writes are
//! dropped. Everything here is a pure function of register values. The model applies the
//! result to its memory; a target applies the same result to whatever it has.
//!
//! * [`register`]: the registers, what can be written and when;
//! * [`window`]: from register values to what each view of memory sees;
//! * [`configuration`]: how a program reaches the registers.
//!
//! Sources: Intel 440FX (82441FX) datasheet, "SMRAM - System Management RAM Control Register";
//! Intel Q35 (82Q35) datasheet, "SMRAM", "ESMRAMC" and "System Management Mode"; QEMU
//! `hw/pci-host/i440fx.c` and `hw/pci-host/q35.c`; Bochs `iodev/pci.cc`. Where the three differ,
//! [`Implementation`] says which one is meant.

pub mod configuration;
pub mod register;
#[cfg(test)]
mod tests;
pub mod window;

use serde::{Deserialize, Serialize};

use crate::defect::{Defect, DefectSet};
use register::{Register, Registers};
use window::{View, WINDOWS, Window, windows};

/// A chipset at the start of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chipset {
    /// Which one.
    pub kind: Kind,
    /// Whose rules it follows where the datasheet, QEMU and Bochs differ.
    pub implementation: Implementation,
    /// Top of low memory: guest-physical address at which RAM below 4 GiB ends, in bytes.
    /// TSEG lies below it.
    pub top_of_memory: u64,
    /// Writes to registers before the run starts, in this order and by the rules of the
    /// registers, as firmware makes them. Each register once at most.
    pub registers: Vec<(Register, u16)>,
}

/// Which host bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Intel 440FX: one SMRAM register, at 72h.
    #[serde(rename = "440fx")]
    I440fx,
    /// Intel Q35: SMRAM at 9Dh, ESMRAMC at 9Eh, TSEG.
    Q35,
}

/// Whose rules a chipset follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Implementation {
    /// Intel's datasheet.
    Datasheet,
    /// QEMU's device.
    Qemu,
    /// Bochs's device. It has no Q35.
    Bochs,
}

/// What an implementation does where they differ, complete for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// D_LCK makes registers read-only. QEMU's 440FX has no lock (`i440fx_write_config`).
    pub has_lock: bool,
    /// D_CLS hides SMRAM from data accesses in SMM. QEMU has not implemented it
    /// (`mch_update_smram`, `i440fx_update_memory_mappings`).
    pub has_close: bool,
    /// D_OPEN opens nothing while G_SMRAME is clear. In QEMU it does.
    pub open_needs_enable: bool,
    /// D_OPEN opens TSEG too. In QEMU it does not: firmware clears T_EN instead (edk2
    /// `OvmfPkg/SmmAccess/SmramInternal.c`).
    pub open_shows_tseg: bool,
    /// C_BASE_SEG and the reserved bit of the SMRAM register can be written. QEMU leaves
    /// every bit of the 440FX's register writable.
    pub base_is_writable: bool,
    /// The registers 50h and 9Ch that QEMU adds to the Q35.
    pub has_paravirtual_registers: bool,
}

impl Chipset {
    /// Where the implementations differ, what this one does (CHIPSET-REG-001).
    #[must_use]
    pub const fn rules(&self) -> Rules {
        rules(self.kind, self.implementation)
    }
}

const fn rules(kind: Kind, implementation: Implementation) -> Rules {
    let documented = Rules {
        has_lock: true,
        has_close: true,
        open_needs_enable: true,
        open_shows_tseg: true,
        base_is_writable: false,
        has_paravirtual_registers: false,
    };
    match (implementation, kind) {
        (Implementation::Datasheet | Implementation::Bochs, _) => documented,
        (Implementation::Qemu, Kind::I440fx) => Rules {
            has_lock: false,
            has_close: false,
            open_needs_enable: false,
            base_is_writable: true,
            ..documented
        },
        (Implementation::Qemu, Kind::Q35) => Rules {
            has_close: false,
            open_needs_enable: false,
            open_shows_tseg: false,
            has_paravirtual_registers: true,
            ..documented
        },
    }
}

/// The chipset cannot be what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChipsetError {
    /// D_OPEN and D_CLS are both set.
    #[error(
        "SMRAM.D_OPEN and SMRAM.D_CLS are both 1, which the datasheet forbids (Bochs panics): clear one of them"
    )]
    OpenAndClosed,
    /// The chipset has no such register.
    #[error("this chipset has no register `{0}`: use `smram`, and on a Q35 `esmramc`")]
    NoSuchRegister(&'static str),
    /// A register is written twice before the start.
    #[error("register `{0}` is given twice: keep the last value")]
    RegisterTwice(&'static str),
    /// There is no such implementation.
    #[error("Bochs has no Q35: use `implementation: datasheet` or `qemu`")]
    NoSuchImplementation,
    /// The top of low memory makes no sense.
    #[error(
        "the top of low memory, {0:#x}, is not a multiple of 1 MiB from 2 MiB to 3 GiB: choose one that is"
    )]
    TopOfMemory(u64),
    /// TSEG does not fit.
    #[error("a TSEG of {size:#x} bytes does not fit below the top of low memory, {top:#x}, and above 1 MiB")]
    SegmentTooLarge {
        /// Size of TSEG in bytes.
        size: u64,
        /// Top of low memory.
        top: u64,
    },
}

/// A host bridge at work. Two with equal values behave the same from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostBridge {
    kind: Kind,
    implementation: Implementation,
    top_of_memory: u64,
    registers: Registers,
    /// What was last written to port CF8h.
    address: u32,
    defects: DefectSet,
    windows: [Window; WINDOWS],
    /// With a defect: how often processors outside SMM have come to see something else.
    outside_changes: u32,
}

impl HostBridge {
    /// The chipset as the scenario has it at the start.
    ///
    /// # Errors
    /// If the chipset cannot be like that.
    pub fn new(chipset: &Chipset, defects: DefectSet) -> Result<Self, ChipsetError> {
        const MEBIBYTE: u64 = 1 << 20;
        let top = chipset.top_of_memory;
        if chipset.kind == Kind::Q35 && chipset.implementation == Implementation::Bochs {
            return Err(ChipsetError::NoSuchImplementation);
        }
        if !top.is_multiple_of(MEBIBYTE) || !(2 * MEBIBYTE..=3 << 30).contains(&top) {
            return Err(ChipsetError::TopOfMemory(top));
        }
        let mut bridge = Self {
            kind: chipset.kind,
            implementation: chipset.implementation,
            top_of_memory: top,
            registers: Registers::at_reset(chipset.kind, chipset.rules()),
            address: 0,
            defects,
            windows: [Window::NONE; WINDOWS],
            outside_changes: 0,
        };
        bridge.update()?;
        for (index, (register, value)) in chipset.registers.iter().enumerate() {
            let mut earlier = chipset.registers.iter().take(index);
            if earlier.any(|(other, _)| other == register) {
                return Err(ChipsetError::RegisterTwice(register.name()));
            }
            bridge.write(*register, *value)?;
        }
        Ok(bridge)
    }

    /// Writes a register, by its rules.
    ///
    /// # Errors
    /// If there is no such register, or the chipset cannot be like that.
    pub fn write(&mut self, register: Register, value: u16) -> Result<(), ChipsetError> {
        self.write_all(&[(register, value)])
    }

    /// Writes registers in one access: D_LCK set by it locks only what comes after it.
    fn write_all(&mut self, values: &[(Register, u16)]) -> Result<(), ChipsetError> {
        let rules = self.rules();
        let locked = self.registers.locked(rules) && !self.defects.has(Defect::LockCanBeUndone);
        let mut next = *self;
        for (register, value) in values {
            if !register.exists(self.kind, rules) {
                return Err(ChipsetError::NoSuchRegister(register.name()));
            }
            next.registers.write(*register, *value, locked, self.kind, rules);
        }
        if next.registers.locked(rules) && !self.defects.has(Defect::LockLeavesOpen) {
            next.registers.close();
        }
        next.update()?;
        *self = next;
        Ok(())
    }

    /// The value of a register; 0 if there is none.
    #[must_use]
    pub fn read(&self, register: Register) -> u16 {
        self.registers.read(register)
    }

    /// The chipset's reset: all registers as after power-on, D_LCK too (CHIPSET-LOCK-003).
    /// Processors and DRAM are as they were.
    ///
    /// # Errors
    /// None in practice: the registers after power-on make sense for every chipset.
    pub fn reset(&mut self) -> Result<(), ChipsetError> {
        self.registers = Registers::at_reset(self.kind, self.rules());
        self.address = 0;
        self.update()
    }

    /// Where an access goes: the address in DRAM, or nowhere.
    #[must_use]
    pub fn route(&self, address: u64, view: View) -> Option<u64> {
        match self.windows.iter().find(|window| window.contains(address)) {
            Some(window) => window.route(address, view),
            None => Some(address),
        }
    }

    /// The windows that the registers open or close now. Outside them an access goes to the
    /// address that it names.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Whether code and data in SMM see different things.
    #[must_use]
    pub fn separates_code_from_data(&self) -> bool {
        self.windows
            .iter()
            .any(|window| window.sees(View::Code) != window.sees(View::Data))
    }

    /// The kind of chipset.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    const fn rules(&self) -> Rules {
        rules(self.kind, self.implementation)
    }

    /// With a defect: a number that changes whenever processors outside SMM come to see something else.
    #[must_use]
    pub fn outside_changes(&self) -> u32 {
        self.outside_changes
    }

    fn update(&mut self) -> Result<(), ChipsetError> {
        let before = self.windows;
        self.windows = windows(
            self.kind,
            self.rules(),
            &self.registers,
            self.top_of_memory,
            self.defects,
        )?;
        let differs = |(before, now): (&Window, &Window)| before.outside_range() != now.outside_range();
        if self.defects.has(Defect::SmmHoleRemembered) && before.iter().zip(&self.windows).any(differs) {
            self.outside_changes = self.outside_changes.wrapping_add(1);
        }
        Ok(())
    }
}
