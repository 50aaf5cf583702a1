//! PCI configuration mechanism 1: ports CF8h and CFCh (PCI Local Bus Specification 3.0,
//! 3.2.2.3.2 "Software Generation of Configuration Transactions").

use super::register::Register;
use super::{ChipsetError, HostBridge, Kind};

/// CONFIG_ADDRESS: a register of 32 bits.
const ADDRESS_PORT: u16 = 0xcf8;
/// CONFIG_DATA: a window of 4 bytes.
const DATA_PORT: u16 = 0xcfc;
/// Bit of CONFIG_ADDRESS that lets accesses to CONFIG_DATA through to configuration space.
const ENABLE: u32 = 1 << 31;
/// Reserved bits of CONFIG_ADDRESS and the two low bits, which read as zero.
const ADDRESS_BITS: u32 = 0x80ff_fffc;

/// What a port access means to the chipset.
enum Target {
    Address,
    /// A register of the host bridge, device 0 function 0 on bus 0, by its offset.
    Bridge(u8),
    /// A device that is not there.
    Nobody,
}

impl HostBridge {
    /// A write to a port. Says whether it was one of the chipset's (CHIPSET-REG-002): a write
    /// to CF8h that is not 32 bits wide, or to CFCh with configuration accesses off, goes on to
    /// the bus like any other.
    ///
    /// # Errors
    /// If the chipset cannot be what the write makes it.
    pub fn write_port(&mut self, port: u16, width: usize, value: u64) -> Result<bool, ChipsetError> {
        match self.target(port, width) {
            None => return Ok(false),
            Some(Target::Address) => self.address = value as u32 & ADDRESS_BITS,
            Some(Target::Nobody) => {}
            Some(Target::Bridge(offset)) => self.write_space(offset, width, value)?,
        }
        Ok(true)
    }

    /// A read from a port, if it is one of the chipset's.
    #[must_use]
    pub fn read_port(&self, port: u16, width: usize) -> Option<u64> {
        Some(match self.target(port, width)? {
            Target::Address => self.address.into(),
            Target::Nobody => u64::MAX >> (64 - 8 * width),
            Target::Bridge(offset) => (0..width).rev().fold(0, |value, index| {
                value << 8 | u64::from(self.read_byte(offset.wrapping_add(index as u8)))
            }),
        })
    }

    fn target(&self, port: u16, width: usize) -> Option<Target> {
        if port == ADDRESS_PORT && width == 4 {
            return Some(Target::Address);
        }
        let inside = port >= DATA_PORT && usize::from(port - DATA_PORT) + width <= 4;
        if !inside || self.address & ENABLE == 0 {
            return None;
        }
        let [register, function, bus, _] = self.address.to_le_bytes();
        if bus != 0 || function != 0 {
            return Some(Target::Nobody);
        }
        Some(Target::Bridge(register | (port - DATA_PORT) as u8))
    }

    /// Registers that an access touches are written whole.
    fn write_space(&mut self, offset: u8, width: usize, value: u64) -> Result<(), ChipsetError> {
        let bytes = value.to_le_bytes();
        let mut values = Vec::new();
        for register in Register::ALL {
            if !register.exists(self.kind, self.rules()) {
                continue;
            }
            let mut written = self.read(register).to_le_bytes();
            let mut touched = false;
            for (index, byte) in written.iter_mut().take(register.width().into()).enumerate() {
                let at = usize::from(register.offset(self.kind)) + index;
                if let Some(position) = at.checked_sub(offset.into()).filter(|position| *position < width) {
                    *byte = bytes[position];
                    touched = true;
                }
            }
            if touched {
                values.push((register, u16::from_le_bytes(written)));
            }
        }
        self.write_all(&values)
    }

    fn read_byte(&self, offset: u8) -> u8 {
        const VENDOR: [u8; 2] = 0x8086u16.to_le_bytes();
        let device: [u8; 2] = match self.kind {
            Kind::I440fx => 0x1237u16,
            Kind::Q35 => 0x29c0,
        }
        .to_le_bytes();
        match offset {
            0 | 1 => return VENDOR[usize::from(offset)],
            2 | 3 => return device[usize::from(offset - 2)],
            _ => {}
        }
        let holds = |register: &Register| {
            let index = offset.checked_sub(register.offset(self.kind));
            register.exists(self.kind, self.rules()) && index.is_some_and(|index| index < register.width())
        };
        let Some(register) = Register::ALL.into_iter().find(holds) else {
            return 0;
        };
        let index = usize::from(offset - register.offset(self.kind));
        self.read(register).to_le_bytes()[index]
    }
}
