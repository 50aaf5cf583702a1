//! Judging runs and counting what came of them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use spec_model::defect::DefectSet;

use super::digest::Behaviour;
use super::expected::{Allowed, Expected};
use super::item::Seen;
use super::{BadPayload, Family};
use crate::baseline::UnsupportedMember;
use crate::case::Expectations;
use crate::deviation::{Applicable, Deviation};
use crate::judge::case::{cite, judge_run_uncited, profile};
use crate::judge::complaint::with_complaints;
use crate::judge::difference::Subject;
use crate::judge::{Against, Verdict, VerdictKind};
use crate::report::summary::SummarizedLoss;
use crate::target::complaint::Complaint;
use crate::target::{Identity, Mode, Ran, Run};

/// Kinds of deviations that are kept to be shown.
pub const SHOWN: usize = 20;

/// What came of the scenarios of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Name of the group.
    pub name: String,
    /// Verdicts and how many scenarios have each.
    pub counts: BTreeMap<VerdictKind, usize>,
    /// The distinct behaviours that were seen.
    pub behaviours: HashSet<Behaviour>,
}

impl Group {
    /// Scenarios with a verdict.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.counts.values().sum()
    }

    /// Scenarios with that verdict.
    #[must_use]
    pub fn of(&self, kind: VerdictKind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    fn count(&mut self, kind: VerdictKind, behaviour: Option<Behaviour>) {
        *self.counts.entry(kind).or_insert(0) += 1;
        self.behaviours.extend(behaviour);
    }
}

/// A scenario to be shown for all that differ in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown<'d, R> {
    /// The first one.
    pub row: R,
    /// What it is worth.
    pub verdict: Verdict<'d>,
    /// What the target did, unless it is what is allowed.
    pub run: Option<Run>,
    /// In which way it differs.
    pub way: String,
    /// How many differ in this way.
    pub count: usize,
}

/// What came of all scenarios on one target.
#[derive(Clone, Debug)]
pub struct Tally<'d, R> {
    /// Name of the target.
    pub target: String,
    /// The groups, in the order of their indices.
    pub groups: Vec<Group>,
    /// The first one of each way to be neither as allowed nor as is known.
    pub shown: Vec<Shown<'d, R>>,
    /// Scenarios that differ in a way of which none is shown.
    pub not_shown: usize,
    /// Known deviations by name, and how many scenarios show each.
    pub known: BTreeMap<String, usize>,
    /// Why scenarios are unsupported, and how many each.
    pub unsupported: BTreeMap<String, usize>,
    /// The scenarios that are, each with the index of its group.
    lacking: Vec<(usize, UnsupportedMember)>,
    /// What the target said that it is.
    pub identity: Option<Identity>,
    /// What its kernel complained of while no scenario ran.
    pub complaints: Vec<Complaint>,
    /// Boots that were lost, with the scenario that did it, if one did.
    pub boots_lost: Vec<SummarizedLoss>,
    /// What there is to say about the target besides, for instance why it could not be used.
    pub remarks: Vec<String>,
    /// Scenarios that were asked for.
    pub wanted: usize,
    /// Time for all of it.
    pub took: Duration,
    /// Time in which scenarios ran, without starting the target; for the model the time of its
    /// processor.
    pub running: Duration,
    /// Time that processors spent on all of it, an emulator's included.
    pub processor: Option<Duration>,
}

impl<'d, R: Clone> Tally<'d, R> {
    /// Nothing yet.
    #[must_use]
    pub fn new(target: String, groups: &[String], wanted: usize) -> Self {
        let groups = groups.iter().map(|name| Group {
            name: name.clone(),
            ..Group::default()
        });
        Self {
            target,
            groups: groups.collect(),
            shown: Vec::new(),
            not_shown: 0,
            known: BTreeMap::new(),
            unsupported: BTreeMap::new(),
            lacking: Vec::new(),
            identity: None,
            complaints: Vec::new(),
            boots_lost: Vec::new(),
            remarks: Vec::new(),
            wanted,
            took: Duration::ZERO,
            running: Duration::ZERO,
            processor: None,
        }
    }

    /// Counts one scenario.
    pub fn count(&mut self, group: usize, kind: VerdictKind, behaviour: Option<Behaviour>) {
        if let Some(group) = self.groups.get_mut(group) {
            group.count(kind, behaviour);
        }
    }

    /// Counts one that the target cannot run.
    pub fn count_unsupported(&mut self, group: usize, member: UnsupportedMember) {
        self.count(group, VerdictKind::Unsupported, None);
        *self.unsupported.entry(member.reason.clone()).or_insert(0) += 1;
        self.lacking.push((group, member));
    }

    /// Those of a group that the target cannot run.
    pub fn unsupported_members(&self, group: usize) -> impl Iterator<Item = &UnsupportedMember> {
        let of_group = self.lacking.iter().filter(move |(index, _)| *index == group);
        of_group.map(|(_, member)| member)
    }

    /// All that the target cannot run.
    pub fn all_unsupported_members(&self) -> impl Iterator<Item = &UnsupportedMember> {
        self.lacking.iter().map(|(_, member)| member)
    }

    /// Keeps one to be shown, unless one that differs in the same way is kept already or there
    /// are many. What is kept gets its requirements from `cite`.
    pub fn show(
        &mut self,
        row: &R,
        mut verdict: Verdict<'d>,
        run: Option<Run>,
        cite: impl FnOnce(&mut Verdict<'d>),
    ) {
        let way = way(&verdict);
        if let Some(shown) = self.shown.iter_mut().find(|shown| shown.way == way) {
            shown.count += 1;
        } else if self.shown.len() < SHOWN {
            cite(&mut verdict);
            self.shown.push(Shown {
                row: row.clone(),
                verdict,
                run,
                way,
                count: 1,
            });
        } else {
            self.not_shown += 1;
        }
    }

    /// Scenarios with that verdict.
    #[must_use]
    pub fn of(&self, kind: VerdictKind) -> usize {
        self.groups.iter().map(|group| group.of(kind)).sum()
    }

    /// Scenarios with any verdict.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.groups.iter().map(Group::judged).sum()
    }

    /// The distinct behaviours of all groups.
    #[must_use]
    pub fn behaviours(&self) -> usize {
        let all: HashSet<&Behaviour> = self.groups.iter().flat_map(|group| &group.behaviours).collect();
        all.len()
    }

    /// Whether every scenario that was asked for has a verdict that says something.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.judged() == self.wanted
            && self.of(VerdictKind::Broken) == 0
            && self.boots_lost.iter().all(SummarizedLoss::is_explained)
    }

    /// Scenarios per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let ran = self.judged() - self.of(VerdictKind::Unsupported);
        ran as f64 / self.running.as_secs_f64().max(1e-9)
    }
}

/// In which way a run differs: in what at the first place that differs, or at a fork of the path
/// how it goes on. Values are left out, since they follow from the scenario.
fn way(verdict: &Verdict<'_>) -> String {
    let (differences, against) = match verdict {
        Verdict::Deviates { differences, against } => (differences, against),
        Verdict::Broken(reason) => return reason.clone(),
        other => return other.kind().name().to_owned(),
    };
    let fork = differences
        .iter()
        .find_map(|difference| match &difference.subject {
            Subject::Path { agree, allowed, seen } => {
                let step = |path: &[String]| path.get(*agree).map_or("end", String::as_str).to_owned();
                Some(format!("{} instead of {}", step(seen), step(allowed)))
            }
            _ => None,
        });
    let way = fork.unwrap_or_else(|| {
        let first = differences.first().map(|difference| &difference.place);
        let there = differences
            .iter()
            .filter(|difference| Some(&difference.place) == first);
        let mut labels: Vec<String> = there
            .map(|difference| match &difference.subject {
                Subject::Memory { .. } => "memory".to_owned(),
                Subject::Complaint(complaint) => match &complaint.function {
                    Some(function) => format!("{} in {function}", complaint.kind.name()),
                    None => complaint.headline.clone(),
                },
                subject => subject.label(),
            })
            .collect();
        labels.dedup();
        let place = first.map(ToString::to_string).unwrap_or_default();
        format!("{} {place}", labels.join(", "))
    });
    match against {
        Against::Pure => way,
        Against::WithDeviations(_) => format!("beside known deviations: {way}"),
        Against::ByHand(_) => format!("from what is written by hand: {way}"),
    }
}

/// Judges what a target did, like [`crate::judge::judge`]: first against the pure model; a known
/// deviation counts only if the model with all of them on does the same to the last field.
pub struct Judge<'a, 'd, F> {
    /// The payload.
    pub payload: &'a F,
    /// The target.
    pub identity: &'a Identity,
    /// All known deviations.
    pub deviations: &'d [Deviation],
    /// Defects that are on in the model that the target is judged against, normally none.
    pub defects: DefectSet,
}

impl<'d, F: Family> Judge<'_, 'd, F> {
    /// Takes one result into the tally.
    ///
    /// # Errors
    /// If the case of the row cannot be put together.
    pub fn judge(
        &self,
        tally: &mut Tally<'d, F::Row>,
        expected: &Expected<F::Row>,
        seen: Seen,
        complaints: Vec<Complaint>,
    ) -> Result<(), BadPayload> {
        let group = expected.group;
        let listed = |deviation: &Deviation| {
            let listed = deviation.complaint.as_ref();
            listed.is_some_and(|listed| listed.comes_in(&F::name(&expected.row)))
        };
        let told_of = !complaints.is_empty() || self.deviations.iter().any(listed);
        if told_of && !matches!(seen, Seen::Other(_)) {
            let verdict = match &seen {
                Seen::Known(index) => match expected.known().nth(usize::from(*index)) {
                    Some(allowed) => verdict_of(kind(expected, allowed.fingerprint)),
                    None => Verdict::Broken("an outcome was seen that was not asked for".to_owned()),
                },
                _ => Verdict::Broken("it is not told what the guest did".to_owned()),
            };
            let ran = Ran {
                run: Run::Broken(String::new()),
                complaints,
            };
            let verdict = self.with_complaints(verdict, &expected.row, &ran);
            tally.count(group, verdict.kind(), None);
            if !matches!(verdict, Verdict::Conforms | Verdict::KnownDeviation(_)) {
                tally.show(&expected.row, verdict, None, |_| {});
            }
            return Ok(());
        }
        match seen {
            Seen::Known(index) => {
                let Some(allowed) = expected.known().nth(usize::from(index)) else {
                    tally.count(group, VerdictKind::Broken, None);
                    return Ok(());
                };
                let kind = kind(expected, allowed.fingerprint);
                tally.count(group, kind, Some(allowed.behaviour));
                if kind == VerdictKind::UnexpectedlyConforms {
                    let verdict = Verdict::UnexpectedlyConforms(Vec::new());
                    tally.show(&expected.row, verdict, None, |_| {});
                }
            }
            Seen::Untold => {
                tally.count(group, VerdictKind::Deviates, None);
                tally.not_shown += 1;
            }
            Seen::Other(run) => {
                let behaviour = match &*run {
                    Run::Done(transcript) | Run::GaveUp(_, transcript) => Some(Behaviour::of(transcript)),
                    Run::Unsupported(_) | Run::Died(_) | Run::Broken(_) => None,
                };
                let ran = Ran {
                    run: *run,
                    complaints,
                };
                let mut case = self.payload.case(&expected.row)?;
                case.expectations = Expectations::default();
                let verdict = judge_run_uncited(
                    &case,
                    self.identity,
                    Mode::Normal,
                    self.deviations,
                    self.defects,
                    &ran,
                );
                if let Verdict::Unsupported(lack) = &verdict {
                    let member = UnsupportedMember {
                        name: F::name(&expected.row),
                        reason: lack.group(),
                        pattern: None,
                    };
                    tally.count_unsupported(group, member);
                    return Ok(());
                }
                tally.count(group, verdict.kind(), behaviour);
                let harmless = matches!(verdict, Verdict::Conforms | Verdict::KnownDeviation(_));
                if !harmless {
                    tally.show(&expected.row, verdict, Some(ran.run), |verdict| {
                        if let Some(profile) = profile(self.identity.backend) {
                            cite(&case, profile, self.defects, verdict);
                        }
                    });
                }
            }
        }
        Ok(())
    }
}

impl<'d, F: Family> Judge<'_, 'd, F> {
    fn with_complaints(&self, verdict: Verdict<'d>, row: &F::Row, ran: &Ran) -> Verdict<'d> {
        let (applicable, _) = Applicable::to(self.deviations, self.identity, Mode::Normal).split();
        let watched = &self.identity.system.complaints;
        with_complaints(verdict, &F::name(row), ran, &applicable, watched)
    }
}

/// A verdict of a kind that a known outcome can have. Which deviations it shows is found out for
/// all of them together.
fn verdict_of(kind: VerdictKind) -> Verdict<'static> {
    match kind {
        VerdictKind::UnexpectedlyConforms => Verdict::UnexpectedlyConforms(Vec::new()),
        VerdictKind::KnownDeviation => Verdict::KnownDeviation(Vec::new()),
        _ => Verdict::Conforms,
    }
}

/// The verdict on a run that is known.
fn kind<R>(expected: &Expected<R>, seen: u128) -> VerdictKind {
    let within = |set: &[Allowed]| set.iter().any(|allowed| allowed.fingerprint == seen);
    match (within(&expected.pure), &expected.deviating) {
        (true, None) => VerdictKind::Conforms,
        (true, Some(deviating)) if within(deviating) => VerdictKind::Conforms,
        (true, Some(_)) => VerdictKind::UnexpectedlyConforms,
        (false, _) => VerdictKind::KnownDeviation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pure_model_comes_first() {
        let allowed = |fingerprint| Allowed {
            fingerprint,
            behaviour: Behaviour(0),
        };
        let expected = |deviating: Option<&[u128]>| Expected {
            row: (),
            group: 0,
            pure: vec![allowed(1), allowed(2)],
            deviating: deviating.map(|all| all.iter().map(|one| allowed(*one)).collect()),
        };
        assert_eq!(kind(&expected(None), 1), VerdictKind::Conforms);
        assert_eq!(kind(&expected(Some(&[2, 3])), 2), VerdictKind::Conforms);
        assert_eq!(
            kind(&expected(Some(&[2, 3])), 1),
            VerdictKind::UnexpectedlyConforms
        );
        assert_eq!(kind(&expected(Some(&[2, 3])), 3), VerdictKind::KnownDeviation);
        assert_eq!(expected(Some(&[2, 3])).item(0).known, [1, 2, 2, 3]);
    }
}
