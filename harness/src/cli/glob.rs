//! Choosing cases by pattern.

/// Whether a case name fits a pattern.
///
/// `*` stands for any characters but `/`, `**` for any characters, `?` for one. A pattern
/// that is the beginning of a name up to a `/` fits too: `smm` means `smm/**`.
#[must_use]
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.trim_end_matches('/');
    let below = name
        .match_indices('/')
        .map(|(at, _)| name.get(..at).unwrap_or(name));
    fits(pattern.as_bytes(), name.as_bytes())
        || below
            .into_iter()
            .any(|folder| fits(pattern.as_bytes(), folder.as_bytes()))
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=name.len()).any(|skip| fits(rest, name.get(skip..).unwrap_or(&[]))),
        [b'*', rest @ ..] => {
            let segment = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
            (0..=segment).any(|skip| fits(rest, name.get(skip..).unwrap_or(&[])))
        }
        [b'?', rest @ ..] => name
            .split_first()
            .is_some_and(|(first, tail)| *first != b'/' && fits(rest, tail)),
        [byte, rest @ ..] => name
            .split_first()
            .is_some_and(|(first, tail)| first == byte && fits(rest, tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_fit() {
        for (pattern, name, fit) in [
            ("smm/rsm", "smm/rsm", true),
            ("smm", "smm/rsm", true),
            ("smm/", "smm/rsm", true),
            ("sm", "smm/rsm", false),
            ("smm/*", "smm/rsm", true),
            ("*", "smm/rsm", true),
            ("*/rsm", "smm/rsm", true),
            ("*rsm", "smm/rsm", false),
            ("**rsm", "smm/rsm", true),
            ("smm/r?m*", "smm/rsm-2", true),
            ("smm?rsm", "smm/rsm", false),
            ("smm/*", "nmi/rsm", false),
            ("", "smm/rsm", false),
        ] {
            assert_eq!(matches(pattern, name), fit, "{pattern} {name}");
        }
    }
}
