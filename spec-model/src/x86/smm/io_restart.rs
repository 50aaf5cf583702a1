//! I/O instruction restart: what is remembered of an I/O instruction, and RSM to it again.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::layout;
use crate::error::ModelError;
use crate::profile::IoRestart;
use crate::x86::processor::Processor;
use crate::x86::save_area::{Content, IoField, IoInstruction, Layout};
use crate::x86::state::{RCX, RDI, RDX, RSI, VcpuState};

/// The field's value that asks for the restart.
const RESTART: u64 = 0xff;

impl Processor<'_, '_> {
    /// The I/O instruction about to execute, if this is one and the processor can restart it
    /// (SMM-IO-001).
    pub(in crate::x86) fn io_instruction(&self, instruction: &Instruction) -> Option<IoInstruction> {
        use Mnemonic as M;
        if self.rules.profile.io_restart == IoRestart::Absent {
            return None;
        }
        let (input, string, width) = match instruction.mnemonic() {
            M::In => (true, false, accumulator_width(instruction.op0_register())),
            M::Out => (false, false, accumulator_width(instruction.op1_register())),
            M::Insb => (true, true, 1),
            M::Insw => (true, true, 2),
            M::Insd => (true, true, 4),
            M::Outsb => (false, true, 1),
            M::Outsw => (false, true, 2),
            M::Outsd => (false, true, 4),
            _ => return None,
        };
        let operands = 0..instruction.op_count();
        let immediate = operands
            .into_iter()
            .any(|operand| instruction.op_kind(operand) == OpKind::Immediate8);
        let general = &self.state().general;
        let port = if immediate {
            u16::from(instruction.immediate8())
        } else {
            general[RDX] as u16
        };
        Some(IoInstruction {
            port,
            width,
            input,
            string,
            repeated: instruction.has_rep_prefix() || instruction.has_repne_prefix(),
            immediate,
            rip: instruction.ip(),
            rcx: general[RCX],
            rsi: general[RSI],
            rdi: general[RDI],
        })
    }

    /// RSM with FFh in the restart field goes back to the I/O instruction that the SMI
    /// followed; a string instruction gets its registers back too (SMM-IO-002).
    ///
    /// # Errors
    /// If the SMI followed no I/O instruction: the manuals call what happens then
    /// unpredictable, so the model has nothing to say.
    pub(super) fn restart_io(&self, area: &[u8], new: &mut VcpuState) -> Result<(), ModelError> {
        let layout = layout(self.rules);
        let wanted = |row: &&crate::x86::save_area::Row| {
            row.content == Content::IoRestart && row.read(area) == RESTART
        };
        if self.rules.profile.io_restart == IoRestart::Absent || !layout.rows.iter().any(|row| wanted(&row)) {
            return Ok(());
        }
        let Some(io) = self.vcpu.interrupted_io else {
            let message = "the handler asks for the restart of an I/O instruction, but the SMI followed none: \
                           what RSM does then is unpredictable";
            return Err(ModelError::BadScenario(message.to_owned()));
        };
        let value = |field| held(layout, area, field).unwrap_or_else(|| io.field(field));
        new.rip = value(IoField::Rip);
        if io.string {
            new.general[RCX] = value(IoField::Rcx);
            new.general[RSI] = value(IoField::Rsi);
            new.general[RDI] = value(IoField::Rdi);
        }
        Ok(())
    }
}

/// The field's value in the area, where the layout has a row for it.
fn held(layout: &Layout, area: &[u8], field: IoField) -> Option<u64> {
    let row = layout.rows.iter().find(|row| row.content == Content::Io(field))?;
    Some(row.read(area))
}

fn accumulator_width(register: Register) -> u8 {
    match register {
        Register::AL => 1,
        Register::AX => 2,
        _ => 4,
    }
}
