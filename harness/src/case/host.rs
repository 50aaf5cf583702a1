//! Host events of a case.

use spec_model::chipset::register::Register;
use spec_model::scenario::{Action, HostEvent, Point, PointId, PointKind};
use spec_model::x86::field::Field;
use spec_model::x86::save_area::Layout;
use spec_model::x86::state::Shadow;

use super::chipset;
use super::declared::{Known, unknown_point};
use super::document::Located;
use super::mistake::suggest;
use super::raise::Raise;
use super::resolve::Resolver;
use super::syntax::{HostEntry, ShadowName, Step};
use super::value::{Names, SaveAreaRows};

/// What the points of a case are.
pub(super) struct Points<'p> {
    pub(super) points: &'p [Point],
    /// Names of all points, also if the code has mistakes.
    pub(super) names: &'p Known,
}

impl Points<'_> {
    /// The point of a name, reported if there is none.
    fn find(&self, name: &Located<String>, resolver: &mut Resolver<'_>) -> Option<PointId> {
        if !self.names.admits(&name.value) {
            let (what, remedy) = unknown_point(&name.value, &self.names.names, "its points");
            resolver.mistakes.add(name.at, what, remedy);
        }
        let index = self.points.iter().position(|point| point.name == name.value)?;
        u16::try_from(index).ok().map(PointId)
    }
}

/// All host events, in the order of the file.
pub(super) fn events(
    entries: &[Located<HostEntry>],
    points: &Points<'_>,
    layout: &'static Layout,
    resolver: &mut Resolver<'_>,
) -> Vec<HostEvent> {
    let mut events = Vec::new();
    for entry in entries {
        events.extend(event(entry, points, layout, resolver));
    }
    events
}

fn event(
    entry: &Located<HostEntry>,
    points: &Points<'_>,
    layout: &'static Layout,
    resolver: &mut Resolver<'_>,
) -> Vec<HostEvent> {
    let host = &entry.value;
    let at = points.find(&host.at, resolver);
    if let Some(nth) = host.nth.as_ref().filter(|nth| nth.value == 0) {
        resolver
            .mistakes
            .add(nth.at, "0 is not an occurrence", "count from 1");
    }
    let by = host.by.as_ref().and_then(|by| resolver.vcpu(by));
    let mut steps = vec![host.step()];
    let mut any = host.raise.is_some();
    for step in &host.then {
        let own = &step.value;
        steps.push(Step {
            vcpu: own.vcpu.clone().or_else(|| host.vcpu.clone()),
            save: own.save.clone(),
            set: own.set.clone(),
            write: own.write.clone(),
            smm: own.smm.clone(),
            smram: own.smram.clone(),
            shadow: own.shadow,
            raise: own.raise.clone(),
        });
    }
    let mut planned = Vec::new();
    for step in &steps {
        planned.extend(actions(step, layout, resolver));
        any |= step.acts();
    }
    if !any {
        resolver.mistakes.add(
            entry.at,
            "the host does nothing here",
            "add `do: nmi`, `do: smi`, `set`, `save`, `write`, `smram` or `shadow`",
        );
    }
    let Some(at) = at else { return Vec::new() };
    let occurrence = host.nth.as_ref().map(|nth| nth.value);
    let before_completion = host.moment.is_some();
    check_moment(host, points, resolver);
    let stopped_matters = planned.iter().any(|planned| planned.is_for_stopped());
    let stoppers: Vec<Option<u8>> = match by {
        Some(by) => vec![Some(by)],
        None if stopped_matters && resolver.vcpus > 1 => (0..resolver.vcpus).map(Some).collect(),
        None => vec![None],
    };
    let for_stopper = |by: Option<u8>| HostEvent {
        at,
        occurrence,
        by,
        before_completion,
        actions: planned
            .iter()
            .map(|planned| planned.action(by.unwrap_or(0)))
            .collect(),
    };
    stoppers.into_iter().map(for_stopper).collect()
}

/// While an OUT is outstanding the host raises events for the processor that stopped and does
/// nothing else.
fn check_moment(host: &HostEntry, points: &Points<'_>, resolver: &mut Resolver<'_>) {
    let Some(moment) = &host.moment else { return };
    let is_halt =
        |point: &&Point| point.name == host.at.value && matches!(point.kind, PointKind::Halt { .. });
    if points.points.iter().any(|point| is_halt(&point)) {
        resolver.mistakes.add(
            moment.at,
            format!(
                "`{}` is a HLT, and the host sees it when it is complete",
                host.at.value
            ),
            "raise the event at a sync point, or remove `raise`",
        );
    }
    let own = host.step();
    let others = Step { raise: None, ..own };
    let raised = host.raise.iter().flat_map(|raises| &raises.0);
    let events_only = host.raise.is_some() && raised.clone().all(|raise| *raise != Raise::ChipsetReset);
    if others.acts() || others.vcpu.is_some() || !host.then.is_empty() || !events_only {
        resolver.mistakes.add(
            moment.at,
            "before an OUT is complete the host raises events for the processor that stopped, and nothing else",
            "write `do: nmi`, `smi`, `mc` or a list of them beside it, and other actions in another entry",
        );
    }
}

impl Step {
    fn acts(&self) -> bool {
        self.raise.is_some()
            || self.shadow.is_some()
            || !self.save.entries.0.is_empty()
            || !self.set.entries.0.is_empty()
            || !self.write.0.is_empty()
            || !self.smram.entries.0.is_empty()
    }
}

/// An action, for a processor that is known or for the one that stopped.
struct Planned {
    vcpu: Option<u8>,
    what: What,
}

enum What {
    Raise(Raise),
    Shadow(Shadow),
    Set(String, u64),
    Save(String, u64),
    Write(u64, Vec<u8>, bool),
    Chipset(Register, u16),
}

impl Planned {
    fn is_for_stopped(&self) -> bool {
        self.vcpu.is_none()
            && !matches!(
                self.what,
                What::Write(..) | What::Chipset(..) | What::Raise(Raise::ChipsetReset)
            )
    }

    fn action(&self, stopped: u8) -> Action {
        let vcpu = self.vcpu.unwrap_or(stopped);
        match &self.what {
            What::Raise(Raise::Nmi) => Action::Nmi { vcpu },
            What::Raise(Raise::Smi) => Action::Smi { vcpu },
            What::Raise(Raise::Mc) => Action::MachineCheck { vcpu },
            What::Raise(Raise::ChipsetReset) => Action::ResetChipset,
            What::Chipset(register, value) => Action::WriteChipset {
                register: *register,
                value: *value,
            },
            What::Shadow(shadow) => Action::Shadow {
                vcpu,
                shadow: *shadow,
            },
            What::Set(field, value) => Action::SetField {
                vcpu,
                field: field.clone(),
                value: *value,
            },
            What::Save(field, value) => Action::WriteSaveArea {
                vcpu,
                field: field.clone(),
                value: *value,
            },
            What::Write(address, bytes, smm) => Action::WriteMemory {
                address: *address,
                bytes: bytes.clone(),
                smm: *smm,
            },
        }
    }
}

fn actions(step: &Step, layout: &'static Layout, resolver: &mut Resolver<'_>) -> Vec<Planned> {
    let vcpu = step.vcpu.as_ref().and_then(|vcpu| resolver.vcpu(vcpu));
    let mut planned = Vec::new();
    for (name, number) in &step.save.entries.0 {
        let Some(row) = layout.row(&name.value) else {
            let known = SaveAreaRows::names();
            let known = known.into_iter().filter(|name| layout.row(name).is_some());
            resolver.mistakes.add(
                name.at,
                format!("the save area `{}` has no `{}`", layout.name, name.value),
                suggest(&name.value, known, "its fields"),
            );
            resolver.number(number, 64, &format!("save.{}", name.value));
            continue;
        };
        let bits = u8::try_from(row.width.min(8) * 8).unwrap_or(64);
        if let Some(value) = resolver.number(number, bits, &format!("save.{}", row.name)) {
            planned.push(What::Save(name.value.clone(), value));
        }
    }
    for (name, number) in &step.set.entries.0 {
        let Some(field) = Field::named(&name.value) else {
            continue;
        };
        if let Some(value) = resolver.number(number, field.bits, field.name) {
            planned.push(What::Set(name.value.clone(), value));
        }
    }
    let smm = step.smm.as_ref().is_some_and(|smm| smm.value);
    if let (Some(smm), true) = (&step.smm, step.write.0.is_empty()) {
        resolver
            .mistakes
            .add(smm.at, "`smm` goes with `write` only", "remove it");
    }
    for (key, bytes) in &step.write.0 {
        let address = resolver.key(key, 64, "a guest-physical address");
        if let (Some(address), Some(bytes)) = (address, resolver.bytes(bytes)) {
            planned.push(What::Write(address, bytes, smm));
        }
    }
    let registers = chipset::registers(&step.smram, resolver);
    planned.extend(
        registers
            .into_iter()
            .map(|(register, value)| What::Chipset(register, value)),
    );
    if let Some(shadow) = step.shadow {
        planned.push(What::Shadow(match shadow {
            ShadowName::None => Shadow::None,
            ShadowName::Sti => Shadow::Sti,
            ShadowName::MovSs => Shadow::MovSs,
        }));
    }
    for raise in step.raise.iter().flat_map(|raises| &raises.0) {
        planned.push(What::Raise(*raise));
    }
    planned.into_iter().map(|what| Planned { vcpu, what }).collect()
}
