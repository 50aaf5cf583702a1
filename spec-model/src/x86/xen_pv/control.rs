//! Control registers: what Xen makes of MOV to and from them in the guest kernel.

use iced_x86::Register;

use crate::defect::Defect;
use crate::error::ModelError;
use crate::x86::control::{cr0, cr4};
use crate::x86::exception::{Exception, Step};
use crate::x86::processor::Processor;

/// Bits of CR4 besides DE that a guest may choose and the model does not have: TSD, FSGSBASE, OSXSAVE.
const CHOSEN_BY_GUEST: u64 = 1 << 2 | 1 << 16 | 1 << 18;

impl Processor<'_, '_> {
    /// MOV from a control register in the guest kernel (XENPV-CR-001).
    pub(super) fn move_from_control_register(&self, register: Register) -> Step<u64> {
        match register {
            Register::CR2 => Ok(self.state().cr2),
            Register::CR8 => self.refused_cr8().map(|()| 0),
            // What they hold is what the machine has, or the number of a page.
            _ => Err(not_modelled("from", register).into()),
        }
    }

    /// MOV to one (XENPV-CR-001 to XENPV-CR-003).
    pub(super) fn move_to_control_register(&mut self, register: Register, value: u64) -> Step {
        match register {
            Register::CR0 if value & cr0::PE == 0 || value & cr0::PG == 0 => {
                if self.rules.broken(Defect::XenPvControlRefusedSilently) {
                    Ok(())
                } else {
                    Err(Exception::GP0.into())
                }
            }
            Register::CR2 => {
                if !self.rules.broken(Defect::XenPvCr2WriteLost) {
                    self.state_mut().cr2 = value;
                }
                Ok(())
            }
            Register::CR4 if value & CHOSEN_BY_GUEST == 0 => {
                if value & !cr4::DE != 0 && self.rules.broken(Defect::XenPvControlRefusesBits) {
                    return Err(Exception::GP0.into());
                }
                let on = value & cr4::DE != 0 && !self.rules.broken(Defect::XenPvCr4DeLost);
                if let Some(xen) = self.xen() {
                    xen.debugging_extensions = on;
                }
                Ok(())
            }
            Register::CR8 => self.refused_cr8(),
            _ => Err(not_modelled("to", register).into()),
        }
    }

    fn refused_cr8(&self) -> Step {
        if self.rules.broken(Defect::XenPvCr8Ignored) {
            Ok(())
        } else {
            Err(Exception::GP0.into())
        }
    }
}

fn not_modelled(way: &str, register: Register) -> ModelError {
    ModelError::NotModelled(format!(
        "MOV {way} {register:?} with that value, as Xen does it for a paravirtual guest"
    ))
}
