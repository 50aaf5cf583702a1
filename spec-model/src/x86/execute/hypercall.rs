//! VMCALL and VMMCALL: calls of the hypervisor.

use iced_x86::{Instruction, Mnemonic, Register};

use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::Hypercalls;
use crate::x86::exception::{Exception, Step};
use crate::x86::paging::Privilege;
use crate::x86::processor::{Activity, Mode, Processor};

/// KVM_HC_VAPIC_POLL_IRQ, which only makes the guest exit.
const POLL_INTERRUPTS: u64 = 1;
/// KVM_HC_KICK_CPU, KVM_HC_CLOCK_PAIRING, KVM_HC_SEND_IPI and KVM_HC_SCHED_YIELD, which a guest can call by
/// what CPUID leaf 40000001h says.
const BY_FEATURE: [u64; 4] = [5, 9, 10, 11];
/// -KVM_EPERM and -KVM_ENOSYS.
const REFUSED: u64 = 1_u64.wrapping_neg();
const UNKNOWN: u64 = 1000_u64.wrapping_neg();

/// Length of either instruction without prefixes.
const LENGTH: usize = 3;

impl Processor<'_, '_> {
    /// VMCALL or VMMCALL (INS-HYPERCALL-001, INS-HYPERCALL-005).
    ///
    /// # Errors
    /// #UD where it is no hypercall, and what writing another in its place raises.
    pub(super) fn hypervisor_call(&mut self, instruction: &Instruction) -> Step {
        let Hypercalls::Answered { rewritten } = self.rules.profile.hypercalls else {
            if self.rules.broken(Defect::HypercallWithoutHypervisor) {
                return Ok(());
            }
            return Err(Exception::UNDEFINED.into());
        };
        let called = match instruction.mnemonic() {
            Mnemonic::Vmcall => Hypercalls::VMCALL,
            _ => Hypercalls::VMMCALL,
        };
        if called == self.rules.profile.hypercalls {
            return self.answer_hypercall();
        }
        self.rewrite_hypercall(instruction, rewritten)?;
        if self.vcpu.activity == Activity::Looping || self.rules.broken(Defect::RewritingIsAnInstruction) {
            self.state_mut().rip = instruction.ip();
            return Ok(());
        }
        self.answer_hypercall()
    }

    /// Writes what the guest is to execute over the other vendor's instruction (INS-HYPERCALL-005).
    fn rewrite_hypercall(&mut self, instruction: &Instruction, rewritten: [u8; LENGTH]) -> Step {
        if self.rules.broken(Defect::ForeignHypercallUndefined) {
            return Err(Exception::UNDEFINED.into());
        }
        if self.rules.broken(Defect::ForeignHypercallIsPrivileged) {
            self.require_kernel()?;
        }
        if instruction.len() != LENGTH {
            let message = "a hypercall instruction with prefixes that is to be rewritten";
            return Err(ModelError::NotModelled(message.to_owned()).into());
        }
        let mut linear = self.linear_ip(instruction);
        if self.rules.broken(Defect::ForeignHypercallRewrittenAtRip) {
            linear = instruction.ip();
        }
        let value = rewritten
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        let met = self.vcpu.debug.met;
        self.write_linear(linear, LENGTH, value, Privilege::Program)?;
        // It is no access of the program's.
        self.vcpu.debug.met = met;
        if linear != self.linear_ip(instruction) {
            // The instruction is as it was, and executes again, and again.
            self.vcpu.activity = Activity::Looping;
        }
        Ok(())
    }

    /// The answer to a hypercall (INS-HYPERCALL-002, INS-HYPERCALL-003, INS-HYPERCALL-004).
    fn answer_hypercall(&mut self) -> Step {
        if self.rules.broken(Defect::HypercallUndefined) {
            return Err(Exception::UNDEFINED.into());
        }
        let wide = self.mode() == Mode::Long64 || self.rules.broken(Defect::HypercallAlways64Bit);
        let register = if wide { Register::RAX } else { Register::EAX };
        let number = self.register(register);
        let refused = self.cpl() > 0 && !self.rules.broken(Defect::HypercallPrivilegeUnchecked);
        let answer = match number {
            _ if refused => REFUSED,
            POLL_INTERRUPTS => 0,
            _ if BY_FEATURE.contains(&number) => {
                return Err(ModelError::NotModelled(format!("hypercall {number} of KVM")).into());
            }
            _ if self.rules.broken(Defect::UnknownHypercallSucceeds) => 0,
            _ => UNKNOWN,
        };
        self.set_register(register, answer);
        Ok(())
    }
}
