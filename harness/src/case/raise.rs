//! What the host raises: `nmi`, `smi`, `mc`, `chipset-reset` or a list of them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Visitor};

/// What the host raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Raise {
    /// A non-maskable interrupt.
    Nmi,
    /// A system-management interrupt.
    Smi,
    /// A machine check.
    Mc,
    /// A reset of the chipset, and of nothing else.
    ChipsetReset,
}

/// One or several of them.
#[derive(Clone, Debug)]
pub(super) struct Raises(pub(super) Vec<Raise>);

impl<'de> Deserialize<'de> for Raises {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RaisesVisitor;
        impl<'de> Visitor<'de> for RaisesVisitor {
            type Value = Raises;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(RAISES)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Raises, E> {
                let word = de::value::StrDeserializer::new(text);
                Ok(Raises(vec![Raise::deserialize(word)?]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Raises, A::Error> {
                let mut raises = Vec::new();
                while let Some(raise) = list.next_element()? {
                    raises.push(raise);
                }
                Ok(Raises(raises))
            }
        }
        deserializer.deserialize_any(RaisesVisitor)
    }
}

const RAISES: &str = "`nmi`, `smi`, `mc`, `chipset-reset` or a list of them";

impl JsonSchema for Raises {
    fn schema_name() -> Cow<'static, str> {
        "events to raise".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Raise>();
        json_schema!({ "title": RAISES, "anyOf": [one.clone(), { "type": "array", "items": one }] })
    }
}
