//! Paths and expectations of a case: from what is written to [`Expectations`].

use spec_model::requirement;
use spec_model::scenario::{Point, PointKind, Watch};
use spec_model::x86::save_area::Layout;

use super::declared::{Known, unknown_point};
use super::document::Located;
use super::expectation::{AllowedValue, ENDS, Expectations, FieldExpectation, ObservedField, PathStep};
use super::mistake::{Mistakes, Position, nearest, suggest};
use super::observation::Expectation;
use super::resolve::Resolver;
use super::syntax::HostEntry;
use super::value::{Expected, Names, Number, Paths, SaveAreaRows};
use crate::judge::observed::hidden_at;
use crate::judge::stop;

/// What expectations can refer to.
pub(super) struct Observable<'o> {
    pub(super) points: &'o [Point],
    /// Names of all points; with [`ENDS`] these are the stops.
    pub(super) names: &'o Known,
    pub(super) watches: &'o [Watch],
    pub(super) layout: &'static Layout,
    /// Whether the watches could be read.
    pub(super) watches_known: bool,
}

/// Reads paths and expectations, and checks that the paths come to whatever the
/// expectations and the host refer to.
pub(super) fn expectations(
    path: Option<&Located<Paths>>,
    expect: &[Located<Expectation>],
    host: &[Located<HostEntry>],
    observable: &Observable<'_>,
    resolver: &mut Resolver<'_>,
) -> Expectations {
    let mut paths = Vec::new();
    let mut all_known = path.is_some_and(|path| path.at != Position::NOWHERE);
    for steps in path.iter().flat_map(|path| &path.value.0) {
        let (path, known) = read_path(steps, observable, resolver);
        paths.push(path);
        all_known &= known;
    }
    let mut fields = Vec::new();
    for entry in expect {
        if all_known {
            check_reached(&entry.value, &paths, observable, resolver);
        }
        read_expectation(entry, observable, resolver, &mut fields);
    }
    if all_known {
        check_host(host, &paths, observable, resolver);
    }
    Expectations {
        paths,
        fields,
        steps: Vec::new(),
        refusals: Vec::new(),
    }
}

/// Reads one path, and says whether all its steps are known. A misspelled step stands for
/// the stop that it resembles.
fn read_path(
    steps: &[Located<String>],
    observable: &Observable<'_>,
    resolver: &mut Resolver<'_>,
) -> (Vec<PathStep>, bool) {
    let mut path = Vec::new();
    let mut all_known = true;
    for (index, step) in steps.iter().enumerate() {
        let (vcpu, name) = match step.value.split_once(':') {
            Some((vcpu, name)) => match vcpu.trim().parse() {
                Ok(value) => {
                    let vcpu = Located { at: step.at, value };
                    (resolver.vcpu(&vcpu), name.trim())
                }
                Err(_) => {
                    resolver.mistakes.add(
                        step.at,
                        format!("`{vcpu}` is not a processor number"),
                        "write a step as `in-nmi` or, with the processor, as `1:in-nmi`",
                    );
                    (None, name.trim())
                }
            },
            None => (None, step.value.as_str()),
        };
        check_stop(name, step.at, observable, resolver);
        let meant = if observable.is_stop(name) {
            Some(name)
        } else {
            nearest(name, observable.stops())
        };
        all_known &= meant.is_some() && step.at != Position::NOWHERE;
        let name = meant.unwrap_or(name);
        let last = index + 1 == steps.len();
        let can_end = observable
            .points
            .iter()
            .find(|point| point.name == name)
            .is_none_or(|point| matches!(point.kind, PointKind::Halt { .. }) || ENDS.contains(&name));
        if last && !can_end {
            resolver.mistakes.add(
                step.at,
                format!("a run does not end at the sync point `{name}`"),
                format!(
                    "go on to `halted`, `shutdown` or another end ({})",
                    ENDS.join(", ")
                ),
            );
        }
        path.push(PathStep {
            vcpu,
            at: name.to_owned(),
        });
    }
    (path, all_known)
}

/// Reports a name that is neither a point nor an end.
pub(super) fn check_stop(name: &str, at: Position, observable: &Observable<'_>, resolver: &mut Resolver<'_>) {
    if observable.is_stop(name) {
        return;
    }
    let mut stops = observable.names.names.clone();
    stops.extend(ENDS.iter().map(|end| (*end).to_owned()));
    let (what, remedy) = unknown_point(name, &stops, "the stops");
    resolver.mistakes.add(at, what, remedy);
}

impl Observable<'_> {
    fn is_stop(&self, name: &str) -> bool {
        ENDS.contains(&name) || self.names.admits(name)
    }

    /// All points and ends that can be read.
    fn stops(&self) -> impl Iterator<Item = &str> {
        ENDS.iter()
            .copied()
            .chain(self.names.names.iter().map(String::as_str))
    }
}

fn read_expectation(
    entry: &Located<Expectation>,
    observable: &Observable<'_>,
    resolver: &mut Resolver<'_>,
    fields: &mut Vec<FieldExpectation>,
) {
    let expectation = &entry.value;
    check_stop(&expectation.at.value, expectation.at.at, observable, resolver);
    let vcpu = expectation.vcpu.as_ref().and_then(|vcpu| resolver.vcpu(vcpu));
    let because = expectation
        .because
        .as_ref()
        .and_then(|id| requirement::find(&id.value.text));
    if expectation.fields.is_empty() {
        resolver.mistakes.add(
            entry.at,
            "this expects nothing",
            "add the name of a field and its value, such as `nmi.masked: true`",
        );
    }
    read_fields(
        &expectation.fields,
        observable,
        resolver,
        &mut |name, field, allowed, mistakes| {
            check_observable(name, &field, &expectation.at.value, mistakes);
            fields.push(FieldExpectation {
                at: expectation.at.value.clone(),
                nth: expectation.nth.as_ref().map(|nth| nth.value),
                vcpu,
                field,
                allowed,
                because,
                line: name.at.line,
                column: name.at.column,
            });
        },
    );
}

/// Reads the names of what is observed and what is allowed of it.
pub(super) fn read_fields(
    written: &[(Located<String>, Located<Expected>)],
    observable: &Observable<'_>,
    resolver: &mut Resolver<'_>,
    take: &mut dyn FnMut(&Located<String>, ObservedField, AllowedValue, &mut Mistakes),
) {
    for (name, expected) in written {
        let Some(field) = ObservedField::named(&name.value, observable.layout, observable.watches) else {
            report_unknown(name, observable, resolver);
            continue;
        };
        if let Some(allowed) = allowed(field, name, expected, observable, resolver) {
            take(name, field, allowed, resolver.mistakes);
        }
    }
}

/// An expectation of what cannot be observed at the end where it is can never hold.
fn check_observable(name: &Located<String>, field: &ObservedField, at: &str, mistakes: &mut Mistakes) {
    if let Some((why, remedy)) = stop::end(at).and_then(|end| hidden_at(field, end)) {
        let what = format!("`{}` cannot be observed at `{at}`: {why}", name.value);
        mistakes.add(name.at, what, remedy);
    }
}

/// An expectation at a stop that no path has can never fail, so it is a mistake.
fn check_reached(
    expectation: &Expectation,
    paths: &[Vec<PathStep>],
    observable: &Observable<'_>,
    resolver: &mut Resolver<'_>,
) {
    let at = &expectation.at;
    if paths.is_empty() || !observable.is_stop(&at.value) {
        return;
    }
    let times = |path: &Vec<PathStep>| path.iter().filter(|step| step.at == at.value).count();
    let most = paths.iter().map(times).max().unwrap_or(0);
    if most == 0 {
        resolver.mistakes.add(
            at.at,
            format!("the path never comes to `{}`", at.value),
            "correct the name, or add it to `path`",
        );
    } else if let Some(nth) = &expectation.nth {
        let reached = usize::try_from(nth.value).is_ok_and(|nth| (1..=most).contains(&nth));
        if !reached {
            resolver.mistakes.add(
                nth.at,
                format!("the path does not come to `{}` so often", at.value),
                format!("the times are counted from 1, and the last one is {most}"),
            );
        }
    }
}

fn report_unknown(name: &Located<String>, observable: &Observable<'_>, resolver: &mut Resolver<'_>) {
    let written = name.value.as_str();
    let (what, remedy) = if let Some(row) = written.strip_prefix("save.") {
        let layout = observable.layout;
        let rows = SaveAreaRows::names();
        let rows = rows.into_iter().filter(|row| layout.row(row).is_some());
        let what = format!("the save area `{}` has no `{row}`", layout.name);
        (what, suggest(row, rows, "its fields"))
    } else if !observable.watches_known {
        return;
    } else {
        let watch = written.strip_prefix("watch.").unwrap_or(written);
        let watches = observable.watches.iter().map(|watch| watch.name.as_str());
        let what = format!("`watch` has no `{watch}`");
        let remedy = if observable.watches.is_empty() {
            format!("add `watch: {{ {watch}: {{ address: .., length: .. }} }}`")
        } else {
            suggest(watch, watches, "its names")
        };
        (what, remedy)
    };
    resolver.mistakes.add(name.at, what, remedy);
}

/// Actions at a point that no path has would never happen.
fn check_host(
    entries: &[Located<HostEntry>],
    paths: &[Vec<PathStep>],
    observable: &Observable<'_>,
    resolver: &mut Resolver<'_>,
) {
    for entry in entries.iter().filter(|_| !paths.is_empty()) {
        let at = &entry.value.at;
        if !observable.names.admits(&at.value) {
            continue;
        }
        let reached = paths.iter().flatten().any(|step| step.at == at.value);
        if !reached {
            resolver.mistakes.add(
                at.at,
                format!(
                    "the path never comes to `{}`, so the host does nothing there",
                    at.value
                ),
                "correct the name, or add it to `path`",
            );
        }
    }
}

fn allowed(
    field: ObservedField,
    name: &Located<String>,
    expected: &Located<Expected>,
    observable: &Observable<'_>,
    resolver: &mut Resolver<'_>,
) -> Option<AllowedValue> {
    let at = expected.at;
    if let ObservedField::Watch(index) = field {
        let length = observable.watches.get(index).map_or(0, |watch| watch.length);
        return watched(expected, length, &name.value, resolver);
    }
    let bits = match field {
        ObservedField::State(field) => field.bits,
        ObservedField::Save(row) => u8::try_from(row.width.min(8) * 8).unwrap_or(64),
        ObservedField::Stack(_) | ObservedField::Watch(_) => 64,
    };
    match &expected.value {
        Expected::Exactly(number) => resolver
            .number_at(number, at, bits, &name.value)
            .map(AllowedValue::Exactly),
        Expected::AnyOf(numbers) => any_of(numbers, at, bits, &name.value, resolver),
        Expected::Masked { mask, value } => {
            let mask = resolver.number_at(mask, at, bits, &name.value);
            let value = resolver.number_at(value, at, bits, &name.value);
            let (mask, value) = mask.zip(value)?;
            if value & !mask != 0 {
                resolver.mistakes.add(
                    at,
                    format!("value {value:#x} has bits outside mask {mask:#x}"),
                    "the value says what the bits of the mask must be; clear the others",
                );
            }
            Some(AllowedValue::Masked { mask, value })
        }
        Expected::Bytes(_) => {
            resolver.mistakes.add(
                at,
                format!("`{}` is a number, not bytes", name.value),
                "write a number; bytes go with `watch.` names",
            );
            None
        }
    }
}

fn any_of(
    numbers: &[Number],
    at: Position,
    bits: u8,
    name: &str,
    resolver: &mut Resolver<'_>,
) -> Option<AllowedValue> {
    let values: Vec<Option<u64>> = numbers
        .iter()
        .map(|number| resolver.number_at(number, at, bits, name))
        .collect();
    let values: Option<Vec<u64>> = values.into_iter().collect();
    values.map(AllowedValue::AnyOf)
}

/// The allowed contents of a watch: all its bytes, or a little-endian number.
fn watched(
    expected: &Located<Expected>,
    length: u32,
    name: &str,
    resolver: &mut Resolver<'_>,
) -> Option<AllowedValue> {
    if length == 0 {
        // The watch has a mistake of its own, so nothing can be said about its contents.
        return None;
    }
    match &expected.value {
        Expected::Bytes(list) => {
            let bytes = resolver.byte_list(list, expected.at)?;
            if usize::try_from(length) != Ok(bytes.len()) {
                resolver.mistakes.add(
                    expected.at,
                    format!(
                        "{} bytes are expected of `{name}`, which has {length}",
                        bytes.len()
                    ),
                    "write one number per byte, or change the length of the watch",
                );
            }
            Some(AllowedValue::Bytes(bytes))
        }
        Expected::Exactly(number) if length <= 8 => {
            let bits = u8::try_from(length * 8).unwrap_or(64);
            let value = resolver.number_at(number, expected.at, bits, name)?;
            let bytes = value
                .to_le_bytes()
                .into_iter()
                .take(usize::try_from(length).unwrap_or(8));
            Some(AllowedValue::Bytes(bytes.collect()))
        }
        _ => {
            resolver.mistakes.add(
                expected.at,
                format!("`{name}` is {length} bytes of memory"),
                "write a list with one number per byte",
            );
            None
        }
    }
}
