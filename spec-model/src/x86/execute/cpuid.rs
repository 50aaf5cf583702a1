//! CPUID. What it tells is the target's, and no scenario decides it: the registers that it loads are open
//! until they are overwritten, and what goes by them is beyond the model.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::io::sync_point;
use super::operand::ones;
use crate::defect::Defect;
use crate::error::ModelError;
use crate::x86::exception::Step;
use crate::x86::processor::Processor;
use crate::x86::state::{RAX, RBX, RCX, RDX};

/// The registers that CPUID loads, by the order of their encoding.
pub const TOLD_BY_CPUID: [&str; 4] = ["rax", "rcx", "rdx", "rbx"];

impl Processor<'_, '_> {
    /// CPUID, at any privilege level (INS-CPUID-001).
    pub(super) fn identify(&mut self) -> Step {
        if self.rules.broken(Defect::CpuidIsPrivileged) {
            self.require_kernel()?;
        }
        let keeps = self.rules.broken(Defect::CpuidKeepsUpperHalves);
        for number in [RAX, RBX, RCX, RDX] {
            let slot = &mut self.state_mut().general[number];
            *slot = if keeps { *slot & !ones(4) } else { 0 };
            self.vcpu.told_by_cpuid[number] = ones(4);
        }
        Ok(())
    }

    /// Whether an instruction leaves alone what CPUID has told. A sync point does, whatever is in AL.
    ///
    /// # Errors
    /// If it reads any of it.
    pub(in crate::x86) fn require_told_unread(
        &self,
        instruction: &Instruction,
        points: usize,
    ) -> Result<(), ModelError> {
        if self.vcpu.told_by_cpuid == [0; 4] || instruction.mnemonic() == Mnemonic::Cpuid {
            return Ok(());
        }
        let is_sync = instruction.mnemonic() == Mnemonic::Out
            && instruction.op0_kind() == OpKind::Immediate8
            && sync_point(u16::from(instruction.immediate8()), 1, points).is_some();
        if is_sync {
            return Ok(());
        }
        let mut factory = InstructionInfoFactory::new();
        let used = factory.info(instruction).used_registers().iter();
        let mut read = used.filter(|used| !matches!(used.access(), OpAccess::None | OpAccess::Write));
        read.find_map(|used| self.told(used.register()))
            .map_or(Ok(()), |name| Err(goes_by(name)))
    }

    /// An SMI would save it.
    ///
    /// # Errors
    /// If CPUID has told something that is still there.
    pub(in crate::x86) fn require_nothing_told(&self) -> Result<(), ModelError> {
        let told = self.vcpu.told_by_cpuid.iter().position(|bits| *bits != 0);
        told.map_or(Ok(()), |number| Err(goes_by(TOLD_BY_CPUID[number])))
    }

    /// What an instruction has written is no longer what CPUID told.
    pub(in crate::x86) fn note_overwritten(&mut self, instruction: &Instruction) {
        if self.vcpu.told_by_cpuid == [0; 4] || instruction.mnemonic() == Mnemonic::Cpuid {
            return;
        }
        let mut factory = InstructionInfoFactory::new();
        for used in factory.info(instruction).used_registers() {
            let register = used.register();
            if used.access() == OpAccess::Write && register.is_gpr() {
                let written = match register {
                    Register::AH | Register::CH | Register::DH | Register::BH => 0xff00,
                    _ if register.size() >= 4 => u64::MAX,
                    _ => ones(register.size()),
                };
                if let Some(bits) = self.vcpu.told_by_cpuid.get_mut(register.full_register().number()) {
                    *bits &= !written;
                }
            }
        }
    }

    /// The name of the register, if CPUID has loaded some of it.
    fn told(&self, register: Register) -> Option<&'static str> {
        let number = register.is_gpr().then(|| register.full_register().number())?;
        let bits = self.vcpu.told_by_cpuid.get(number)?;
        (*bits != 0).then(|| TOLD_BY_CPUID[number])
    }
}

fn goes_by(name: &str) -> ModelError {
    ModelError::NotModelled(format!("what goes by {name} that CPUID has loaded"))
}
