//! One entry of `expect`: a point, and the names of what is observed there.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Visitor};
use spec_model::transcript::STACK_SLOTS;

use super::document::Located;
use super::value::{Expected, Names, ObservationName, RequirementId, SaveAreaRows, StateFields, properties};

/// What must be seen at a point. Beside the keys below, every key is the name of
/// something observed.
#[derive(Debug)]
pub(super) struct Expectation {
    /// Name of the point, or how the run ends.
    pub(super) at: Located<String>,
    /// Only the n-th time, counted from 1.
    pub(super) nth: Option<Located<u32>>,
    /// Only when this processor reaches it.
    pub(super) vcpu: Option<Located<u8>>,
    /// The requirement that it follows from.
    pub(super) because: Option<Located<RequirementId>>,
    /// What is observed and what is allowed.
    pub(super) fields: Vec<(Located<ObservationName>, Located<Expected>)>,
}

impl<'de> Deserialize<'de> for Expectation {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExpectationVisitor;
        impl<'de> Visitor<'de> for ExpectationVisitor {
            type Value = Expectation;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map with `at` and the names of what is observed")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Expectation, A::Error> {
                let (mut at, mut nth, mut vcpu, mut because) = (None, None, None, None);
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Located<String>>()? {
                    match key.value.as_str() {
                        "at" => at = Some(map.next_value()?),
                        "nth" => nth = map.next_value()?,
                        "vcpu" => vcpu = map.next_value()?,
                        "because" => because = map.next_value()?,
                        _ => fields.push((key, map.next_value()?)),
                    }
                }
                Ok(Expectation {
                    at: at.ok_or_else(|| de::Error::missing_field("at"))?,
                    nth,
                    vcpu,
                    because,
                    fields,
                })
            }
        }
        deserializer.deserialize_map(ExpectationVisitor)
    }
}

impl JsonSchema for Expectation {
    fn schema_name() -> Cow<'static, str> {
        "expectation".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<Expected>();
        let stack = (0..STACK_SLOTS).map(|slot| format!("stack.{slot}"));
        let save = SaveAreaRows::names().into_iter().map(|row| format!("save.{row}"));
        let state = StateFields::names().into_iter().map(str::to_owned);
        let mut known = properties(state.chain(stack).chain(save), &value);
        let own = [
            (
                "at",
                json_schema!({ "type": "string" }),
                "Name of the point, or how the run ends: halted, shutdown, stuck.",
            ),
            (
                "nth",
                generator.subschema_for::<u32>(),
                "Only the n-th time, counted from 1.",
            ),
            (
                "vcpu",
                generator.subschema_for::<u8>(),
                "Only when this processor reaches it.",
            ),
            (
                "because",
                generator.subschema_for::<RequirementId>(),
                "The requirement that it follows from.",
            ),
        ];
        for (name, mut schema, description) in own {
            schema.insert("description".to_owned(), description.into());
            known.insert(name.to_owned(), schema.to_value());
        }
        json_schema!({
            "description": "What must be seen at a point, by the name of what is observed.",
            "type": "object",
            "additionalProperties": false,
            "required": ["at"],
            "properties": known,
            "patternProperties": { "^watch\\..+$": value },
        })
    }
}
