//! What the model leaves open in a case, and by which rule.
//!
//! A model that has become too mild lets pass what it caught before, and no case turns red for it. So
//! `golden/open.txt` lists, per case, every field of which more than one value is allowed, and a test keeps the list
//! exact: what a rule newly leaves open shows as a line of a change.
//!
//! Two things leave something open: bits of one value that may be anything ([`Allowance`]), and choices of the
//! implementation that the profile does not make ([`ChoiceMade`]), which give several outcomes. What an outcome has
//! otherwise than the one from which its choices part last is put down to the choice at which they part.

use std::collections::{BTreeMap, BTreeSet};

use spec_model::defect::DefectSet;
use spec_model::outcome::Outcome;
#[cfg(doc)]
use spec_model::outcome::{Allowance, ChoiceMade};
use spec_model::profile::Profile;
use spec_model::run::outcomes;
use spec_model::x86::field::Field;
use spec_model::x86::save_area::Layout;

use super::CaseView;
use super::bits;
use super::case::{profile, view};
use super::compare::compare;
use super::difference::{Difference, Subject};
use super::observed::row_bits;
use super::stop::Place;
use crate::case::Case;
use crate::target::{Backend, other_architecture};

/// One thing that may be one way or another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Open {
    /// Id of the requirement that leaves it open.
    rule: &'static str,
    /// The field, with its bits where they have names or are not all of it.
    what: String,
    /// The point, or `end`.
    place: String,
}

/// The implementations that a target can be.
fn profiles() -> Vec<&'static Profile> {
    let mut profiles: Vec<&'static Profile> = Vec::new();
    for own in Backend::KNOWN.into_iter().filter_map(profile) {
        if profiles.iter().all(|known| known.name != own.name) {
            profiles.push(own);
        }
    }
    profiles
}

/// The list, of all cases in their order. Formats of the state-save area come first: what they leave open is open
/// in every case in which a processor is in SMM.
#[must_use]
pub fn list(cases: &[Case]) -> String {
    let mut text = String::new();
    let mut layouts: Vec<&'static Layout> = Vec::new();
    for profile in profiles().into_iter().filter(|profile| profile.smm) {
        for layout in [profile.save_areas.long_mode, profile.save_areas.legacy] {
            if layouts.iter().all(|known| known.name != layout.name) {
                layouts.push(layout);
            }
        }
    }
    for layout in layouts {
        let rows = layout.rows.iter().filter(|row| layout.leaves_open(row));
        let names: Vec<&str> = rows.map(|row| row.name).collect();
        if !names.is_empty() {
            text += &format!(
                "save area {}:\n  SMM-FORMAT-001: {}\n",
                layout.name,
                names.join(" ")
            );
        }
    }
    for case in cases {
        let lines = lines(case);
        if !lines.is_empty() {
            text += &format!("{}:\n", case.name);
            text.extend(lines.into_iter().map(|line| format!("  {line}\n")));
        }
    }
    text
}

/// The lines of a case: one for each rule, and the implementations where it is not all that can run the case.
fn lines(case: &Case) -> Vec<String> {
    let mut by_line: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    let mut all: Vec<&'static str> = Vec::new();
    for profile in profiles() {
        let is_for = case.is_about(profile)
            && other_architecture(&case.scenario, profile.architecture).is_none()
            && case.row_missing_in(profile).is_none();
        if !is_for {
            continue;
        }
        let lines = match outcomes(&case.scenario, profile, DefectSet::NONE) {
            Ok(outcomes) => lines_of(&view(case, profile), &outcomes),
            Err(error) if error.is_gap() => vec![format!("all that is not written by hand: {error}")],
            // This implementation cannot be the machine of the case.
            Err(_) => continue,
        };
        all.push(profile.name);
        for line in lines {
            by_line.entry(line).or_default().push(profile.name);
        }
    }
    let of = |(line, profiles): (String, Vec<&str>)| match profiles == all {
        true => line,
        false => format!("{line} ({})", profiles.join(" ")),
    };
    by_line.into_iter().map(of).collect()
}

fn lines_of(case: &CaseView<'_>, outcomes: &[Outcome]) -> Vec<String> {
    let mut lines = Vec::new();
    if outcomes.len() > 1 {
        lines.push(format!("{} outcomes", outcomes.len()));
    }
    let mut by_rule: BTreeMap<&str, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for open in open(case, outcomes) {
        let of_rule = by_rule.entry(open.rule).or_default();
        of_rule.entry(open.what).or_default().insert(open.place);
    }
    for (rule, by_field) in by_rule {
        // Fields that are open at the same places stand together.
        let mut by_places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (what, places) in by_field {
            let places: Vec<String> = places.into_iter().collect();
            by_places.entry(places.join(", ")).or_default().push(what);
        }
        let parts: Vec<String> = by_places
            .into_iter()
            .map(|(places, fields)| format!("{} at {places}", fields.join(" ")))
            .collect();
        lines.push(format!("{rule}: {}", parts.join("; ")));
    }
    lines
}

fn open(case: &CaseView<'_>, outcomes: &[Outcome]) -> BTreeSet<Open> {
    let mut found = BTreeSet::new();
    for (number, outcome) in outcomes.iter().enumerate() {
        for allowance in &outcome.allowances {
            let place = Place::of(case.scenario, &outcome.transcript, allowance.observation);
            found.insert(Open {
                rule: allowance.requirement.id,
                what: field(case.layout, &allowance.field, allowance.any_bits),
                place: name(case, &place),
            });
        }
        let Some((other, rule)) = parts_from(outcomes, number) else {
            continue;
        };
        for difference in compare(case, other, &outcome.transcript).differences {
            found.insert(Open {
                rule,
                what: what(&difference),
                place: name(case, &difference.place),
            });
        }
    }
    found
}

/// The earlier outcome that shares the most choices with one, and the rule of the choice at which they part.
fn parts_from(outcomes: &[Outcome], number: usize) -> Option<(&Outcome, &'static str)> {
    let own = &outcomes.get(number)?.choices;
    let shared = |other: &Outcome| {
        let pairs = own.iter().zip(&other.choices);
        pairs.take_while(|(one, two)| one == two).count()
    };
    let mut nearest: Option<(&Outcome, usize)> = None;
    for other in outcomes.iter().take(number) {
        let shared = shared(other);
        if nearest.is_none_or(|(_, most)| shared > most) {
            nearest = Some((other, shared));
        }
    }
    let (other, shared) = nearest?;
    let choice = own.get(shared).or_else(|| other.choices.get(shared))?;
    Some((other, choice.requirement.id))
}

/// The name of a field whose bits may be anything, with those bits unless they are all of it.
fn field(layout: &Layout, name: &str, any: u64) -> String {
    let width = match name.strip_prefix("save.") {
        Some(row) => layout.row(row).map_or(64, row_bits),
        None => Field::named(name).map_or(64, |field| field.bits),
    };
    let all = u64::MAX >> (64 - u32::from(width.clamp(1, 64)));
    if any & all == all {
        return name.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut nameless = 0;
    for bit in (0..64).map(|bit| 1 << bit).filter(|bit| any & bit != 0) {
        match bits::named(name, bit).first() {
            Some(word) if words.iter().any(|known| known == word) => {}
            Some(word) => words.push((*word).to_owned()),
            None => nameless |= bit,
        }
    }
    if nameless != 0 {
        words.push(format!("{nameless:#x}"));
    }
    format!("{name}({})", words.join(" "))
}

/// What two outcomes have otherwise. Numbers that move with the code of a case are left out.
fn what(difference: &Difference) -> String {
    let bits = difference.differing_bits();
    let name = match &difference.subject {
        Subject::Path { .. } => "path".to_owned(),
        Subject::Field { name } => name.clone(),
        Subject::SaveRow { name, .. } => format!("save.{name}"),
        Subject::Watch { name, .. } => format!("watch.{name}"),
        Subject::Memory { row: Some(row), .. } => format!("memory save.{}", row.name),
        Subject::Memory { row: None, smm, .. } => if *smm { "SMRAM" } else { "memory" }.to_owned(),
        subject => subject.label(),
    };
    if bits.is_empty() {
        name
    } else {
        format!("{name}({})", bits.join(" "))
    }
}

fn name(case: &CaseView<'_>, place: &Place) -> String {
    match place {
        Place::At { point, nth, vcpu, .. } => {
            let processor = match case.scenario.vcpus.len() {
                0 | 1 => String::new(),
                _ => format!("{vcpu}:"),
            };
            let time = match nth {
                1 => String::new(),
                nth => format!("#{nth}"),
            };
            format!("{processor}{point}{time}")
        }
        Place::Step { index, .. } => format!("step {}", index + 1),
        Place::Start => "start".to_owned(),
        Place::End | Place::Kernel => "end".to_owned(),
    }
}
