//! One entry of `never` and `possible` in `explore`: a point, or a point with what is observed there.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, IntoDeserializer, Visitor};
use spec_model::transcript::STACK_SLOTS;

use super::document::Located;
use super::mistake::Position;
use super::value::{Expected, Names, ObservationName, StateFields, properties};

/// A point that schedules come to or do not come to.
#[derive(Debug)]
pub(super) struct Reach {
    /// Name of the point.
    pub(super) at: Located<String>,
    /// Only when this processor reaches it.
    pub(super) vcpu: Option<Located<u8>>,
    /// Turns of the shortest schedule to it.
    pub(super) turns: Option<Located<u16>>,
    /// What must be observed there.
    pub(super) fields: Vec<(Located<ObservationName>, Located<Expected>)>,
}

impl<'de> Deserialize<'de> for Reach {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReachVisitor;
        impl<'de> Visitor<'de> for ReachVisitor {
            type Value = Reach;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(REACH)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reach, E> {
                let name: de::value::StrDeserializer<'_, E> = text.into_deserializer();
                Ok(Reach {
                    at: Located {
                        at: Position::NOWHERE,
                        value: String::deserialize(name)?,
                    },
                    vcpu: None,
                    turns: None,
                    fields: Vec::new(),
                })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Reach, A::Error> {
                let (mut at, mut vcpu, mut turns) = (None, None, None);
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Located<String>>()? {
                    match key.value.as_str() {
                        "at" => at = Some(map.next_value()?),
                        "vcpu" => vcpu = map.next_value()?,
                        "turns" => turns = map.next_value()?,
                        _ => fields.push((key, map.next_value()?)),
                    }
                }
                Ok(Reach {
                    at: at.ok_or_else(|| de::Error::missing_field("at"))?,
                    vcpu,
                    turns,
                    fields,
                })
            }
        }
        deserializer.deserialize_any(ReachVisitor)
    }
}

const REACH: &str = "the name of a point, or a map with `at` and the names of what is observed there";

impl JsonSchema for Reach {
    fn schema_name() -> Cow<'static, str> {
        "point that is reached".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<Expected>();
        let stack = (0..STACK_SLOTS).map(|slot| format!("stack.{slot}"));
        let state = StateFields::names().into_iter().map(str::to_owned);
        let mut known = properties(state.chain(stack), &value);
        let own = [
            ("at", json_schema!({ "type": "string" }), "Name of the point."),
            (
                "vcpu",
                generator.subschema_for::<u8>(),
                "Only when this processor reaches it.",
            ),
            (
                "turns",
                generator.subschema_for::<u16>(),
                "Turns of the shortest schedule to it; only in `possible`.",
            ),
        ];
        for (name, mut schema, description) in own {
            schema.insert("description".to_owned(), description.into());
            known.insert(name.to_owned(), schema.to_value());
        }
        json_schema!({ "title": REACH, "anyOf": [
            { "type": "string" },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["at"],
                "properties": known,
                "patternProperties": { "^watch\\..+$": value },
            }
        ] })
    }
}
