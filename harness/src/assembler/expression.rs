//! Expressions over numbers, constants and labels.
//!
//! Operators, the loosest first: `|`, `&`, `<<` and `>>`, `+` and `-`, `*`, then the
//! unary `-`, `~`, `offset LABEL` and `linear LABEL`. `$` is the offset of the statement.

use std::collections::BTreeMap;

use super::error::{Mistake, most_alike};
use super::lexer::{Cursor, Located, TokenKind};

/// An expression as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// A number or a character.
    Number(i128),
    /// The offset of the statement itself.
    Here,
    /// A constant or a label.
    Symbol {
        /// Its name.
        name: String,
        /// How the address of a label is meant.
        view: View,
        /// Column of the name.
        column: usize,
    },
    /// An operator with one operand.
    Unary(Unary, Box<Expression>),
    /// An operator with two operands.
    Binary(Binary, Box<Expression>, Box<Expression>),
}

/// How the address of a label is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Nothing is said.
    Bare,
    /// Offset in the segment of the label.
    Offset,
    /// Linear address.
    Linear,
}

/// Operators with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    /// `-`
    Negate,
    /// `~`
    Complement,
}

/// Operators with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    /// `|`
    Or,
    /// `&`
    And,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
}

/// Binary operators by how loosely they bind.
const LEVELS: [&[(&str, Binary)]; 5] = [
    &[("|", Binary::Or)],
    &[("&", Binary::And)],
    &[("<<", Binary::ShiftLeft), (">>", Binary::ShiftRight)],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[("*", Binary::Multiply)],
];

/// Level of [`LEVELS`] that holds products: what stands between `+` and `-` in an address.
const PRODUCT: usize = 4;

/// Depth of parentheses and unary operators that is read before giving up.
const DEEPEST: usize = 64;

impl Expression {
    /// Reads a whole expression.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Located<Self> {
        parse_level(cursor, 0, 0)
    }

    /// Reads an expression without `+`, `-` and looser operators outside parentheses.
    pub(super) fn parse_product(cursor: &mut Cursor<'_>) -> Located<Self> {
        parse_level(cursor, PRODUCT, 0)
    }

    /// The sum or difference of two expressions.
    pub(super) fn combine(operator: Binary, left: Self, right: Self) -> Self {
        Self::Binary(operator, Box::new(left), Box::new(right))
    }

    /// Calls `visit` for each symbol.
    pub(super) fn symbols(&self, visit: &mut dyn FnMut(&str, usize)) {
        match self {
            Self::Number(_) | Self::Here => {}
            Self::Symbol { name, column, .. } => visit(name, *column),
            Self::Unary(_, operand) => operand.symbols(visit),
            Self::Binary(_, left, right) => {
                left.symbols(visit);
                right.symbols(visit);
            }
        }
    }

    /// The value in `scope`.
    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, Mistake> {
        match self {
            Self::Number(number) => Ok(Value::number(*number)),
            Self::Here => Ok(Value {
                number: i128::from(scope.here),
                bare: Bareness::default(),
                has_label: true,
            }),
            Self::Symbol { name, view, .. } => scope.symbol(name, *view),
            Self::Unary(operator, operand) => {
                let value = operand.evaluate(scope)?;
                let number = match operator {
                    Unary::Negate => value.number.checked_neg().ok_or(Mistake::Overflow)?,
                    Unary::Complement => !value.number,
                };
                let bare = Bareness {
                    degree: -value.bare.degree,
                    ..value.bare
                };
                Ok(Value {
                    number,
                    bare,
                    ..value
                })
            }
            Self::Binary(operator, left, right) => {
                let (left, right) = (left.evaluate(scope)?, right.evaluate(scope)?);
                let number = compute(*operator, left.number, right.number).ok_or(Mistake::Overflow)?;
                let degree = match operator {
                    Binary::Add => left.bare.degree.saturating_add(right.bare.degree),
                    Binary::Subtract => left.bare.degree.saturating_sub(right.bare.degree),
                    _ => i32::from(left.bare.degree != 0 || right.bare.degree != 0),
                };
                Ok(Value {
                    number,
                    bare: Bareness {
                        degree,
                        label: left.bare.label.or(right.bare.label),
                    },
                    has_label: left.has_label || right.has_label,
                })
            }
        }
    }
}

fn compute(operator: Binary, left: i128, right: i128) -> Option<i128> {
    match operator {
        Binary::Or => Some(left | right),
        Binary::And => Some(left & right),
        Binary::ShiftLeft => {
            let shifted = left.checked_shl(u32::try_from(right).ok()?)?;
            (shifted >> right == left).then_some(shifted)
        }
        Binary::ShiftRight => left.checked_shr(u32::try_from(right).ok()?),
        Binary::Add => left.checked_add(right),
        Binary::Subtract => left.checked_sub(right),
        Binary::Multiply => left.checked_mul(right),
    }
}

fn parse_level(cursor: &mut Cursor<'_>, level: usize, depth: usize) -> Located<Expression> {
    let Some(operators) = LEVELS.get(level) else {
        return parse_unary(cursor, depth);
    };
    let mut left = parse_level(cursor, level + 1, depth)?;
    while let Some((_, operator)) = operators.iter().find(|(sign, _)| cursor.take_sign(sign)) {
        let right = parse_level(cursor, level + 1, depth)?;
        left = Expression::combine(*operator, left, right);
    }
    Ok(left)
}

fn parse_unary(cursor: &mut Cursor<'_>, depth: usize) -> Located<Expression> {
    if depth > DEEPEST {
        return Err((cursor.column(), Mistake::Overflow));
    }
    if cursor.take_sign("-") {
        return Ok(Expression::Unary(
            Unary::Negate,
            Box::new(parse_unary(cursor, depth + 1)?),
        ));
    }
    if cursor.take_sign("~") {
        return Ok(Expression::Unary(
            Unary::Complement,
            Box::new(parse_unary(cursor, depth + 1)?),
        ));
    }
    if cursor.take_sign("(") {
        let inner = parse_level(cursor, 0, depth + 1)?;
        if !cursor.take_sign(")") {
            return Err(cursor.unexpected("`)`"));
        }
        return Ok(inner);
    }
    if cursor.take_sign("$") {
        return Ok(Expression::Here);
    }
    if matches!(cursor.peek(1), Some(TokenKind::Word(_))) {
        if cursor.take_word("offset") {
            return parse_symbol(cursor, View::Offset);
        }
        if cursor.take_word("linear") {
            return parse_symbol(cursor, View::Linear);
        }
    }
    match cursor.peek(0) {
        Some(TokenKind::Number(number)) => {
            cursor.next();
            Ok(Expression::Number(*number))
        }
        Some(TokenKind::Quoted(text)) => match text.as_bytes() {
            [byte] => {
                cursor.next();
                Ok(Expression::Number(i128::from(*byte)))
            }
            _ => Err(cursor.unexpected("a single ASCII character (longer strings stand in db)")),
        },
        _ => parse_symbol(cursor, View::Bare),
    }
}

fn parse_symbol(cursor: &mut Cursor<'_>, view: View) -> Located<Expression> {
    let column = cursor.column();
    match cursor.peek(0) {
        Some(TokenKind::Word(name)) if super::register::named(name).is_none() => {
            cursor.next();
            Ok(Expression::Symbol {
                name: name.clone(),
                view,
                column,
            })
        }
        _ => Err(cursor.unexpected("a number, a constant or a label")),
    }
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// The value itself.
    pub number: i128,
    /// Labels in it without `offset` or `linear`.
    pub bare: Bareness,
    /// Whether it depends on where code lies. Such a value never decides about the length
    /// of an immediate or a displacement, so that moving code does not change encodings.
    pub has_label: bool,
}

/// How many labels without `offset` or `linear` an expression adds up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bareness {
    /// Labels added less labels subtracted; 0 for a distance between labels.
    pub degree: i32,
    /// One of them.
    pub label: Option<String>,
}

impl Value {
    fn number(number: i128) -> Self {
        Self {
            number,
            bare: Bareness::default(),
            has_label: false,
        }
    }

    /// The number, unless it is the address of a label of which nothing says how it is
    /// meant.
    pub(super) fn explicit(self) -> Result<Self, Mistake> {
        match self.bare {
            Bareness {
                degree,
                label: Some(label),
            } if degree != 0 => Err(Mistake::BareLabel(label)),
            _ => Ok(self),
        }
    }
}

/// Where a label lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Offset in its segment in bytes.
    pub offset: u64,
    /// Linear address in bytes.
    pub linear: u64,
}

/// What names mean.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Constants.
    pub constants: &'a BTreeMap<String, u64>,
    /// Labels.
    pub labels: &'a BTreeMap<String, Position>,
    /// Offset of the statement.
    pub here: u64,
    /// In a branch, the linear address of its segment: a bare label is then the label's
    /// offset in that segment, whatever segment the label's own section has.
    pub branch_segment: Option<u64>,
}

impl Scope<'_> {
    fn symbol(&self, name: &str, view: View) -> Result<Value, Mistake> {
        if let Some(position) = self.labels.get(name) {
            let number = match (view, self.branch_segment) {
                (View::Linear, _) => i128::from(position.linear),
                (View::Bare, Some(segment)) => i128::from(position.linear) - i128::from(segment),
                (View::Bare | View::Offset, _) => i128::from(position.offset),
            };
            let bare = match view {
                View::Bare => Bareness {
                    degree: 1,
                    label: Some(name.to_owned()),
                },
                View::Offset | View::Linear => Bareness::default(),
            };
            return Ok(Value {
                number,
                bare,
                has_label: true,
            });
        }
        match self.constants.get(name) {
            Some(constant) => Ok(Value::number(i128::from(*constant))),
            None => Err(self.undefined(name)),
        }
    }

    fn undefined(&self, name: &str) -> Mistake {
        let names = self
            .labels
            .keys()
            .chain(self.constants.keys())
            .map(String::as_str);
        Mistake::UndefinedLabel {
            name: name.to_owned(),
            known: most_alike(name, names, 8),
        }
    }

    /// The mistake of using `name`, if nothing defines it.
    pub(super) fn check(&self, name: &str) -> Option<Mistake> {
        let known = self.labels.contains_key(name) || self.constants.contains_key(name);
        (!known).then(|| self.undefined(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    fn value(text: &str) -> Result<Value, Mistake> {
        let characters: Vec<char> = text.chars().collect();
        let tokens = tokens(&characters, 1).map_err(|(_, mistake)| mistake)?;
        let mut cursor = Cursor::new(&tokens, characters.len() + 1);
        let expression = Expression::parse(&mut cursor).map_err(|(_, mistake)| mistake)?;
        assert!(cursor.at_end(), "{text} has a rest");
        let constants = BTreeMap::from([("PAGE".to_owned(), 4096)]);
        let position = |offset| Position {
            offset,
            linear: 0x1_0000 + offset,
        };
        let labels = BTreeMap::from([
            ("start".to_owned(), position(0x10)),
            ("end".to_owned(), position(0x30)),
        ]);
        expression.evaluate(&Scope {
            constants: &constants,
            labels: &labels,
            here: 0x20,
            branch_segment: None,
        })
    }

    #[test]
    fn operators_bind_as_documented() {
        for (text, expected) in [
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("1 << 4 | 1 & 3", 17),
            ("1 << 2 + 1", 8),
            ("-1", -1),
            ("~0 & 0xff", 0xff),
            ("10 - 2 - 3", 5),
            ("'A' + 1", 66),
            ("PAGE * 2", 8192),
            ("end - start", 0x20),
            ("offset end", 0x30),
            ("linear end + 1", 0x1_0031),
            ("$ - start", 0x10),
            ("0x100 >> 4", 0x10),
        ] {
            assert_eq!(value(text).map(|value| value.number), Ok(expected), "{text}");
        }
    }

    #[test]
    fn only_lone_labels_are_ambiguous() {
        let explicit = |text| value(text).and_then(Value::explicit).map(|value| value.number);
        assert_eq!(explicit("end + 4"), Err(Mistake::BareLabel("end".to_owned())));
        assert_eq!(
            explicit("start >> 4"),
            Err(Mistake::BareLabel("start".to_owned()))
        );
        assert_eq!(explicit("end - start"), Ok(0x20));
        assert_eq!(explicit("offset end + 4"), Ok(0x34));
    }

    #[test]
    fn overflow_and_unknown_names_are_mistakes() {
        assert_eq!(value("1 << 200"), Err(Mistake::Overflow));
        assert_eq!(value("1 << 127"), Err(Mistake::Overflow));
        assert_eq!(value("1 << -1"), Err(Mistake::Overflow));
        let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
        assert_eq!(value(&deep), Err(Mistake::Overflow));
        let Err(Mistake::UndefinedLabel { known, .. }) = value("strat") else {
            panic!("strat is not defined");
        };
        assert_eq!(known.first().map(String::as_str), Some("start"));
    }
}
