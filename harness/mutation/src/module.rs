//! Parts of the model, as reports have them.

/// What no rule is in: the catalogue, tables of names, what only traces and explanations show, and
/// what makes up random scenarios.
const LEFT_OUT: [&str; 9] = [
    "requirement/",
    "historic_bug/",
    "historic_bug.rs",
    "defect.rs",
    "error.rs",
    "lib.rs",
    "x86/machine/trace.rs",
    "stage2/trace.rs",
    "tests.rs",
];

/// The parts, by how the paths of their sources begin. The first that fits counts.
const PARTS: [(&str, &[&str]); 13] = [
    ("chipset", &["chipset/"]),
    ("debug", &["x86/debug/"]),
    (
        "delivery",
        &["x86/delivery.rs", "x86/exception.rs", "x86/double_fault.rs"],
    ),
    (
        "events",
        &[
            "x86/step.rs",
            "x86/machine/",
            "x86/injection.rs",
            "x86/init.rs",
            "x86/machine_check.rs",
        ],
    ),
    ("execute", &["x86/execute/"]),
    ("local_apic", &["x86/local_apic/"]),
    (
        "paging+memory",
        &["x86/paging.rs", "x86/memory.rs", "x86/page.rs", "x86/physical.rs"],
    ),
    ("save_area", &["x86/save_area/"]),
    ("segmentation", &["x86/segmentation.rs", "x86/segment.rs"]),
    ("smm", &["x86/smm/"]),
    ("stage2/arm64", &["stage2/machine/arm64/", "stage2/arm64.rs"]),
    ("stage2", &["stage2/"]),
    ("xen_pv", &["x86/xen_pv/"]),
];

/// The name of all other parts together.
const OTHER: &str = "other";

/// Whether a source has rules in it. The path is that below `spec-model/src`.
#[must_use]
pub fn has_rules(file: &str) -> bool {
    !LEFT_OUT.iter().any(|left_out| match left_out.strip_suffix('/') {
        Some(_) => file.starts_with(left_out),
        None => file == *left_out || file.ends_with(&format!("/{left_out}")) && *left_out == "tests.rs",
    })
}

/// The part that a source belongs to.
#[must_use]
pub fn of(file: &str) -> &'static str {
    let fits = |(_, starts): &&(&str, &[&str])| starts.iter().any(|start| file.starts_with(start));
    PARTS.iter().find(fits).map_or(OTHER, |(name, _)| name)
}

/// All parts in the order of reports.
pub fn all() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|(name, _)| *name).chain([OTHER])
}
