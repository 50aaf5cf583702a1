//! Port I/O: sync points, and accesses that the host answers.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::After;
use super::operand::ones;
use crate::error::ModelError;
use crate::scenario::{PointId, SYNC_PORT};
use crate::transcript::{Access, AccessSpace};
use crate::x86::exception::{Exception, Step};
use crate::x86::paging::Privilege;
use crate::x86::processor::{Mode, Processor};
use crate::x86::segment::SegmentName;

impl Processor<'_, '_> {
    /// IN and OUT. A byte written to the port of a sync point stops the processor there.
    pub(super) fn execute_port(&mut self, instruction: &Instruction, points: usize) -> Step<After> {
        let is_out = instruction.mnemonic() == Mnemonic::Out;
        let (port_operand, data_operand) = if is_out { (0, 1) } else { (1, 0) };
        let port = match instruction.op_kind(port_operand) {
            OpKind::Register => self.register(Register::DX) as u16,
            _ => u16::from(instruction.immediate8()),
        };
        let width = self.width(instruction, data_operand);
        self.check_port(port, width)?;
        self.note_port_access(port, width);
        if !is_out {
            let value = self.read_port(port, width);
            self.write_operand(instruction, 0, value)?;
            return Ok(After::Continue);
        }
        if let Some(point) = sync_point(port, width, points) {
            return Ok(After::Sync(point));
        }
        let value = self.read_operand(instruction, 1)?;
        self.write_port(port, width, value)?;
        Ok(After::Continue)
    }

    /// #GP(0) unless CPL is within IOPL or the TSS permits the ports (SDM vol. 1, "I/O
    /// Permission Bit Map").
    pub(super) fn check_port(&mut self, port: u16, width: usize) -> Step {
        if self.mode() == Mode::Real || self.cpl() <= self.iopl() {
            return Ok(());
        }
        let task = *self.segment(SegmentName::Tr);
        let map = self.read_linear(self.wrap(task.base.wrapping_add(0x66)), 2, Privilege::System)?;
        let offset = map + u64::from(port / 8);
        if task.limit < 0x67 || offset + 1 > u64::from(task.limit) {
            return Err(Exception::GP0.into());
        }
        let bits = self.read_linear(self.wrap(task.base.wrapping_add(offset)), 2, Privilege::System)?;
        if bits >> (port % 8) & ((1 << width) - 1) != 0 {
            return Err(Exception::GP0.into());
        }
        Ok(())
    }

    /// The chipset answers at its own ports, which is no matter of the host's (CHIPSET-REG-002).
    /// The host answers every other read with all ones.
    pub(super) fn read_port(&mut self, port: u16, width: usize) -> u64 {
        let bridge = self.memory.bridge();
        if let Some(value) = bridge.and_then(|bridge| bridge.read_port(port, width)) {
            return value;
        }
        self.accesses.push(port_access(port, width, false, 0));
        ones(width)
    }

    pub(super) fn write_port(&mut self, port: u16, width: usize, value: u64) -> Step {
        if let Some(bridge) = self.memory.bridge_mut() {
            let taken = bridge.write_port(port, width, value & ones(width));
            if taken.map_err(ModelError::from)? {
                return Ok(());
            }
        }
        self.accesses
            .push(port_access(port, width, true, value & ones(width)));
        Ok(())
    }
}

/// The sync point whose port a byte is written to.
pub(super) fn sync_point(port: u16, width: usize, points: usize) -> Option<PointId> {
    let point = port.wrapping_sub(u16::from(SYNC_PORT));
    (width == 1 && usize::from(point) < points).then_some(PointId(point))
}

fn port_access(port: u16, width: usize, write: bool, data: u64) -> Access {
    Access {
        space: AccessSpace::Port,
        write,
        address: u64::from(port),
        length: width as u8,
        data,
    }
}
