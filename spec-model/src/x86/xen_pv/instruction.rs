//! Instructions that mean something else in a paravirtual guest.

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::defect::Defect;
use crate::error::ModelError;
use crate::scenario::{PointId, SYNC_PORT};
use crate::x86::exception::{Interruption, Step};
use crate::x86::execute::After;
use crate::x86::processor::Processor;

impl Processor<'_, '_> {
    /// Executes what the hypervisor, or the harness, makes something else of; nothing if the
    /// instruction is as everywhere at privilege level 3. SWAPGS, CLI and STI are: they raise
    /// #GP, and the hypervisor passes it on (XENPV-PRIV-001, XENPV-DEBUG-011).
    pub(in crate::x86) fn execute_in_guest(
        &mut self,
        instruction: &Instruction,
        points: usize,
    ) -> Step<Option<After>> {
        Ok(Some(match instruction.mnemonic() {
            Mnemonic::Syscall => {
                self.syscall_to_hypervisor()?;
                After::Continue
            }
            Mnemonic::Int1 => {
                self.bounce_int1()?;
                After::Continue
            }
            // The guest waits for an event; the host sees that first.
            Mnemonic::Hlt if self.is_kernel_mode() => After::Halt,
            Mnemonic::Swapgs if self.rules.broken(Defect::XenPvSwapgsExecuted) => {
                self.toggle_mode();
                if let Some(xen) = self.xen() {
                    xen.kernel_mode = !xen.kernel_mode;
                }
                After::Continue
            }
            Mnemonic::Out if instruction.op0_kind() == OpKind::Immediate8 => {
                // A sync point is the harness's, not the guest's: no privilege is needed.
                let number = instruction.immediate8().checked_sub(SYNC_PORT);
                match number.filter(|number| usize::from(*number) < points) {
                    Some(number) => After::Sync(PointId(u16::from(number))),
                    None => return Ok(None),
                }
            }
            Mnemonic::Rdmsr
            | Mnemonic::Wrmsr
            | Mnemonic::Clts
            | Mnemonic::Invlpg
            | Mnemonic::Wbinvd
            | Mnemonic::Sysenter
            | Mnemonic::Sysexit
            | Mnemonic::Sysexitq
            | Mnemonic::Vmcall
            | Mnemonic::Vmmcall => {
                return Err(emulated(instruction));
            }
            // At privilege level 3 it raises #GP, which the hypervisor passes on to the kernel (XENPV-DEBUG-011).
            Mnemonic::Mov if is_privileged_move(instruction) && self.moves_privileged() => {
                self.privileged_move(instruction)?;
                self.note_emulated_for_guest();
                After::Continue
            }
            _ => return Ok(None),
        }))
    }

    fn moves_privileged(&self) -> bool {
        self.is_kernel_mode() || self.rules.broken(Defect::XenPvProgramMovesDebugRegisters)
    }

    /// MOV to or from a control or debug register, which the hypervisor does for the guest kernel.
    fn privileged_move(&mut self, instruction: &Instruction) -> Step {
        let (to, from) = (instruction.op0_register(), instruction.op1_register());
        if to.is_dr() {
            return self.move_to_debug_register(to.number(), self.register(from));
        }
        if from.is_dr() {
            let value = self.move_from_debug_register(from.number())?;
            self.set_register(to, value);
            return Ok(());
        }
        if to.is_cr() {
            return self.move_to_control_register(to, self.register(from));
        }
        let value = self.move_from_control_register(from)?;
        self.set_register(to, value);
        Ok(())
    }
}

fn is_privileged_move(instruction: &Instruction) -> bool {
    [instruction.op0_register(), instruction.op1_register()]
        .iter()
        .any(|register| register.is_cr() || register.is_dr())
}

/// The hypervisor emulates it for the guest kernel, and the model does not.
fn emulated(instruction: &Instruction) -> Interruption {
    let message = format!(
        "emulation of {:?} as Xen does it for a paravirtual guest",
        instruction.mnemonic()
    );
    ModelError::NotModelled(message).into()
}
