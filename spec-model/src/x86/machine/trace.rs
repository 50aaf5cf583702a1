//! What a run looks like from close up: instructions and events in their order.

use iced_x86::{Formatter, Instruction, NasmFormatter};

use super::Machine;
use crate::chipset::register::Register;
use crate::x86::exception::Exception;
use crate::x86::segment::SegmentName;

/// One line of a trace: an instruction about to execute, or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// The processor.
    pub vcpu: u8,
    /// Number of observations made before it.
    pub observation: usize,
    /// Linear address of the instruction, or of the next one for an event.
    pub address: u64,
    /// Whether it is an event rather than an instruction.
    pub is_event: bool,
    /// Disassembly, or what happened.
    pub text: String,
}

/// What an instruction may change that a reader of events wants to know.
pub(super) struct Notable {
    in_smm: bool,
    cr3: u64,
    /// The registers of the chipset.
    chipset: Vec<u16>,
}

impl Machine<'_> {
    /// Notes an event, if somebody wants a trace.
    pub(in crate::x86) fn note_event(&mut self, index: usize, text: impl FnOnce() -> String) {
        self.note(index, true, text);
    }

    pub(super) fn note(&mut self, index: usize, is_event: bool, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let state = &self.state.vcpus[index].state;
            let base = state.segment(SegmentName::Cs).base;
            trace.push(TraceLine {
                vcpu: index as u8,
                observation: self.state.observed,
                address: base.wrapping_add(state.rip),
                is_event,
                text: text(),
            });
        }
    }

    /// What there is before an instruction; nothing if nobody wants a trace.
    pub(super) fn notable(&self, index: usize) -> Option<Notable> {
        self.trace.as_ref()?;
        let state = &self.state.vcpus[index].state;
        Some(Notable {
            in_smm: state.events.in_smm,
            cr3: state.cr3,
            chipset: self.chipset_registers(),
        })
    }

    /// Notes what the instruction has changed.
    pub(super) fn note_changes(&mut self, index: usize, before: Option<Notable>) {
        let Some(before) = before else { return };
        let state = &self.state.vcpus[index].state;
        let (smbase, cr3) = (state.smbase, state.cr3);
        if before.in_smm && !state.events.in_smm {
            self.note_event(index, || format!("leaves SMM, SMBASE {smbase:#x}"));
            self.note_event(index, || format!("CR3 is {cr3:#x}"));
        } else if before.cr3 != cr3 {
            self.note_event(index, || format!("CR3 := {cr3:#x}"));
        }
        let now = self.chipset_registers();
        for ((register, old), new) in Register::ALL.iter().zip(before.chipset).zip(now) {
            if old != new {
                self.note_event(index, || format!("chipset: {} := {new:#x}", register.name()));
            }
        }
    }

    fn chipset_registers(&self) -> Vec<u16> {
        let bridge = self.state.memory.bridge();
        bridge.map_or_else(Vec::new, |bridge| {
            Register::ALL
                .iter()
                .map(|register| bridge.read(*register))
                .collect()
        })
    }
}

pub(super) fn disassemble(instruction: &Instruction) -> String {
    let mut text = String::new();
    NasmFormatter::new().format(instruction, &mut text);
    text
}

pub(super) fn describe(exception: Exception) -> String {
    match exception.error_code {
        Some(code) => format!("exception {}, code {code:#x}", exception.vector),
        None => format!("exception {}", exception.vector),
    }
}
