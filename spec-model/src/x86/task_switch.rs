//! Task switches by the processor, between 32-bit task-state segments (SDM vol. 3A, "Task Switching"; APM
//! vol. 2, 12.3).
//!
//! Left out are 16-bit task-state segments, tasks in virtual-8086 mode, TF before or behind a switch, and
//! whatever faults in the context of the new task, which no two manuals describe alike.

use super::control::{cr0, cr4, flag};
use super::debug::{dr6, dr7};
use super::exception::{
    DB, DF, Event, Exception, GP, Interruption, MC, NMI, NP, Source, Step, TS, has_error_code,
};
use super::paging::{Privilege, Purpose};
use super::processor::{Activity, Mode, Processor};
use super::segment::{Segment, SegmentAttributes, SegmentName};
use super::segmentation::{Descriptor, selector_error};
use crate::defect::Defect;
use crate::error::ModelError;
use crate::profile::Choice;
use crate::requirement::TASK_SAVE_002;

/// Types of system descriptors.
const TASK_GATE: u32 = 5;
const AVAILABLE_16: u32 = 1;
const AVAILABLE: u32 = 9;
/// The bit of the type that marks a task as busy.
const BUSY: u32 = 2;

/// Offsets in a task-state segment, in bytes.
mod field {
    /// Selector of the task to return to.
    pub const LINK: u64 = 0;
    pub const CR3: u64 = 0x1c;
    pub const EIP: u64 = 0x20;
    pub const EFLAGS: u64 = 0x24;
    /// EAX, followed by the others in the order of their numbers.
    pub const EAX: u64 = 0x28;
    /// ES, followed by CS, SS, DS, FS and GS.
    pub const ES: u64 = 0x48;
    pub const LDT: u64 = 0x60;
    /// T in bit 0.
    pub const TRAP: u64 = 0x64;
    /// The last byte of what a processor reads.
    pub const LAST: u32 = 0x67;
}

/// What makes a processor switch tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// An exception, an interrupt or INT n.
    Event(Event),
    /// A far CALL.
    Call,
    /// A far JMP.
    Jump,
    /// IRET with NT set.
    Return,
}

impl Reason {
    /// Whether the new task returns to the old one.
    const fn nests(self) -> bool {
        matches!(self, Self::Event(_) | Self::Call)
    }
}

/// A task that can be switched to.
#[derive(Clone, Copy, Debug)]
struct Task {
    selector: u16,
    descriptor: Descriptor,
}

/// What a task-state segment holds of a task that does not run.
struct TaskState {
    cr3: u64,
    rip: u64,
    flags: u64,
    general: [u64; 8],
    segments: [u16; 6],
    ldt: u16,
    trap: bool,
}

/// RF in the flags that are saved when a fault is delivered through a task gate (TASK-SAVE-002).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SavedResumeFlag {
    AsItWas,
    Set,
}

const SAVED_RESUME_FLAG: Choice<SavedResumeFlag> =
    Choice::AnyOf(&[SavedResumeFlag::AsItWas, SavedResumeFlag::Set]);

impl Processor<'_, '_> {
    /// Delivers an event through a task gate with this selector (TASK-GATE-001). The error code is pushed on the
    /// stack of the new task (TASK-GATE-002).
    ///
    /// # Errors
    /// #GP, #NP or #TS with the selector, or #PF.
    pub(super) fn deliver_to_task(&mut self, selector: u16, event: Event) -> Step {
        let reason = Reason::Event(event);
        let task = self.task(selector, reason)?;
        self.switch_task(task, reason)?;
        let has_code = has_error_code(event.vector) && event.source == Source::Hardware;
        let pushes =
            self.vcpu.activity != Activity::Looping && !self.rules.broken(Defect::TaskErrorCodeMissing);
        if has_code && pushes {
            let code = u64::from(event.error_code.unwrap_or(0));
            self.push(code, 4).map_err(in_new_task)?;
        }
        Ok(())
    }

    /// IRET with NT set returns to the task in the link field of the current one (TASK-LINK-002).
    ///
    /// # Errors
    /// #TS or #NP with the selector in that field, or #PF.
    pub(super) fn return_to_task(&mut self) -> Step {
        let link = self.segment(SegmentName::Tr).base.wrapping_add(field::LINK);
        let selector = self.read_linear(self.wrap(link), 2, Privilege::System)? as u16;
        let task = self.task(selector, Reason::Return)?;
        self.switch_task(task, Reason::Return)
    }

    /// A far CALL or JMP to a task-state segment or through a task gate (TASK-CALL-001). False if the selector
    /// leads elsewhere.
    ///
    /// # Errors
    /// #GP, #NP or #TS with the selector that is wrong, or #PF.
    pub(super) fn transfer_to_task(&mut self, selector: u16, calls: bool) -> Step<bool> {
        if self.mode() != Mode::Protected || self.long_mode_active() || selector & !3 == 0 {
            return Ok(false);
        }
        let descriptor = self.descriptor(selector, GP)?;
        let attributes = descriptor.attributes();
        let kind = attributes.kind() & !BUSY;
        let is_task = attributes.kind() == TASK_GATE || matches!(kind, AVAILABLE | AVAILABLE_16);
        if attributes.is_code_or_data() || !is_task {
            return Ok(false);
        }
        let privilege = self.cpl().max((selector & 3) as u8);
        if attributes.dpl() < privilege || self.rules.broken(Defect::TaskTransferRefused) {
            return Err(Exception::with_code(GP, selector_error(selector)).into());
        }
        let reason = if calls { Reason::Call } else { Reason::Jump };
        let target = if attributes.kind() == TASK_GATE {
            if !attributes.present() {
                return Err(Exception::with_code(NP, selector_error(selector)).into());
            }
            (descriptor.raw >> 16) as u16
        } else {
            selector
        };
        let task = self.task(target, reason)?;
        self.switch_task(task, reason)?;
        Ok(true)
    }

    /// The task of a selector after the checks before a switch (TASK-CHECK-001 to TASK-CHECK-003).
    fn task(&mut self, selector: u16, reason: Reason) -> Step<Task> {
        let vector = if reason == Reason::Return { TS } else { GP };
        let wrong = Exception::with_code(vector, selector_error(selector));
        if selector & 4 != 0 {
            return Err(wrong.into());
        }
        let descriptor = self.descriptor(selector, vector)?;
        let attributes = descriptor.attributes();
        let kind = attributes.kind() & !BUSY;
        let is_busy = attributes.kind() & BUSY != 0;
        let wants_busy = reason == Reason::Return;
        let is_task = !attributes.is_code_or_data() && matches!(kind, AVAILABLE | AVAILABLE_16);
        if !is_task || is_busy != wants_busy && !self.rules.broken(Defect::BusyTaskUnchecked) {
            return Err(wrong.into());
        }
        if !attributes.present() {
            let other = self.rules.broken(Defect::AbsentTaskIsTs);
            let vector = if other { TS } else { NP };
            return Err(Exception::with_code(vector, selector_error(selector)).into());
        }
        if kind == AVAILABLE_16 {
            return Err(not_modelled("a 16-bit task-state segment"));
        }
        if descriptor.limit() < field::LAST {
            let other = self.rules.broken(Defect::ShortTaskIsGp);
            let vector = if other { GP } else { TS };
            return Err(Exception::with_code(vector, selector_error(selector)).into());
        }
        Ok(Task { selector, descriptor })
    }

    /// Saves the old task and loads the new one.
    fn switch_task(&mut self, task: Task, reason: Reason) -> Step {
        let old = *self.segment(SegmentName::Tr);
        if old.attributes.kind() & !BUSY != AVAILABLE || old.limit < field::LAST {
            return Err(not_modelled("the old task-state segment is short or has 16 bits"));
        }
        let new_base = task.descriptor.base();
        let state = self.task_state(new_base)?;
        self.require_modelled(&state, reason)?;
        let old_descriptor = self.descriptor(old.selector, TS)?;
        for (address, length) in [
            (
                old.base.wrapping_add(field::EIP),
                (field::LDT - field::EIP) as usize,
            ),
            (new_base.wrapping_add(field::LINK), 2),
            (old_descriptor.address, 8),
            (task.descriptor.address, 8),
        ] {
            let address = self.wrap(address);
            self.translate_all_as(address, length, Purpose::Write, Privilege::System)?;
        }
        self.save_task(old.base, reason)?;
        self.mark_tasks(&task, old_descriptor, reason)?;
        if reason.nests() && !self.rules.broken(Defect::TaskLinkMissing) {
            let link = self.wrap(new_base.wrapping_add(field::LINK));
            self.write_linear(link, 2, u64::from(old.selector), Privilege::System)?;
        }
        self.load_task(&task, &state, reason)?;
        if self.rules.broken(Defect::TaskSwitchLosesShadowRoot) {
            // The hypervisor walks the tables for the first fetch, and comes no further.
            let _ = self.translate_all_as(self.state().rip, 1, Purpose::Fetch, Privilege::Program);
            self.vcpu.activity = Activity::Looping;
        }
        Ok(())
    }

    /// The new task-state segment, all of which must be in memory.
    fn task_state(&mut self, base: u64) -> Step<TaskState> {
        let read = |processor: &mut Self, offset: u64, width: usize| {
            let address = processor.wrap(base.wrapping_add(offset));
            processor.read_linear(address, width, Privilege::System)
        };
        let mut general = [0; 8];
        for (offset, register) in (field::EAX..).step_by(4).zip(&mut general) {
            *register = read(self, offset, 4)?;
        }
        let mut segments = [0; 6];
        for (offset, selector) in (field::ES..).step_by(4).zip(&mut segments) {
            *selector = read(self, offset, 2)? as u16;
        }
        Ok(TaskState {
            cr3: read(self, field::CR3, 4)?,
            rip: read(self, field::EIP, 4)?,
            flags: read(self, field::EFLAGS, 4)?,
            general,
            segments,
            ldt: read(self, field::LDT, 2)? as u16,
            trap: read(self, field::TRAP, 1)? & 1 != 0,
        })
    }

    fn require_modelled(&self, state: &TaskState, reason: Reason) -> Step {
        let by_hardware = matches!(reason, Reason::Event(event) if event.source == Source::Hardware);
        if state.flags & flag::VM != 0 {
            return Err(not_modelled("a task in virtual-8086 mode"));
        }
        if (state.flags | self.state().rflags) & flag::TF != 0 {
            return Err(not_modelled("TF before or behind a task switch"));
        }
        if state.flags & flag::RF != 0 && !by_hardware && reason != Reason::Return {
            return Err(not_modelled("RF behind a task switch"));
        }
        let control = self.state();
        let pae = control.cr0 & cr0::PG != 0 && control.cr4 & cr4::PAE != 0;
        if pae && !self.pdptes_are_legal(state.cr3, control.events.in_smm) {
            return Err(not_modelled(
                "CR3 of a new task with illegal page-directory-pointer entries",
            ));
        }
        Ok(())
    }

    /// Saves what a task needs to go on: not CR3 and LDTR, which stay in the task-state segment as they are
    /// (TASK-SAVE-001).
    fn save_task(&mut self, base: u64, reason: Reason) -> Step {
        if self.rules.broken(Defect::TaskNotSaved) {
            return Ok(());
        }
        let mut flags = self.state().rflags;
        if reason == Reason::Return {
            flags &= !flag::NT;
        }
        let is_fault = matches!(reason, Reason::Event(event)
            if event.source == Source::Hardware && event.vector < 32 && !matches!(event.vector, NMI | DB | DF | MC));
        if is_fault
            && flags & flag::RF == 0
            && self.rules.choices.settle(SAVED_RESUME_FLAG, &TASK_SAVE_002) == SavedResumeFlag::Set
        {
            flags |= flag::RF;
        }
        let rip = self.state().rip;
        let mut saved = vec![(field::EIP, 4, rip), (field::EFLAGS, 4, flags)];
        saved.extend(
            (field::EAX..)
                .step_by(4)
                .zip(&self.state().general[..8])
                .map(|(offset, value)| (offset, 4, *value)),
        );
        saved.extend(
            (field::ES..)
                .step_by(4)
                .zip(SegmentName::LOADABLE)
                .map(|(offset, name)| (offset, 2, u64::from(self.segment(name).selector))),
        );
        for (offset, width, value) in saved {
            let address = self.wrap(base.wrapping_add(offset));
            self.write_linear(address, width, value, Privilege::System)?;
        }
        Ok(())
    }

    /// A task is busy while it runs and while another one will return to it (TASK-BUSY-001).
    fn mark_tasks(&mut self, task: &Task, old: Descriptor, reason: Reason) -> Step {
        let stays_busy = self.rules.broken(Defect::LeftTaskStaysBusy);
        if !reason.nests() && !stays_busy {
            let byte = u64::from(old.attributes().0 & !BUSY & 0xff);
            self.write_linear(self.access_byte(old), 1, byte, Privilege::System)?;
        }
        let stays_available = self.rules.broken(Defect::NewTaskStaysAvailable);
        if reason != Reason::Return && !stays_available {
            let byte = u64::from((task.descriptor.attributes().0 | BUSY) & 0xff);
            self.write_linear(self.access_byte(task.descriptor), 1, byte, Privilege::System)?;
        }
        Ok(())
    }

    /// Loads the new task (TASK-LOAD-001 to TASK-LOAD-003, TASK-LINK-001, TASK-DEBUG-001, TASK-DEBUG-002).
    fn load_task(&mut self, task: &Task, new: &TaskState, reason: Reason) -> Step {
        const LOADED: u64 = flag::ARITHMETIC
            | flag::IF
            | flag::DF
            | flag::IOPL
            | flag::NT
            | flag::RF
            | flag::AC
            | flag::ID
            | flag::VIF_VIP;
        let nested = reason.nests() && !self.rules.broken(Defect::NestedTaskFlagMissing);
        let keeps_general = self.rules.broken(Defect::TaskSwitchKeepsRegisters);
        let marks_switch = !self.rules.broken(Defect::TaskSwitchUnmarked);
        let keeps_local = self.rules.broken(Defect::TaskSwitchKeepsBreakpoints);
        let hides_local = self.rules.broken(Defect::TaskSwitchHidesBreakpoints);
        self.vcpu.debug.hidden_local = hides_local && self.state().dr7 & dr7::LOCAL != 0;
        let loads_cr3 = self.rules.broken(Defect::TaskSwitchAlwaysLoadsCr3);
        let mut segment = task.descriptor.load(task.selector);
        segment.attributes.0 |= BUSY;
        let state = self.state_mut();
        *state.segment_mut(SegmentName::Tr) = segment;
        if marks_switch {
            state.cr0 |= cr0::TS;
        }
        if state.cr0 & cr0::PG != 0 || loads_cr3 {
            state.cr3 = new.cr3;
        }
        if !keeps_local && !hides_local {
            state.dr7 &= !dr7::LOCAL;
        }
        if !keeps_general {
            state.general[..8].copy_from_slice(&new.general);
        }
        state.rip = new.rip;
        let link = if nested { flag::NT } else { 0 };
        self.load_flags(new.flags & LOADED | link);
        self.load_task_segments(new).map_err(in_new_task)?;
        let trap = new.trap && !self.rules.broken(Defect::TaskTrapIgnored);
        if trap {
            self.vcpu.debug.trap |= dr6::BT;
        }
        self.vcpu.debug.met = 0;
        Ok(())
    }

    /// LDTR and the six segment registers. CPL is the RPL of CS.
    fn load_task_segments(&mut self, new: &TaskState) -> Step {
        let ldt = self.local_table(new.ldt)?;
        *self.state_mut().segment_mut(SegmentName::Ldtr) = ldt;
        let [es, cs, ss, ds, fs, gs] = new.segments;
        let cpl = (cs & 3) as u8;
        let stack = self.stack_segment(ss, cpl, TS)?;
        *self.state_mut().segment_mut(SegmentName::Ss) = stack;
        let code = self.task_code(cs)?;
        if new.rip > u64::from(code.limit) {
            return Err(Exception::GP0.into());
        }
        *self.state_mut().segment_mut(SegmentName::Cs) = code;
        for (name, selector) in [
            (SegmentName::Es, es),
            (SegmentName::Ds, ds),
            (SegmentName::Fs, fs),
            (SegmentName::Gs, gs),
        ] {
            self.load_data_segment(name, selector)?;
        }
        Ok(())
    }

    fn local_table(&mut self, selector: u16) -> Step<Segment> {
        const LOCAL_TABLE: u32 = 2;
        if selector & !3 == 0 {
            return Ok(Segment {
                selector,
                attributes: SegmentAttributes::UNUSABLE,
                ..Segment::default()
            });
        }
        let wrong = Exception::with_code(TS, selector_error(selector));
        if selector & 4 != 0 {
            return Err(wrong.into());
        }
        let descriptor = self.descriptor(selector, TS)?;
        let attributes = descriptor.attributes();
        let is_table = !attributes.is_code_or_data() && attributes.kind() == LOCAL_TABLE;
        if !is_table || !attributes.present() {
            return Err(wrong.into());
        }
        Ok(descriptor.load(selector))
    }

    fn task_code(&mut self, selector: u16) -> Step<Segment> {
        const CONFORMING: u32 = 4;
        let wrong = Exception::with_code(TS, selector_error(selector));
        if selector & !3 == 0 {
            return Err(wrong.into());
        }
        let descriptor = self.descriptor(selector, TS)?;
        let attributes = descriptor.attributes();
        let rpl = (selector & 3) as u8;
        let privileged = if attributes.kind() & CONFORMING != 0 {
            attributes.dpl() <= rpl
        } else {
            attributes.dpl() == rpl
        };
        if !attributes.is_code() || !privileged {
            return Err(wrong.into());
        }
        if !attributes.present() {
            return Err(Exception::with_code(NP, selector_error(selector)).into());
        }
        Ok(self.mark_accessed(descriptor)?.load(selector))
    }
}

fn not_modelled(what: &str) -> Interruption {
    ModelError::NotModelled(what.to_owned()).into()
}

/// A fault behind the point from which it belongs to the new task.
fn in_new_task(fault: Interruption) -> Interruption {
    match fault {
        Interruption::Exception(_) => {
            not_modelled("a task switch that faults in the context of the new task")
        }
        Interruption::Model(_) => fault,
    }
}
