//! A YAML document as a tree in which every node knows its place.
//!
//! Case files are parsed once into this tree. The structure is then checked as a whole,
//! so that every mistake is reported with its position and not only the first one.

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::mistake::{Mistakes, Position};

/// A node and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// Numbers beyond 128 bits are clamped: they are out of every range.
    Integer(i128),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: Position,
    pub(super) text: String,
}

impl Node {
    /// What the node is, for messages.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Integer(value) => format!("the number {}", super::mistake::number(*value)),
            Value::Text(text) if text.contains('\n') => "a text of several lines".to_owned(),
            Value::Text(text) => format!("the text `{text}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// Parses a file. `None` if it is not YAML at all; other mistakes leave a usable tree.
pub(super) fn parse(source: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let events = Parser::new_from_str(source);
    Builder { events, mistakes }.document()
}

/// Reports what YAML has and is not read: anchors, aliases, tags, merge keys, and texts that a comment cuts. A
/// file that is not YAML has none.
pub(super) fn refuse_unread(source: &str, mistakes: &mut Mistakes) {
    let lines: Vec<&str> = source.lines().collect();
    let mut is_text = false;
    for (event, span) in Parser::new_from_str(source).map_while(Result::ok) {
        if let Some((what, remedy)) = unread(&event) {
            mistakes.add(begin(&span), what, remedy);
        }
        let Event::Scalar(text, style, ..) = &event else {
            is_text = false;
            continue;
        };
        let line = lines
            .get(span.end.line().saturating_sub(1))
            .copied()
            .unwrap_or_default();
        let behind: String = line.chars().skip(span.end.col()).collect();
        if is_text && *style == ScalarStyle::Plain && behind.trim_start().starts_with('#') {
            let what = format!("a comment cuts the text behind `{text}`");
            mistakes.add(begin(&span), what, "put the text in quotes");
        }
        is_text = TEXTS.contains(&text.as_ref());
    }
}

/// Keys whose values are sentences, in which ` #GP` is meant as it stands.
const TEXTS: [&str; 6] = ["title", "reason", "source", "found", "where", "why"];

/// What an event says that is not read, and what to write in its place.
fn unread(event: &Event<'_>) -> Option<(&'static str, &'static str)> {
    const WRITE_OUT: &str = "write the value out: a file reads from top to bottom";
    match event {
        Event::Alias(..) | Event::UnresolvedAlias(..) => Some(("a YAML alias stands here", WRITE_OUT)),
        Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<" => {
            Some(("`<<` merges another map into this one", WRITE_OUT))
        }
        Event::Scalar(_, _, anchor, tag)
        | Event::SequenceStart(_, anchor, tag)
        | Event::MappingStart(_, anchor, tag) => {
            if *anchor != 0 {
                Some(("a YAML anchor (`&name`) stands here", "remove it"))
            } else {
                let is_there = tag.is_some();
                is_there.then_some(("a YAML tag (`!name`) stands here", "remove it"))
            }
        }
        _ => None,
    }
}

struct Builder<'a, 'm> {
    events: Parser<'a, StrInput<'a>>,
    mistakes: &'m mut Mistakes,
}

impl<'a> Builder<'a, '_> {
    fn document(&mut self) -> Option<Node> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::StreamEnd, _) => {
                    self.mistakes.add(
                        Position::START,
                        "the file is empty",
                        "write a case with at least `title`, `checks`, `machine`, `code` and `path`",
                    );
                    return None;
                }
                (event, span) => {
                    let node = self.node(event, span)?;
                    self.nothing_follows(node.at)?;
                    return Some(node);
                }
            }
        }
    }

    /// Reads to the end, so that syntax errors further down are found too.
    ///
    /// What the first document lacks may be in the second: its beginning is doubted.
    fn nothing_follows(&mut self, first: Position) -> Option<()> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Some(()),
                (Event::DocumentStart(..), span) => {
                    self.mistakes.doubt(first);
                    self.mistakes.add(
                        begin(&span),
                        "a second document starts here",
                        "one file holds one case; put it into a file of its own",
                    );
                }
                _ => {}
            }
        }
    }

    /// The next event that says something about the data; comments do not.
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        loop {
            match self.events.next()? {
                Ok((event, span)) if is_data(&event) => return Some((event, span)),
                Ok(_) => {}
                Err(error) => {
                    let at = Position {
                        line: error.marker().line().max(1),
                        column: error.marker().col() + 1,
                    };
                    let remedy = "correct the YAML; code needs `|` after its name, and texts with `: `, ` #` or \
                                  a leading `*`, `&`, `[` or `{` need quotes";
                    self.mistakes.add(at, error.info().to_string(), remedy);
                    return None;
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Option<Node> {
        let mut at = begin(&span);
        if let Event::Scalar(text, ScalarStyle::Literal, ..) = &event {
            // The span leaves out blank lines at the top, the text does not.
            at.line -= text.chars().take_while(|c| *c == '\n').count().min(at.line - 1);
        }
        if let Some((what, remedy)) = unread(&event) {
            self.mistakes.add(at, what, remedy);
        }
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => Value::List(self.list()?),
            Event::MappingStart(..) => Value::Map(self.map()?),
            _ => Value::Null,
        };
        Some(Node { at, value })
    }

    fn list(&mut self) -> Option<Vec<Node>> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Some(list),
                (event, span) => list.push(self.node(event, span)?),
            }
        }
    }

    fn map(&mut self) -> Option<Vec<(Key, Node)>> {
        let mut map: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if let (Event::Scalar(..), Some((what, remedy))) = (&event, unread(&event)) {
                self.mistakes.add(begin(&span), what, remedy);
            }
            let key = match (event, span) {
                (Event::MappingEnd, _) => return Some(map),
                (Event::Scalar(text, ..), span) => Some(Key {
                    at: begin(&span),
                    text: text.into_owned(),
                }),
                (event, span) => {
                    self.node(event, span)?;
                    let remedy = "keys are single words or numbers";
                    self.mistakes.add(begin(&span), "this key is not a word", remedy);
                    None
                }
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span)?;
            let Some(key) = key else { continue };
            if let Some((first, _)) = map.iter().find(|(first, _)| first.text == key.text) {
                self.mistakes.add(
                    key.at,
                    format!("`{}` is given twice", key.text),
                    format!("keep one of them, the first is in line {}", first.at.line),
                );
            } else {
                map.push((key, node));
            }
        }
    }
}

fn is_data(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Alias(..)
            | Event::UnresolvedAlias(..)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd
    )
}

fn begin(span: &Span) -> Position {
    Position {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

/// What an unquoted scalar means: YAML 1.2's core schema, with underscores and binary
/// numbers, and without fractions.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => integer(text).map_or_else(|| Value::Text(text.to_owned()), Value::Integer),
    }
}

/// A number as cases write it: decimal, `0x` hexadecimal or `0b` binary, with underscores.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    let mut value: i128 = 0;
    let mut any = false;
    for digit in digits.chars().filter(|digit| *digit != '_') {
        let digit = digit.to_digit(radix)?;
        value = value
            .saturating_mul(i128::from(radix))
            .saturating_add(i128::from(digit));
        any = true;
    }
    (any && !digits.starts_with('_')).then_some(sign * value)
}

/// Whether a text was written over several lines without `|`, which makes one line of it.
pub(super) fn is_folded(source: &str, key: &Position, name: &str) -> bool {
    let line = source.lines().nth(key.line.saturating_sub(1)).unwrap_or_default();
    let value = line
        .chars()
        .skip(key.column + name.chars().count())
        .collect::<String>();
    let value = value.trim_start();
    if value.starts_with(['|', '"', '\'', '{']) {
        return false;
    }
    let next = source.lines().nth(key.line).unwrap_or_default();
    let indent = next.chars().take_while(|c| *c == ' ').count();
    value.starts_with('>') || (indent >= key.column && !next.trim().is_empty())
}

/// Where a place in a text lies in the file. `at` is where the text begins there, `line`
/// and `column` count from 1 inside the text.
pub(super) fn in_text(source: &str, at: Position, line: usize, column: usize) -> Position {
    if at == Position::NOWHERE {
        return at;
    }
    let first = source.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
    let quoted = matches!(first.chars().nth(at.column - 1), Some('"' | '\''));
    Position {
        line: at.line + line - 1,
        column: at.column + column - 1 + usize::from(quoted),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mistakes, Position, in_text, integer, is_folded, refuse_unread};

    #[test]
    fn numbers_may_have_prefixes_and_underscores() {
        assert_eq!(integer("0xffff_ffff_8100_0000"), Some(0xffff_ffff_8100_0000));
        assert_eq!(integer("0b1_01"), Some(5));
        assert_eq!(integer("-3"), Some(-3));
        assert_eq!(integer("1.5"), None);
        assert_eq!(integer("0x"), None);
        assert_eq!(integer("_1"), None);
        assert_eq!(integer(&"9".repeat(60)), Some(i128::MAX));
    }

    #[test]
    fn a_text_that_a_comment_cuts_is_refused() {
        let refused = |source: &str| {
            let mut mistakes = Mistakes::new(std::path::Path::new("case.yaml"));
            refuse_unread(source, &mut mistakes);
            !mistakes.is_empty()
        };
        assert!(refused("title: RDMSR raises #GP\n"));
        assert!(refused(
            "upstream: { status: known }\nfound: nowhere; no #DB comes\n"
        ));
        assert!(!refused("title: \"RDMSR raises #GP\"\n"));
        assert!(!refused("reason: >-\n  raises #GP\n"));
        assert!(!refused("code:\n  start: |\n    where: nop # a label\n"));
        assert!(!refused("path: [a] # a comment\ntitle: C#\n"));
    }

    #[test]
    fn positions_in_block_text_count_from_its_first_line() {
        let source = "code:\n  start: |\n    nop\n      hlt\n";
        let at = Position { line: 3, column: 5 };
        assert_eq!(in_text(source, at, 2, 3), Position { line: 4, column: 7 });
        let key = Position { line: 2, column: 3 };
        assert!(!is_folded(source, &key, "start"));
        assert!(is_folded("code:\n  start:\n    nop\n    hlt\n", &key, "start"));
    }
}
