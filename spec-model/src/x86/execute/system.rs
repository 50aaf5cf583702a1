//! System instructions: control and debug registers, MSRs, table registers, flags.

use iced_x86::{Code, Instruction, Mnemonic, Register};

use crate::defect::Defect;
use crate::error::ModelError;
use crate::x86::control::{
    PHYSICAL_ADDRESS_BITS, cr0, cr0_is_legal, cr4, cr4_is_legal, dr6_loaded, dr7_loaded, efer, efer_is_legal,
    flag, is_canonical,
};
use crate::x86::debug::debugctl;
use crate::x86::exception::{Exception, GP, NP, Step};
use crate::x86::local_apic::IA32_APIC_BASE;
use crate::x86::paging::Privilege;
use crate::x86::processor::{Mode, Processor};
use crate::x86::segment::{DescriptorTable, Segment, SegmentAttributes, SegmentName};
use crate::x86::segmentation::selector_error;
use crate::x86::state::{RAX, RCX, RDX, Shadow};

/// What tells the root of a hypervisor's page tables from the guest's. It may be anything else: no case looks at
/// the value.
const SHADOW_ROOT: u64 = 0x1000_0000;

impl Processor<'_, '_> {
    /// Executes a system instruction, SWAPGS (EXC-SYS-002) among them.
    pub(super) fn execute_system(&mut self, instruction: &Instruction) -> Step {
        use Mnemonic as M;
        match instruction.mnemonic() {
            M::Cli | M::Sti => self.interrupt_flag(instruction.mnemonic() == M::Sti)?,
            M::Lgdt | M::Lidt => self.load_table(instruction)?,
            M::Sgdt | M::Sidt => self.store_table(instruction)?,
            M::Lldt | M::Ltr => self.load_system_segment(instruction)?,
            M::Sldt | M::Str => {
                self.require_protected()?;
                let name = if instruction.mnemonic() == M::Sldt {
                    SegmentName::Ldtr
                } else {
                    SegmentName::Tr
                };
                let selector = u64::from(self.segment(name).selector);
                self.write_operand(instruction, 0, selector)?;
            }
            M::Smsw => {
                let value = self.state().cr0;
                self.write_operand(instruction, 0, value)?;
            }
            M::Lmsw => {
                self.require_kernel()?;
                let value = self.read_operand(instruction, 0)? & 0xf;
                let old = self.state().cr0;
                self.set_cr0(old & !0xe | value)?;
            }
            M::Clts => {
                self.require_kernel()?;
                self.state_mut().cr0 &= !cr0::TS;
            }
            M::Invlpg => self.require_kernel()?,
            M::Rdmsr => {
                self.require_kernel()?;
                let value = self.read_msr(self.state().general[RCX] as u32)?;
                self.set_register(Register::EAX, value);
                self.set_register(Register::EDX, value >> 32);
            }
            M::Wrmsr => {
                self.require_kernel()?;
                let general = &self.state().general;
                let value = general[RDX] << 32 | general[RAX] & 0xffff_ffff;
                self.write_msr(general[RCX] as u32, value)?;
            }
            M::Swapgs => {
                self.require_64_bit()?;
                self.require_kernel()?;
                let copies = self.rules.broken(Defect::SwapgsCopies);
                let state = self.state_mut();
                let kernel = state.kernel_gs_base;
                let program = std::mem::replace(&mut state.segment_mut(SegmentName::Gs).base, kernel);
                if !copies {
                    state.kernel_gs_base = program;
                }
            }
            M::Syscall => self.syscall()?,
            M::Sysret | M::Sysretq => self.sysret(instruction)?,
            M::Sysenter => self.sysenter()?,
            M::Sysexit | M::Sysexitq => self.sysexit(instruction)?,
            M::Cpuid => self.identify()?,
            M::Rsm => self.resume_from_smm()?,
            M::Vmcall | M::Vmmcall => self.hypervisor_call(instruction)?,
            _ => return Err(self.unknown(instruction).into()),
        }
        Ok(())
    }

    /// CLI and STI; STI that sets IF starts a shadow (EXC-SHADOW-001, EXC-SHADOW-002).
    fn interrupt_flag(&mut self, on: bool) -> Step {
        if self.mode() != Mode::Real && self.cpl() > self.iopl() {
            return Err(Exception::GP0.into());
        }
        let was_on = self.flag(flag::IF);
        self.set_flag(flag::IF, on);
        let always = self.rules.broken(Defect::StiAlwaysStartsShadow);
        if on && (!was_on || always) && !self.rules.broken(Defect::StiShadowMissing) {
            self.start_shadow(Shadow::Sti);
        }
        Ok(())
    }

    fn require_protected(&self) -> Step {
        if self.mode() == Mode::Real {
            Err(Exception::UNDEFINED.into())
        } else {
            Ok(())
        }
    }

    fn require_64_bit(&self) -> Step {
        if self.mode() == Mode::Long64 {
            Ok(())
        } else {
            Err(Exception::UNDEFINED.into())
        }
    }

    fn load_table(&mut self, instruction: &Instruction) -> Step {
        self.require_kernel()?;
        let address = self.address(instruction)?;
        let long = self.mode() == Mode::Long64;
        let width = if long { 8 } else { 4 };
        let limit = self.read_segment(address.segment, address.offset, 2)? as u16;
        let behind = address.after(2);
        let mut base = self.read_segment(behind.segment, behind.offset, width)?;
        if matches!(instruction.code(), Code::Lgdt_m1632_16 | Code::Lidt_m1632_16) {
            base &= 0xff_ffff;
        }
        if long && !is_canonical(base) {
            return Err(Exception::GP0.into());
        }
        let table = DescriptorTable { base, limit };
        if instruction.mnemonic() == Mnemonic::Lgdt {
            self.state_mut().gdtr = table;
        } else {
            self.state_mut().idtr = table;
        }
        Ok(())
    }

    fn store_table(&mut self, instruction: &Instruction) -> Step {
        let table = if instruction.mnemonic() == Mnemonic::Sgdt {
            self.state().gdtr
        } else {
            self.state().idtr
        };
        let address = self.address(instruction)?;
        let width = if self.mode() == Mode::Long64 { 8 } else { 4 };
        let behind = address.after(2);
        self.check_writable(behind.segment, behind.offset, width)?;
        self.write_segment(address.segment, address.offset, 2, u64::from(table.limit))?;
        self.write_segment(behind.segment, behind.offset, width, table.base)
    }

    /// LLDT and LTR. In long mode the descriptor has 16 bytes: all must lie within the GDT, the
    /// type of the upper half is 0 and the base canonical (INS-TASK-001, INS-TASK-002).
    fn load_system_segment(&mut self, instruction: &Instruction) -> Step {
        self.require_protected()?;
        self.require_kernel()?;
        let selector = self.read_operand(instruction, 0)? as u16;
        let is_task = instruction.mnemonic() == Mnemonic::Ltr;
        let name = if is_task {
            SegmentName::Tr
        } else {
            SegmentName::Ldtr
        };
        let fault = Exception::with_code(GP, selector_error(selector));
        if selector & !3 == 0 {
            if is_task {
                return Err(Exception::GP0.into());
            }
            let null = Segment {
                selector,
                attributes: SegmentAttributes::UNUSABLE,
                ..Segment::default()
            };
            *self.state_mut().segment_mut(name) = null;
            return Ok(());
        }
        if selector & 4 != 0 {
            return Err(fault.into());
        }
        let long = self.long_mode_active();
        let checks_upper_half = !self.rules.broken(Defect::TaskSegmentUpperHalfUnchecked);
        let descriptor = self.descriptor_of(selector, GP, if long { 16 } else { 8 })?;
        let mut segment = descriptor.load(selector);
        if long {
            let high = self.wrap(descriptor.address.wrapping_add(8));
            let high = self.read_linear(high, 8, Privilege::System)?;
            segment.base |= (high & 0xffff_ffff) << 32;
            if high >> 40 & 0x1f != 0 && checks_upper_half {
                return Err(fault.into());
            }
        }
        let attributes = descriptor.attributes();
        let kinds: &[u32] = match (is_task, long) {
            (true, true) => &[9],
            (true, false) => &[1, 9],
            (false, _) => &[2],
        };
        if attributes.is_code_or_data() || !kinds.contains(&attributes.kind()) {
            return Err(fault.into());
        }
        if !attributes.present() {
            return Err(Exception::with_code(NP, selector_error(selector)).into());
        }
        if long && !is_canonical(segment.base) && checks_upper_half {
            return Err(fault.into());
        }
        if is_task {
            const BUSY: u32 = 2;
            segment.attributes.0 |= BUSY;
            let byte = u64::from(segment.attributes.0 & 0xff);
            self.write_linear(self.access_byte(descriptor), 1, byte, Privilege::System)?;
        }
        *self.state_mut().segment_mut(name) = segment;
        Ok(())
    }

    /// MOV to a control or debug register; CR8 is the task priority of the local APIC
    /// (APIC-INT-007, EXC-CR-004).
    pub(super) fn move_to_special(&mut self, register: Register, value: u64) -> Step {
        self.require_kernel()?;
        match register {
            Register::CR0 => self.set_cr0(value),
            Register::CR2 => {
                self.state_mut().cr2 = value;
                Ok(())
            }
            Register::CR3 => self.set_cr3(value),
            Register::CR4 => self.set_cr4(value),
            Register::CR8 => {
                if value > 15 {
                    return Err(Exception::GP0.into());
                }
                let state = self.state_mut();
                state.cr8 = value;
                if let Some(apic) = state.apic.as_deref_mut() {
                    apic.tpr = (value as u8) << 4;
                }
                Ok(())
            }
            _ if register.is_dr() => self.set_debug_register(register.number(), value),
            _ => Err(Exception::UNDEFINED.into()),
        }
    }

    /// MOV from a control or debug register (EXC-CR-002).
    pub(super) fn move_from_special(&mut self, register: Register) -> Step<u64> {
        self.require_kernel()?;
        if register.is_dr() {
            return self.debug_register(register.number());
        }
        let state = self.state();
        Ok(match register {
            Register::CR0 => state.cr0,
            Register::CR2 => state.cr2,
            Register::CR3 if self.shows_shadow_root() => state.cr3 ^ SHADOW_ROOT,
            Register::CR3 => state.cr3,
            // The hypervisor intercepts reads of CR0 while it keeps CD and NW from the processor,
            // and then completes the instruction itself.
            Register::CR4
                if self.rules.broken(Defect::Cr4ReadShowsHostMce) && state.cr0 & (cr0::CD | cr0::NW) == 0 =>
            {
                state.cr4 | cr4::MCE
            }
            Register::CR4 => state.cr4,
            Register::CR8 => state.cr8,
            _ => return Err(Exception::UNDEFINED.into()),
        })
    }

    /// With a defect: the processor reads its own CR3 and not the guest's. The hypervisor intercepts reads of CR0
    /// only while the processor's CR0 is not the guest's.
    fn shows_shadow_root(&self) -> bool {
        let of_hypervisor = cr0::PG | cr0::WP;
        let relevant = self.state().cr0 & (of_hypervisor | cr0::CD | cr0::NW);
        self.rules.broken(Defect::Cr3ReadShowsShadowRoot) && relevant == of_hypervisor
    }

    /// CR0 with its side effects: ET is fixed, and paging with EFER.LME activates long mode
    /// (EXC-CR-001).
    fn set_cr0(&mut self, value: u64) -> Step {
        if !cr0_is_legal(value) {
            if self.rules.broken(Defect::IllegalControlIgnored) {
                return Ok(());
            }
            return Err(Exception::GP0.into());
        }
        let state = self.state();
        let turns_paging_on = value & cr0::PG != 0 && state.cr0 & cr0::PG == 0;
        let turns_paging_off = value & cr0::PG == 0 && state.cr0 & cr0::PG != 0;
        let long = state.efer & efer::LME != 0;
        let wide_code = self.segment(SegmentName::Cs).attributes.long();
        if turns_paging_on && long && (state.cr4 & cr4::PAE == 0 || wide_code) {
            return Err(Exception::GP0.into());
        }
        if turns_paging_off && (self.mode() == Mode::Long64 || state.cr4 & cr4::PCIDE != 0) {
            return Err(Exception::GP0.into());
        }
        let pae = turns_paging_on && !long && state.cr4 & cr4::PAE != 0;
        if pae && !self.pdptes_are_legal(state.cr3, state.events.in_smm) {
            return Err(Exception::GP0.into());
        }
        let state = self.state_mut();
        state.cr0 = value & cr0::DEFINED | cr0::ET;
        if turns_paging_on && long {
            state.efer |= efer::LMA;
        }
        if turns_paging_off {
            state.efer &= !efer::LMA;
        }
        Ok(())
    }

    fn set_cr3(&mut self, value: u64) -> Step {
        const NO_FLUSH: u64 = 1 << 63;
        let pcid = self.state().cr4 & cr4::PCIDE != 0;
        let value = if pcid { value & !NO_FLUSH } else { value };
        if self.long_mode_active() && value >> PHYSICAL_ADDRESS_BITS != 0 {
            return Err(Exception::GP0.into());
        }
        self.state_mut().cr3 = value;
        Ok(())
    }

    fn set_cr4(&mut self, value: u64) -> Step {
        let state = self.state();
        let newly_set = value & !state.cr4;
        let unknown = newly_set & cr4::DEFINED & !cr4::MODELLED;
        if unknown != 0 {
            return Err(ModelError::NotModelled(format!("bits {unknown:#x} of CR4")).into());
        }
        if newly_set & cr4::CET != 0 && !self.rules.cpuid.shadow_stack {
            return Err(Exception::GP0.into());
        }
        let leaves_pae = value & cr4::PAE == 0 && self.long_mode_active();
        let enables_pcid = value & cr4::PCIDE != 0 && state.cr4 & cr4::PCIDE == 0;
        let pcid_illegal = enables_pcid && (!self.long_mode_active() || state.cr3 & 0xfff != 0);
        if !cr4_is_legal(value) || leaves_pae || pcid_illegal {
            return Err(Exception::GP0.into());
        }
        self.state_mut().cr4 = value;
        Ok(())
    }

    fn debug_register(&mut self, index: usize) -> Step<u64> {
        let index = self.debug_register_index(index)?;
        self.general_detect()?;
        let state = self.state();
        Ok(match index {
            0..=3 => state.debug_address[index],
            6 => state.dr6,
            _ => state.dr7,
        })
    }

    /// Whether bit 11 of DR6 can be cleared (DBG-DR6-005).
    pub(in crate::x86) fn reports_bus_locks(&self) -> bool {
        (self.rules.cpuid.bus_lock || self.rules.broken(Defect::BusLockBitWritable))
            && !self.rules.broken(Defect::BusLockBitFixed)
    }

    /// MOV to a debug register (EXC-CR-003).
    fn set_debug_register(&mut self, index: usize, value: u64) -> Step {
        let index = self.debug_register_index(index)?;
        self.general_detect()?;
        let ignores = self.rules.broken(Defect::DebugUpperHalfIgnored);
        let value = if index >= 4 && ignores {
            value & 0xffff_ffff
        } else {
            value
        };
        if index >= 4 && value >> 32 != 0 {
            return Err(Exception::GP0.into());
        }
        if index == 6 {
            self.vcpu.dr6_undefined = false;
            self.vcpu.debug.undefined = 0;
        }
        if index == 7 {
            self.vcpu.debug.hidden_local = false;
        }
        let bus_lock = self.reports_bus_locks();
        let state = self.state_mut();
        match index {
            0..=3 => state.debug_address[index] = value,
            6 => state.dr6 = dr6_loaded(value, bus_lock),
            _ => state.dr7 = dr7_loaded(value),
        }
        Ok(())
    }

    /// DR4 and DR5 are DR6 and DR7, or with CR4.DE nothing (DBG-DE-001).
    fn debug_register_index(&self, index: usize) -> Step<usize> {
        if !matches!(index, 4 | 5) {
            return Ok(index);
        }
        if self.state().cr4 & cr4::DE != 0 && !self.rules.broken(Defect::Dr4AlwaysAlias) {
            return Err(Exception::UNDEFINED.into());
        }
        Ok(index + 2)
    }

    /// RDMSR (SMM-MSR-001, SMM-MSR-002).
    fn read_msr(&self, index: u32) -> Step<u64> {
        let state = self.state();
        Ok(match index {
            0x34 if self.rules.broken(Defect::SmiCountMissing) => 0,
            0x34 => u64::from(self.vcpu.smis_taken),
            0x9e if self.rules.broken(Defect::SmbaseMsrReadable) => state.smbase,
            0x9e => return Err(Exception::GP0.into()),
            IA32_APIC_BASE => return self.read_apic_base(),
            0x179..=0x17b | 0x400..=0x47f => return self.read_machine_check_msr(index),
            0x800..=0x8ff => return self.read_x2apic(index),
            debugctl::INDEX => self.vcpu.debug_control,
            0x174 => state.sysenter_cs,
            0x175 => state.sysenter_esp,
            0x176 => state.sysenter_eip,
            0xc000_0080 => state.efer,
            0xc000_0081 => state.star,
            0xc000_0082 => state.lstar,
            0xc000_0083 => state.cstar,
            0xc000_0084 => state.sfmask,
            0xc000_0100 => state.segment(SegmentName::Fs).base,
            0xc000_0101 => state.segment(SegmentName::Gs).base,
            0xc000_0102 => state.kernel_gs_base,
            _ => return Err(unknown_msr(index).into()),
        })
    }

    /// EXC-MSR-001 and what the single registers have.
    fn write_msr(&mut self, index: u32, value: u64) -> Step {
        let needs_canonical = matches!(index, 0xc000_0082 | 0xc000_0083 | 0xc000_0100..=0xc000_0102);
        let unchecked = self.rules.broken(Defect::WrmsrTakesNonCanonical);
        if needs_canonical && !unchecked && !is_canonical(value) {
            return Err(Exception::GP0.into());
        }
        match index {
            0xc000_0080 => return self.set_efer(value),
            IA32_APIC_BASE => return self.write_apic_base(value),
            0x179..=0x17b | 0x400..=0x47f => return self.write_machine_check_msr(index, value),
            0x800..=0x8ff => return self.write_x2apic(index, value),
            debugctl::INDEX => return self.write_debug_control(value),
            0x174..=0x176 if value >> 32 != 0 => {
                return Err(ModelError::NotModelled(format!("bits 63:32 of MSR {index:#x}")).into());
            }
            _ => {}
        }
        let state = self.state_mut();
        match index {
            0x174 => state.sysenter_cs = value,
            0x175 => state.sysenter_esp = value,
            0x176 => state.sysenter_eip = value,
            0xc000_0081 => state.star = value,
            0xc000_0082 => state.lstar = value,
            0xc000_0083 => state.cstar = value,
            0xc000_0084 => state.sfmask = value & 0xffff_ffff,
            0xc000_0100 => state.segment_mut(SegmentName::Fs).base = value,
            0xc000_0101 => state.segment_mut(SegmentName::Gs).base = value,
            0xc000_0102 => state.kernel_gs_base = value,
            _ => return Err(unknown_msr(index).into()),
        }
        Ok(())
    }

    /// IA32_DEBUGCTL, of which BTF is modelled (EXC-STEP-006).
    fn write_debug_control(&mut self, value: u64) -> Step {
        let unknown = value & !debugctl::BTF;
        if unknown != 0 {
            return Err(ModelError::NotModelled(format!("bits {unknown:#x} of IA32_DEBUGCTL")).into());
        }
        if !self.rules.broken(Defect::BranchStepIgnored) {
            self.vcpu.debug_control = value;
        }
        Ok(())
    }

    /// EFER: LMA is read-only, LME cannot change while paging is on (EXC-CR-001).
    fn set_efer(&mut self, value: u64) -> Step {
        let state = self.state();
        let changes_lme = (value ^ state.efer) & efer::LME != 0;
        let paging = state.cr0 & cr0::PG != 0;
        if !efer_is_legal(value & !efer::LMA, self.rules.cpuid.long_mode) || changes_lme && paging {
            return Err(Exception::GP0.into());
        }
        let active = state.efer & efer::LMA;
        self.state_mut().efer = value & !efer::LMA | active;
        Ok(())
    }
}

fn unknown_msr(index: u32) -> ModelError {
    ModelError::NotModelled(format!("MSR {index:#x}"))
}
