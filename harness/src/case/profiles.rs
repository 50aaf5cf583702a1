//! The implementations that a case is about.

use spec_model::profile::{KVM_SVM, Profile, XEN_PV};
use spec_model::scenario::{Action, Scenario};

use super::Case;
use super::document::Located;
use super::expectation::{Expectations, ObservedField};
use super::mistake::Mistakes;
use super::syntax::Mode;
use super::value::ProfileName;

impl Case {
    /// Whether the expectations of the case hold for an implementation.
    #[must_use]
    pub fn is_about(&self, profile: &Profile) -> bool {
        if self.profiles.is_empty() {
            profile.is_kvm()
        } else {
            self.profiles.iter().any(|own| own.name == profile.name)
        }
    }

    /// The implementation that the model takes the place of unless the user names another.
    #[must_use]
    pub fn own_profile(&self) -> &'static Profile {
        self.profiles.first().copied().unwrap_or(&KVM_SVM)
    }

    /// A row of the state-save area that the host writes and that the format of an
    /// implementation does not have. The case means nothing there.
    #[must_use]
    pub fn row_missing_in(&self, profile: &Profile) -> Option<&str> {
        written_rows(&self.scenario).find(|row| profile.layout(self.scenario.cpuid).row(row).is_none())
    }
}

/// The profiles by their names; a name that is unknown is a mistake that has been reported.
///
/// A paravirtual guest of Xen is about Xen and nothing else.
pub(super) fn profiles(
    written: &[Located<ProfileName>],
    mode: Mode,
    mistakes: &mut Mistakes,
) -> Vec<&'static Profile> {
    if mode == Mode::XenPv && written.is_empty() {
        return vec![&XEN_PV];
    }
    let mut profiles: Vec<&'static Profile> = Vec::new();
    for name in written {
        let Some(profile) = Profile::named(&name.value.text) else {
            continue;
        };
        if (profile.name == XEN_PV.name) != (mode == Mode::XenPv) && mistakes.trusts(name.at) {
            let what = format!("`{}` does not run this mode", profile.name);
            mistakes.add(
                name.at,
                what,
                "leave out `profiles`: mode xen-pv implies `xen-pv`",
            );
        }
        if profiles.iter().any(|known| known.name == profile.name) && mistakes.trusts(name.at) {
            let what = format!("`{}` is given twice", profile.name);
            mistakes.add(name.at, what, "keep one of them");
        } else {
            profiles.push(profile);
        }
    }
    profiles
}

/// Fields of the state-save area were looked up in the format of the first profile. The others
/// need them too.
pub(super) fn check_rows(
    written: &[Located<ProfileName>],
    profiles: &[&'static Profile],
    scenario: &Scenario,
    expectations: &Expectations,
    mistakes: &mut Mistakes,
) {
    let expected = expectations.fields.iter().filter_map(|field| match field.field {
        ObservedField::Save(row) => Some(row.name),
        _ => None,
    });
    let rows: Vec<&str> = expected.chain(written_rows(scenario)).collect();
    for profile in profiles.iter().skip(1) {
        let layout = profile.layout(scenario.cpuid);
        let missing = rows.iter().find(|row| layout.row(row).is_none());
        let place = written.iter().find(|name| name.value.text == profile.name);
        if let (Some(row), Some(place)) = (missing, place) {
            mistakes.add(
                place.at,
                format!(
                    "the save area `{}` of `{}` has no `{row}`",
                    layout.name, profile.name
                ),
                "write a case of its own for that profile",
            );
        }
    }
}

fn written_rows(scenario: &Scenario) -> impl Iterator<Item = &str> {
    let actions = scenario.events.iter().flat_map(|event| &event.actions);
    actions.filter_map(|action| match action {
        Action::WriteSaveArea { field, .. } => Some(field.as_str()),
        _ => None,
    })
}
