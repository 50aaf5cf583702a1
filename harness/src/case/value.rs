//! Values in case files that have more than one spelling, with their JSON Schema.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Visitor};
use spec_model::chipset::register::Register;
use spec_model::profile::PROFILES;
use spec_model::requirement;
use spec_model::x86::field::FIELDS;
use spec_model::x86::save_area::LAYOUTS;

use super::document::{Entries, Located};

/// Id of a requirement.
pub(super) type RequirementId = Name<RequirementIds>;
/// Name of an implementation whose choices the model knows.
pub(super) type ProfileName = Name<ProfileNames>;
/// Name of something observed.
pub(super) type ObservationName = String;

/// A closed set of names.
pub(super) trait Names {
    const TITLE: &'static str;
    fn names() -> Vec<&'static str>;
}

/// A text out of a closed set of names.
#[derive(Clone, Debug)]
pub(super) struct Name<N> {
    pub(super) text: String,
    set: std::marker::PhantomData<N>,
}

impl<'de, N> Deserialize<'de> for Name<N> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let set = std::marker::PhantomData;
        Ok(Self { text, set })
    }
}

impl<N: Names> JsonSchema for Name<N> {
    fn schema_name() -> Cow<'static, str> {
        N::TITLE.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": N::names() })
    }
}

/// The requirements of the catalogue.
#[derive(Clone, Debug)]
pub(super) struct RequirementIds;

impl Names for RequirementIds {
    const TITLE: &'static str = "requirement id";
    fn names() -> Vec<&'static str> {
        requirement::all().map(|requirement| requirement.id).collect()
    }
}

/// The profiles of the model.
#[derive(Clone, Debug)]
pub(super) struct ProfileNames;

impl Names for ProfileNames {
    const TITLE: &'static str = "profile";
    fn names() -> Vec<&'static str> {
        PROFILES.iter().map(|profile| profile.name).collect()
    }
}

/// The fields of a processor's state.
#[derive(Clone, Debug)]
pub(super) struct StateFields;

impl Names for StateFields {
    const TITLE: &'static str = "register values";
    fn names() -> Vec<&'static str> {
        FIELDS.iter().map(|field| field.name).collect()
    }
}

/// The rows of the state-save areas.
#[derive(Clone, Debug)]
pub(super) struct SaveAreaRows;

impl Names for SaveAreaRows {
    const TITLE: &'static str = "save-area values";
    fn names() -> Vec<&'static str> {
        let mut names = Vec::new();
        let rows = LAYOUTS.iter().flat_map(|layout| layout.rows);
        for row in rows.filter(|row| !row.is_reserved()) {
            if !names.contains(&row.name) {
                names.push(row.name);
            }
        }
        names
    }
}

/// The registers of the chipset.
#[derive(Clone, Debug)]
pub(super) struct ChipsetRegisters;

impl Names for ChipsetRegisters {
    const TITLE: &'static str = "chipset register values";
    fn names() -> Vec<&'static str> {
        Register::ALL.into_iter().map(Register::name).collect()
    }
}

/// Registers of the chipset and their values.
pub(super) type ChipsetValues = Values<ChipsetRegisters>;
/// Registers and their values.
pub(super) type FieldValues = Values<StateFields>;
/// Fields of the state-save area and their values.
pub(super) type SaveAreaValues = Values<SaveAreaRows>;

/// Numbers by name.
#[derive(Clone, Debug)]
pub(super) struct Values<N> {
    pub(super) entries: Entries<Located<Number>>,
    names: std::marker::PhantomData<N>,
}

impl<N> Default for Values<N> {
    fn default() -> Self {
        Self {
            entries: Entries::default(),
            names: std::marker::PhantomData,
        }
    }
}

impl<'de, N> Deserialize<'de> for Values<N> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Entries::deserialize(deserializer)?;
        let names = std::marker::PhantomData;
        Ok(Self { entries, names })
    }
}

impl<N: Names> JsonSchema for Values<N> {
    fn schema_name() -> Cow<'static, str> {
        N::TITLE.into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = generator.subschema_for::<Number>();
        json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": properties(N::names(), &number),
        })
    }
}

/// The same schema for each of some keys.
pub(super) fn properties<S: Into<String>>(
    names: impl IntoIterator<Item = S>,
    schema: &Schema,
) -> serde_json::Map<String, serde_json::Value> {
    let entry = |name: S| (name.into(), schema.clone().to_value());
    names.into_iter().map(entry).collect()
}

/// A number, or how to compute it from labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Written out.
    Value(i128),
    /// An expression over labels, such as `offset after` or `linear start + 2`.
    Expression(String),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(NUMBER)
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Number, E> {
                Ok(Number::Value(i128::from(value)))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
                Ok(Number::Value(i128::from(value)))
            }
            fn visit_i128<E: de::Error>(self, value: i128) -> Result<Number, E> {
                Ok(Number::Value(value))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                Ok(Number::Expression(text.to_owned()))
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

const NUMBER: &str = "a number, true or false, or an expression over labels such as `offset after`";

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "number".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": NUMBER, "type": ["integer", "boolean", "string"] })
    }
}

/// Bytes: a list of numbers, or a text of hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// One number per byte.
    List(Vec<Number>),
    /// Two hexadecimal digits per byte; blanks do not count.
    Hexadecimal(String),
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = Bytes;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(BYTES)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                Ok(Bytes::Hexadecimal(text.to_owned()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes::List(bytes))
            }
        }
        deserializer.deserialize_any(BytesVisitor)
    }
}

const BYTES: &str = "a list of bytes such as [0x90, 0xf4], or hexadecimal digits in quotes such as \"90 f4\"";

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "bytes".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": BYTES, "anyOf": [
            { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 255 } },
            { "type": "string", "pattern": "^[0-9a-fA-F \n]*$" },
        ]})
    }
}

/// What an observation may be.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// This.
    Exactly(Number),
    /// One of these.
    AnyOf(Vec<Number>),
    /// Anything that agrees in the bits of the mask.
    Masked {
        /// The bits that count.
        mask: Number,
        /// What they must be.
        value: Number,
    },
    /// These bytes.
    Bytes(Vec<Number>),
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExpectedVisitor;
        impl<'de> Visitor<'de> for ExpectedVisitor {
            type Value = Expected;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(EXPECTED)
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Expected, E> {
                Ok(Expected::Exactly(Number::Value(i128::from(value))))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Expected, E> {
                Ok(Expected::Exactly(Number::Value(i128::from(value))))
            }
            fn visit_i128<E: de::Error>(self, value: i128) -> Result<Expected, E> {
                Ok(Expected::Exactly(Number::Value(value)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expected, E> {
                Ok(Expected::Exactly(Number::Expression(text.to_owned())))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Expected, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(Expected::Bytes(bytes))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Expected, A::Error> {
                let (mut any_of, mut mask, mut value) = (None, None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "any-of" => any_of = Some(map.next_value()?),
                        "mask" => mask = Some(map.next_value()?),
                        "value" => value = Some(map.next_value()?),
                        _ => {
                            return Err(de::Error::custom(format!(
                                "`{key}` is unknown, expected {EXPECTED}"
                            )));
                        }
                    }
                }
                match (any_of, mask, value) {
                    (Some(allowed), None, None) => Ok(Expected::AnyOf(allowed)),
                    (None, Some(mask), Some(value)) => Ok(Expected::Masked { mask, value }),
                    _ => Err(de::Error::custom(format!("expected {EXPECTED}"))),
                }
            }
        }
        deserializer.deserialize_any(ExpectedVisitor)
    }
}

const EXPECTED: &str = "a number, true or false, an expression over labels, a list of bytes, { any-of: [..] } or { mask: .., value: .. }";

impl JsonSchema for Expected {
    fn schema_name() -> Cow<'static, str> {
        "expected value".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = generator.subschema_for::<Number>();
        json_schema!({ "title": EXPECTED, "anyOf": [
            { "type": ["integer", "boolean", "string"] },
            { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 255 } },
            { "type": "object", "additionalProperties": false, "required": ["any-of"],
              "properties": { "any-of": { "type": "array", "items": number.clone(), "minItems": 1 } } },
            { "type": "object", "additionalProperties": false, "required": ["mask", "value"],
              "properties": { "mask": number.clone(), "value": number } },
        ]})
    }
}

/// One sequence of points, or several of which one must happen.
#[derive(Clone, Debug)]
pub(super) struct Paths(pub(super) Vec<Vec<Located<String>>>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathsVisitor;
        impl<'de> Visitor<'de> for PathsVisitor {
            type Value = Paths;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(PATHS)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Paths, A::Error> {
                let mut path = Vec::new();
                while let Some(step) = list.next_element()? {
                    path.push(step);
                }
                Ok(Paths(vec![path]))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Paths, A::Error> {
                let mut paths = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key != "any-of" {
                        return Err(de::Error::custom(format!("`{key}` is unknown, expected {PATHS}")));
                    }
                    paths = map.next_value()?;
                }
                Ok(Paths(paths))
            }
        }
        deserializer.deserialize_any(PathsVisitor)
    }
}

const PATHS: &str =
    "a list of points such as [before, in-nmi, halted], or { any-of: [[..], [..]] } where several are legal";

impl JsonSchema for Paths {
    fn schema_name() -> Cow<'static, str> {
        "paths".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let path = serde_json::json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
        json_schema!({ "title": PATHS, "anyOf": [
            path,
            { "type": "object", "additionalProperties": false, "required": ["any-of"],
              "properties": { "any-of": { "type": "array", "items": path, "minItems": 1 } } },
        ]})
    }
}
