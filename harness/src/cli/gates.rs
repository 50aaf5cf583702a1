//! `conform gates`.

use std::collections::BTreeMap;
use std::time::Instant;

use spec_model::defect::DefectSet;
use spec_model::profile::Profile;
use spec_model::transcript::Stop;

use crate::baseline::Command;
use crate::batch::Family as _;
use crate::batch::expected::{Expected, allowed};
use crate::batch::tally::Tally;
use crate::cli::args::{FamilyArguments, GatesArguments};
use crate::cli::batch::{All, Plan, Scope, all_of, case_file, deviation_name};
use crate::cli::console::print;
use crate::cli::exit::{Failure, Status};
use crate::cli::suite::Suite;
use crate::cli::target_name::TargetName;
use crate::deviation::Deviation;
use crate::gates::{GROUPS, Payload, Row, sweep};
use crate::interrupt;
use crate::judge::case::{cite, judge_own_uncited};
use crate::judge::{Verdict, VerdictKind};
use crate::target::Identity;

pub(super) fn gates(arguments: &GatesArguments) -> Result<Status, Failure> {
    let payload = Payload::new().map_err(Failure::incomplete)?;
    let payload = payload.observed_at(arguments.family.observe);
    if let Some(text) = &arguments.print {
        let row: Row = text.parse().map_err(Failure::wrong)?;
        print(&case_file(&payload, &row, arguments.family.profile)?)?;
        return Ok(Status::Conforms);
    }
    check_profile(&arguments.family)?;
    let rows = rows(&arguments.groups)?;
    let mut suite = Suite::load_if_any(&[])?;
    if arguments.family.no_deviations {
        suite.deviations.clear();
    }
    let plan = Gates {
        payload: &payload,
        rows,
        scope: match arguments.groups.as_slice() {
            [] => Scope::All,
            _ => Scope::Groups,
        },
    };
    let all = All::new(Command::Gates, &arguments.family, &payload, &suite.deviations)?;
    all.run(&plan, |all| model(all, &plan, arguments.family.profile))
}

/// The model alone judges nothing unless a defect is on. As a KVM it says at least what targets are
/// compared with.
fn check_profile(family: &FamilyArguments) -> Result<(), Failure> {
    let runs_model = family.targets.is_empty() || family.targets.contains(&TargetName::Model);
    if family.profile.is_kvm() || !family.defects.is_empty() || !runs_model {
        return Ok(());
    }
    Err(Failure::wrong(format_args!(
        "nothing is judged as {}: nothing is written by hand for a combination, and no target is one. \
         Leave --profile out, add --defect NAME, or show a single combination with --print",
        family.profile.name
    )))
}

/// The combinations of the groups that the user wants.
fn rows(groups: &[String]) -> Result<Vec<(usize, Row)>, Failure> {
    if let Some(unknown) = groups.iter().find(|group| !GROUPS.contains(&group.as_str())) {
        return Err(Failure::wrong(format_args!(
            "no group is called `{unknown}`; there are {}",
            GROUPS.join(", ")
        )));
    }
    let is_wanted = |index: usize| {
        let name = GROUPS.get(index).copied().unwrap_or_default();
        groups.is_empty() || groups.iter().any(|group| group == name)
    };
    let rows = sweep().into_iter();
    Ok(rows.filter(|(group, _)| is_wanted(*group)).collect())
}

/// The combinations that the user wants.
struct Gates<'a> {
    payload: &'a Payload,
    rows: Vec<(usize, Row)>,
    scope: Scope,
}

impl Plan<Payload> for Gates<'_> {
    fn groups(&self) -> Vec<String> {
        GROUPS.iter().map(|name| (*name).to_owned()).collect()
    }

    fn wanted(&self) -> usize {
        self.rows.len()
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    fn has(&self, fits: &dyn Fn(&str) -> bool) -> bool {
        self.rows.iter().any(|(_, row)| fits(&Payload::name(row)))
    }

    fn expected(
        &self,
        _: &mut Tally<'_, Row>,
        _: &Identity,
        (profile, base): (&'static Profile, DefectSet),
        deviations: DefectSet,
    ) -> Result<Vec<Expected<Row>>, Failure> {
        let all: DefectSet = base.iter().chain(deviations.iter()).collect();
        let mut scenario = self.payload.template();
        let mut expected = Vec::with_capacity(self.rows.len());
        for &(group, row) in &self.rows {
            if interrupt::interrupted() {
                break;
            }
            self.payload.set(&mut scenario, &row);
            let ask = |defects| allowed(&scenario, profile, defects).map_err(Failure::incomplete);
            let pure = ask(base)?;
            let deviating = if all == base { None } else { Some(ask(all)?) };
            expected.push(Expected {
                row,
                group,
                deviating: deviating.filter(|deviating| *deviating != pure),
                pure,
            });
        }
        Ok(expected)
    }

    fn named(
        &self,
        _: &Identity,
        (profile, base): (&'static Profile, DefectSet),
        deviations: &[&Deviation],
        known: &[&Expected<Row>],
    ) -> Result<BTreeMap<String, usize>, Failure> {
        let mut scenario = self.payload.template();
        let mut named = BTreeMap::new();
        for deviation in deviations {
            let defects: DefectSet = base.iter().chain(all_of(&[deviation]).iter()).collect();
            let mut count = 0;
            for expected in known {
                if interrupt::interrupted() {
                    return Ok(named);
                }
                self.payload.set(&mut scenario, &expected.row);
                let alone = allowed(&scenario, profile, defects).map_err(Failure::incomplete)?;
                count += usize::from(alone != expected.pure);
            }
            if count > 0 {
                named.insert(deviation_name(deviation), count);
            }
        }
        Ok(named)
    }
}

/// The model alone: it runs every combination. With defects it is judged against the pure one.
fn model(all: &mut All<'_, Payload>, plan: &Gates<'_>, profile: &'static Profile) -> Result<(), Failure> {
    let start = Instant::now();
    let mut shutdowns = 0;
    let mut tally = Tally::new("model".to_owned(), &plan.groups(), plan.wanted());
    for &(group, row) in &plan.rows {
        if interrupt::interrupted() {
            break;
        }
        let case = plan.payload.case(&row).map_err(Failure::incomplete)?;
        let (verdict, transcript) = judge_own_uncited(&case, profile, all.wanted.defects);
        let behaviour = transcript.as_ref().map(crate::batch::digest::Behaviour::of);
        let last = transcript
            .as_ref()
            .and_then(|transcript| transcript.observations.last());
        shutdowns += usize::from(last.is_some_and(|last| last.stop == Stop::Shutdown));
        tally.count(group, verdict.kind(), behaviour);
        if !matches!(verdict, Verdict::Conforms) {
            let run = transcript.map(crate::target::Run::Done);
            tally.show(&row, verdict, run, |verdict| {
                cite(&case, profile, DefectSet::NONE, verdict);
            });
        }
        if tally.judged().is_multiple_of(256) {
            let (done, wanted) = (tally.judged(), tally.wanted);
            all.progress
                .show(&format!("model: {done} of {wanted} combinations"));
        }
    }
    debug_assert_eq!(tally.of(VerdictKind::Unsupported), 0);
    tally
        .remarks
        .push(format!("{shutdowns} combinations end in shutdown"));
    if all.wanted.defects == DefectSet::NONE {
        let remark = "nothing is judged here: without --defect the model is what it is compared with";
        tally.remarks.push(remark.to_owned());
    }
    tally.took = start.elapsed();
    tally.running = tally.took;
    all.show(&tally, profile)?;
    all.tallies.push(tally);
    Ok(())
}
