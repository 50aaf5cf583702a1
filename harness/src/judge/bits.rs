//! Names of the bits in which two values of a register differ.

/// Flags of RFLAGS (SDM vol. 1, "EFLAGS Register").
const RFLAGS: &[(u8, &str)] = &[
    (0, "CF"),
    (2, "PF"),
    (4, "AF"),
    (6, "ZF"),
    (7, "SF"),
    (8, "TF"),
    (9, "IF"),
    (10, "DF"),
    (11, "OF"),
    (12, "IOPL"),
    (13, "IOPL"),
    (14, "NT"),
    (16, "RF"),
    (17, "VM"),
    (18, "AC"),
    (19, "VIF"),
    (20, "VIP"),
    (21, "ID"),
];
/// SDM vol. 3A, "Control Registers".
const CR0: &[(u8, &str)] = &[
    (0, "PE"),
    (1, "MP"),
    (2, "EM"),
    (3, "TS"),
    (4, "ET"),
    (5, "NE"),
    (16, "WP"),
    (18, "AM"),
    (29, "NW"),
    (30, "CD"),
    (31, "PG"),
];
/// SDM vol. 3A, "Control Registers".
const CR4: &[(u8, &str)] = &[
    (0, "VME"),
    (1, "PVI"),
    (2, "TSD"),
    (3, "DE"),
    (4, "PSE"),
    (5, "PAE"),
    (6, "MCE"),
    (7, "PGE"),
    (8, "PCE"),
    (9, "OSFXSR"),
    (10, "OSXMMEXCPT"),
    (11, "UMIP"),
    (12, "LA57"),
    (13, "VMXE"),
    (14, "SMXE"),
    (16, "FSGSBASE"),
    (17, "PCIDE"),
    (18, "OSXSAVE"),
    (20, "SMEP"),
    (21, "SMAP"),
    (22, "PKE"),
    (23, "CET"),
];
/// APM vol. 2, "Extended Feature Enable Register (EFER)".
const EFER: &[(u8, &str)] = &[
    (0, "SCE"),
    (8, "LME"),
    (10, "LMA"),
    (11, "NXE"),
    (12, "SVME"),
    (13, "LMSLE"),
    (14, "FFXSR"),
];
/// SDM vol. 3B, "Debug Status Register (DR6)".
const DR6: &[(u8, &str)] = &[
    (0, "B0"),
    (1, "B1"),
    (2, "B2"),
    (3, "B3"),
    (11, "BLD"),
    (13, "BD"),
    (14, "BS"),
    (15, "BT"),
    (16, "RTM"),
];
/// Cached access rights, as [`spec_model::x86::segment::SegmentAttributes`] holds them.
const ATTRIBUTES: &[(u8, &str)] = &[
    (0, "accessed"),
    (1, "readable/writable"),
    (2, "conforming/expand-down"),
    (3, "code"),
    (4, "S"),
    (5, "DPL"),
    (6, "DPL"),
    (7, "P"),
    (12, "AVL"),
    (13, "L"),
    (14, "D/B"),
    (15, "G"),
    (16, "unusable"),
];

/// Names of the bits set in `difference`, for a register whose bits have names. `field` is
/// a field name such as `rflags` or `save.cs.attributes`; empty for any other field.
///
/// The access rights in a save area may be shifted; their bits are named only for the
/// processor state, where the position is fixed.
pub(super) fn named(field: &str, difference: u64) -> Vec<&'static str> {
    let (saved, register) = match field.strip_prefix("save.") {
        Some(register) => (true, register),
        None => (false, field),
    };
    let table = match register {
        "rflags" => RFLAGS,
        "cr0" => CR0,
        "cr4" => CR4,
        "efer" => EFER,
        "dr6" => DR6,
        _ if !saved && register.ends_with(".attributes") => ATTRIBUTES,
        _ => return Vec::new(),
    };
    let mut names: Vec<&'static str> = Vec::new();
    for (bit, name) in table {
        if difference >> bit & 1 != 0 && names.last() != Some(name) {
            names.push(name);
        }
    }
    names
}
