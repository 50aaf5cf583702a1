//! A source with all of its mutants in it, each behind its switch.

use std::ops::Range;

/// A place in a source at which mutants are, by their numbers in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that are wrapped; none where something is inserted.
    pub range: Range<usize>,
    /// What is done there.
    pub what: What,
}

/// What is done at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// An expression, or one of these.
    Choice(Vec<(usize, String)>),
    /// A statement, or nothing.
    Statement(usize),
    /// A condition, or its opposite.
    Condition(usize),
    /// The start of a function's body, or one of these returned.
    Body(Vec<(usize, String)>),
    /// Behind a pattern without guard: the arm, or nothing.
    Arm(usize),
    /// A guard: itself, always, never, or nothing for the arm.
    Guard {
        /// Always.
        always: usize,
        /// Never.
        never: usize,
        /// The arm is gone, where others take what it took.
        arm: Option<usize>,
    },
    /// The word `const` of a function of that name, which is left out: switches are not constant.
    Const(String),
}

/// What is to be written.
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Where the mutants are in it.
    pub places: Vec<Place>,
}

/// Where mutants are in a rewritten text.
pub struct Place {
    /// The bytes.
    pub range: Range<usize>,
    /// The numbers in the source.
    pub mutants: Vec<usize>,
}

/// How mutants are chosen and named in the text.
pub struct Switches<'a> {
    /// The number that switches a mutant on, or `None` if it is left out.
    pub number: &'a dyn Fn(usize) -> Option<usize>,
    /// Whether a function has to stay `const`.
    pub stays_const: &'a dyn Fn(&str) -> bool,
}

impl Switches<'_> {
    fn on(&self, mutant: usize) -> Option<String> {
        Some(format!("crate::mutation::on({})", (self.number)(mutant)?))
    }
}

/// Text that begins or ends an edit.
#[derive(Default)]
struct Wrap {
    /// Before what is wrapped, with the mutant of each part if it is that of one.
    open: Vec<(String, Option<usize>)>,
    close: String,
}

fn wrap(what: &What, switches: &Switches<'_>) -> Wrap {
    let mut wrap = Wrap::default();
    match what {
        What::Choice(others) => {
            for (mutant, other) in others {
                let Some(on) = switches.on(*mutant) else { continue };
                let start = if wrap.open.is_empty() { "(if" } else { "else if" };
                wrap.open
                    .push((format!("{start} {on} {{ {other} }} "), Some(*mutant)));
            }
            if !wrap.open.is_empty() {
                wrap.open.push(("else { ".to_owned(), None));
                wrap.close = " })".to_owned();
            }
        }
        What::Statement(mutant) => {
            if let Some(on) = switches.on(*mutant) {
                wrap.open.push((format!("if !{on} {{ "), Some(*mutant)));
                wrap.close = " }".to_owned();
            }
        }
        What::Condition(mutant) => {
            if let Some(on) = switches.on(*mutant) {
                wrap.open.push(("((".to_owned(), Some(*mutant)));
                wrap.close = format!(") ^ {on})");
            }
        }
        What::Body(values) => {
            for (mutant, value) in values {
                if let Some(on) = switches.on(*mutant) {
                    let text = format!(" if {on} {{ return {value}; }}");
                    wrap.open.push((text, Some(*mutant)));
                }
            }
        }
        What::Arm(mutant) => {
            if let Some(on) = switches.on(*mutant) {
                wrap.open.push((format!(" if !{on}"), Some(*mutant)));
            }
        }
        What::Guard { always, never, arm } => {
            let always_on = switches.on(*always).unwrap_or_else(|| "false".to_owned());
            let never_on = switches.on(*never).unwrap_or_else(|| "false".to_owned());
            let gone = arm
                .and_then(|arm| switches.on(arm))
                .unwrap_or_else(|| "false".to_owned());
            wrap.open
                .push((format!("!{gone} && ({always_on} || !{never_on} && ("), None));
            wrap.close = "))".to_owned();
        }
        What::Const(_) => {}
    }
    wrap
}

/// Writes a source with its edits.
#[must_use]
pub fn render(source: &str, edits: &[Edit], switches: &Switches<'_>) -> Rendered {
    let wraps: Vec<Wrap> = edits.iter().map(|edit| wrap(&edit.what, switches)).collect();
    // Where two begin at one place the longer one is outside, and of two that are as long the first.
    let mut opens: Vec<usize> = (0..edits.len()).collect();
    opens.sort_by_key(|index| {
        let range = &edits[*index].range;
        let inserted = !range.is_empty();
        (range.start, inserted, std::cmp::Reverse(range.end), *index)
    });
    let mut rendered = Rendered {
        text: String::with_capacity(source.len() * 4),
        places: Vec::new(),
    };
    let mut at = 0;
    // Those that are open, the innermost last, with where they began in the new text.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for index in opens {
        let edit = &edits[index];
        while let Some((inner, _)) = stack.last()
            && edits[*inner].range.end <= edit.range.start
        {
            close(&mut rendered, &mut stack, source, &mut at, edits, &wraps);
        }
        rendered.text.push_str(&source[at..edit.range.start]);
        at = edit.range.start;
        if let What::Const(name) = &edit.what {
            if !(switches.stays_const)(name) {
                at = edit.range.end;
            }
            continue;
        }
        let begin = rendered.text.len();
        for (text, mutant) in &wraps[index].open {
            let start = rendered.text.len();
            rendered.text.push_str(text);
            if let Some(mutant) = mutant {
                rendered.places.push(Place {
                    range: start..rendered.text.len(),
                    mutants: vec![*mutant],
                });
            }
        }
        stack.push((index, begin));
    }
    while !stack.is_empty() {
        close(&mut rendered, &mut stack, source, &mut at, edits, &wraps);
    }
    rendered.text.push_str(&source[at..]);
    rendered
}

/// Ends the innermost edit that is open.
fn close(
    rendered: &mut Rendered,
    stack: &mut Vec<(usize, usize)>,
    source: &str,
    at: &mut usize,
    edits: &[Edit],
    wraps: &[Wrap],
) {
    let Some((index, begin)) = stack.pop() else { return };
    let end = edits[index].range.end;
    rendered.text.push_str(&source[*at..end]);
    *at = end;
    rendered.text.push_str(&wraps[index].close);
    let mutants = match &edits[index].what {
        What::Choice(others) | What::Body(others) => others.iter().map(|(mutant, _)| *mutant).collect(),
        What::Statement(mutant) | What::Condition(mutant) | What::Arm(mutant) => vec![*mutant],
        What::Guard { always, never, arm } => [*always, *never].into_iter().chain(*arm).collect(),
        What::Const(_) => Vec::new(),
    };
    rendered.places.push(Place {
        range: begin..rendered.text.len(),
        mutants,
    });
}
