//! The registers that control SMRAM: bits, values after reset, what can be written.

use serde::{Deserialize, Serialize};

use super::{Kind, Rules};

/// Bits of the SMRAM register, the same in both chipsets.
pub mod smram {
    /// SMM space open: SMRAM is visible outside SMM too.
    pub const D_OPEN: u8 = 1 << 6;
    /// SMM space closed: SMRAM is hidden from data accesses in SMM.
    pub const D_CLS: u8 = 1 << 5;
    /// SMM space locked, until reset.
    pub const D_LCK: u8 = 1 << 4;
    /// Global SMRAM enable.
    pub const G_SMRAME: u8 = 1 << 3;
    /// C_BASE_SEG: the compatible window lies at A0000h. No other value is defined.
    pub const C_BASE_SEG: u8 = 0b010;
}

/// Bits of the Q35's ESMRAMC register.
pub mod esmramc {
    /// Enable high SMRAM: the compatible window is seen at FEDA0000h instead.
    pub const H_SMRAME: u8 = 1 << 7;
    /// Caching bits that read as one.
    pub const CACHE: u8 = 0b11_1000;
    /// Size of TSEG.
    pub const TSEG_SZ: u8 = 0b110;
    /// TSEG enable.
    pub const T_EN: u8 = 1;
}

/// Bits and values of QEMU's register for SMRAM at the SMBASE after RESET
/// (`MCH_HOST_BRIDGE_F_SMBASE`).
mod default_smbase {
    /// Written to ask whether there is such a register.
    pub const QUERY: u8 = 0xff;
    /// The answer.
    pub const IN_RAM: u8 = 1;
    /// Closed, and locked until reset.
    pub const LCK: u8 = 2;
}

/// A register of the host bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Register {
    /// SMRAM: 72h in the 440FX, 9Dh in the Q35.
    Smram,
    /// ESMRAMC: 9Eh in the Q35.
    Esmramc,
    /// QEMU's Q35, 50h, a word: FFFFh asks for the size of an extended TSEG in MiB. This one
    /// offers [`EXTENDED_MEBIBYTES`].
    ExtTsegMbytes,
    /// QEMU's Q35, 9Ch: SMRAM of 128 KiB at 30000h, the SMBASE after RESET.
    SmramAtDefault,
}

/// Size of the extended TSEG (TSEG_SZ = 11b) that QEMU's Q35 offers here, in MiB. QEMU's own
/// default is 16; the machines here are small.
pub const EXTENDED_MEBIBYTES: u16 = 3;

impl Register {
    /// Every register.
    pub const ALL: [Self; 4] = [
        Self::Smram,
        Self::Esmramc,
        Self::ExtTsegMbytes,
        Self::SmramAtDefault,
    ];

    /// Name in case files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smram => "smram",
            Self::Esmramc => "esmramc",
            Self::ExtTsegMbytes => "ext-tseg-mbytes",
            Self::SmramAtDefault => "smram-at-default",
        }
    }

    /// The register of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|register| register.name() == name)
    }

    /// Offset in the configuration space of the host bridge, in bytes.
    #[must_use]
    pub const fn offset(self, kind: Kind) -> u8 {
        match (self, kind) {
            (Self::Smram, Kind::I440fx) => 0x72,
            (Self::Smram, Kind::Q35) => 0x9d,
            (Self::Esmramc, _) => 0x9e,
            (Self::ExtTsegMbytes, _) => 0x50,
            (Self::SmramAtDefault, _) => 0x9c,
        }
    }

    /// Width in bytes.
    #[must_use]
    pub const fn width(self) -> u8 {
        match self {
            Self::ExtTsegMbytes => 2,
            _ => 1,
        }
    }

    /// Whether a chipset has it.
    #[must_use]
    pub const fn exists(self, kind: Kind, rules: Rules) -> bool {
        match self {
            Self::Smram => true,
            Self::Esmramc => matches!(kind, Kind::Q35),
            Self::ExtTsegMbytes | Self::SmramAtDefault => rules.has_paravirtual_registers,
        }
    }
}

/// The values of all registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Registers {
    /// SMRAM.
    pub smram: u8,
    /// ESMRAMC; 0 in the 440FX.
    pub esmramc: u8,
    /// Size of the extended TSEG in MiB; FFFFh until someone asked.
    pub ext_tseg_mbytes: u16,
    /// SMRAM at the SMBASE after RESET.
    pub smram_at_default: u8,
}

impl Registers {
    /// The values after reset (CHIPSET-LOCK-003).
    #[must_use]
    pub const fn at_reset(kind: Kind, rules: Rules) -> Self {
        Self {
            smram: smram::C_BASE_SEG,
            esmramc: match kind {
                Kind::I440fx => 0,
                Kind::Q35 => esmramc::CACHE,
            },
            ext_tseg_mbytes: if rules.has_paravirtual_registers {
                u16::MAX
            } else {
                0
            },
            smram_at_default: 0,
        }
    }

    /// Whether D_LCK is in force.
    #[must_use]
    pub const fn locked(&self, rules: Rules) -> bool {
        rules.has_lock && self.smram & smram::D_LCK != 0
    }

    /// The value of a register.
    #[must_use]
    pub fn read(&self, register: Register) -> u16 {
        match register {
            Register::Smram => self.smram.into(),
            Register::Esmramc => self.esmramc.into(),
            Register::ExtTsegMbytes => self.ext_tseg_mbytes,
            Register::SmramAtDefault => self.smram_at_default.into(),
        }
    }

    /// What D_LCK does to D_OPEN (CHIPSET-LOCK-001).
    pub fn close(&mut self) {
        self.smram &= !smram::D_OPEN;
    }

    /// Writes what can be written, with or without the lock in force (CHIPSET-REG-001,
    /// CHIPSET-LOCK-002).
    pub fn write(&mut self, register: Register, value: u16, locked: bool, kind: Kind, rules: Rules) {
        let [low, _] = value.to_le_bytes();
        match register {
            Register::Smram => {
                let writable = match (locked, kind) {
                    _ if rules.base_is_writable => 0xff,
                    (false, _) => smram::D_OPEN | smram::D_CLS | smram::D_LCK | smram::G_SMRAME,
                    (true, Kind::I440fx) => smram::D_CLS | smram::G_SMRAME,
                    (true, Kind::Q35) => smram::D_CLS,
                };
                self.smram = merge(self.smram, low, writable);
            }
            Register::Esmramc => {
                let writable = if locked {
                    0
                } else {
                    esmramc::H_SMRAME | esmramc::TSEG_SZ | esmramc::T_EN
                };
                self.esmramc = merge(self.esmramc, low, writable);
            }
            Register::ExtTsegMbytes => {
                if value == u16::MAX {
                    self.ext_tseg_mbytes = EXTENDED_MEBIBYTES;
                }
            }
            Register::SmramAtDefault => self.write_smram_at_default(low),
        }
    }

    /// QEMU's protocol (`mch_update_smbase_smram`): FFh asks, 1 is the answer, 2 closes and
    /// locks (CHIPSET-DEFAULT-001).
    fn write_smram_at_default(&mut self, value: u8) {
        self.smram_at_default = match self.smram_at_default {
            default_smbase::LCK => default_smbase::LCK,
            default_smbase::IN_RAM if value & default_smbase::LCK == 0 => default_smbase::IN_RAM,
            _ if value == default_smbase::QUERY => default_smbase::IN_RAM,
            _ if value & default_smbase::LCK != 0 => default_smbase::LCK,
            _ => value,
        };
    }

    /// Whether SMRAM at the SMBASE after RESET is closed to processors outside SMM.
    #[must_use]
    pub const fn closes_default(&self) -> bool {
        self.smram_at_default == default_smbase::LCK
    }
}

const fn merge(old: u8, new: u8, writable: u8) -> u8 {
    old & !writable | new & writable
}
