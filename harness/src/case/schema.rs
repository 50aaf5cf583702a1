//! The JSON Schema of case files, and the check of a file's structure against it.
//!
//! Editors read the schema from `cases/case.schema.json`; the check here reads the very
//! same one, so that an editor and `conform check` cannot disagree. The check knows the
//! part of JSON Schema that the generated schema uses.

use std::sync::OnceLock;

use serde_json::Value as Json;

use super::mistake::{Mistakes, Position, nearest, suggest};
use super::stage2::Stage2File;
use super::syntax::CaseFile;
use super::tree::{Key, Node, Value};

/// The JSON Schema of case files, as `cases/case.schema.json` holds it.
#[must_use]
pub fn case_schema() -> String {
    printed(generate())
}

/// The JSON Schema of case files about stage-2 mappings, as `cases/stage2.schema.json` holds it.
#[must_use]
pub fn stage2_schema() -> String {
    printed(generate_stage2())
}

fn printed(schema: &Json) -> String {
    let mut text = serde_json::to_string_pretty(schema).unwrap_or_default();
    text.push('\n');
    text
}

fn generate_stage2() -> &'static Json {
    static SCHEMA: OnceLock<Json> = OnceLock::new();
    SCHEMA.get_or_init(|| schemars::schema_for!(Stage2File).to_value())
}

fn generate() -> &'static Json {
    static SCHEMA: OnceLock<Json> = OnceLock::new();
    SCHEMA.get_or_init(|| schemars::schema_for!(CaseFile).to_value())
}

/// Reports everything in the tree that the schema does not allow, and returns a tree that
/// it does allow, so that the meaning of the rest can be checked too. A misspelled name
/// becomes the one that it resembles, at a place that is doubted from then on; a value that
/// is unusable or missing becomes a stand-in at [`Position::NOWHERE`]; other keys go.
pub(super) fn check(tree: &Node, mistakes: &mut Mistakes) -> Node {
    check_against(generate(), tree, mistakes)
}

/// The same for a file about stage-2 mappings.
pub(super) fn check_stage2(tree: &Node, mistakes: &mut Mistakes) -> Node {
    check_against(generate_stage2(), tree, mistakes)
}

fn check_against(schema: &'static Json, tree: &Node, mistakes: &mut Mistakes) -> Node {
    let tree = Checker { root: schema }.node(schema, tree, mistakes);
    mistakes.structure_is_checked();
    tree
}

struct Checker<'s> {
    root: &'s Json,
}

impl<'s> Checker<'s> {
    /// Follows a reference to a definition.
    fn resolve(&self, schema: &'s Json) -> &'s Json {
        let target = schema.get("$ref").and_then(Json::as_str);
        target
            .and_then(|target| target.strip_prefix('#'))
            .map(unescape)
            .and_then(|pointer| self.root.pointer(&pointer))
            .unwrap_or(schema)
    }

    fn node(&self, schema: &'s Json, node: &Node, mistakes: &mut Mistakes) -> Node {
        let schema = self.resolve(schema);
        if let Some(words) = self.words(schema) {
            return self.word(schema, &words, node, mistakes);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(alternatives) = schema.get(key).and_then(Json::as_array) {
                return self.alternatives(schema, alternatives, node, mistakes);
            }
        }
        if !self.admits(schema, node) {
            mistakes.add(
                node.at,
                format!("{} stands here", node.describe()),
                format!("write {}", self.expected(schema)),
            );
            return self.stand_in(schema);
        }
        match &node.value {
            Value::Integer(value) => self.integer(schema, *value, node, mistakes),
            Value::List(list) => self.list(schema, list, node, mistakes),
            Value::Map(_) => self.map(schema, node, mistakes),
            _ => node.clone(),
        }
    }

    /// The texts that a schema allows, if it lists them.
    fn words(&self, schema: &'s Json) -> Option<Vec<&'s str>> {
        if let Some(word) = schema.get("const").and_then(Json::as_str) {
            return Some(vec![word]);
        }
        if let Some(words) = schema.get("enum").and_then(Json::as_array) {
            return Some(words.iter().filter_map(Json::as_str).collect());
        }
        let alternatives = schema.get("oneOf").and_then(Json::as_array)?;
        let words: Option<Vec<_>> = alternatives.iter().map(|schema| self.words(schema)).collect();
        words.map(|words| words.concat())
    }

    fn word(&self, schema: &'s Json, words: &[&str], node: &Node, mistakes: &mut Mistakes) -> Node {
        match &node.value {
            Value::Text(text) if words.contains(&text.as_str()) => return node.clone(),
            Value::Text(text) => {
                let remedy = suggest(text, words.iter().copied(), "known ones");
                mistakes.add(node.at, format!("`{text}` is unknown"), remedy);
                if let Some(meant) = nearest(text, words.iter().copied()) {
                    mistakes.doubt(node.at);
                    return Node {
                        at: node.at,
                        value: Value::Text(meant.to_owned()),
                    };
                }
            }
            _ => mistakes.add(
                node.at,
                format!("{} stands here", node.describe()),
                suggest("", words.iter().copied(), "allowed words"),
            ),
        }
        self.stand_in(schema)
    }

    /// The simplest value that a schema allows, in place of one that cannot be used.
    fn stand_in(&self, schema: &'s Json) -> Node {
        let schema = self.resolve(schema);
        let alternatives = || {
            ["anyOf", "oneOf"]
                .iter()
                .find_map(|key| schema.get(*key)?.as_array())
        };
        let kind = match schema.get("type") {
            Some(Json::Array(kinds)) => kinds.first().and_then(Json::as_str),
            kind => kind.and_then(Json::as_str),
        };
        let value = if let Some(words) = self.words(schema) {
            Value::Text(words.first().copied().unwrap_or_default().to_owned())
        } else if let Some(first) = alternatives().and_then(|alternatives| alternatives.first()) {
            return self.stand_in(first);
        } else {
            match kind {
                Some("boolean") => Value::Bool(false),
                Some("integer" | "number") => Value::Integer(0),
                Some("string") => Value::Text(String::new()),
                Some("array") => Value::List(Vec::new()),
                Some("object") => {
                    Value::Map(required(schema).map(|name| self.absent(schema, name)).collect())
                }
                _ => Value::Null,
            }
        };
        Node {
            at: Position::NOWHERE,
            value,
        }
    }

    /// An entry for a key that is required and not there.
    fn absent(&self, schema: &'s Json, name: &str) -> (Key, Node) {
        let key = Key {
            at: Position::NOWHERE,
            text: name.to_owned(),
        };
        let property = schema
            .get("properties")
            .and_then(|properties| properties.get(name));
        (key, self.stand_in(property.unwrap_or(&Json::Null)))
    }

    fn alternatives(
        &self,
        schema: &'s Json,
        alternatives: &'s [Json],
        node: &Node,
        mistakes: &mut Mistakes,
    ) -> Node {
        let fitting: Vec<&Json> = alternatives
            .iter()
            .filter(|alternative| self.admits(self.resolve(alternative), node))
            .collect();
        let mut best: Option<(Mistakes, Node)> = None;
        for alternative in &fitting {
            let mut found = mistakes.fresh();
            let kept = self.node(alternative, node, &mut found);
            if found.is_empty() {
                return kept;
            }
            let meant = fitting.len() == 1 || Self::shares_a_key(self.resolve(alternative), node);
            if meant && best.as_ref().is_none_or(|(best, _)| found.len() < best.len()) {
                best = Some((found, kept));
            }
        }
        if let Some((found, kept)) = best {
            mistakes.append(found);
            return kept;
        }
        mistakes.add(
            node.at,
            format!("{} stands here", node.describe()),
            format!("write {}", self.expected(schema)),
        );
        self.stand_in(schema)
    }

    /// Whether a map has a key that the schema knows: then this is what was meant.
    fn shares_a_key(schema: &Json, node: &Node) -> bool {
        let properties = schema.get("properties").and_then(Json::as_object);
        match (&node.value, properties) {
            (Value::Map(map), Some(known)) => map.iter().any(|(key, _)| known.contains_key(&key.text)),
            _ => false,
        }
    }

    /// Whether a node is of a type that the schema allows.
    fn admits(&self, schema: &'s Json, node: &Node) -> bool {
        if self.words(schema).is_some() {
            return matches!(node.value, Value::Text(_));
        }
        let admits = |name: &str| match node.value {
            Value::Null => name == "null",
            Value::Bool(_) => name == "boolean",
            Value::Integer(_) => name == "integer" || name == "number",
            Value::Text(_) => name == "string",
            Value::List(_) => name == "array",
            Value::Map(_) => name == "object",
        };
        match schema.get("type") {
            Some(Json::String(name)) => admits(name),
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).any(admits),
            _ => {
                let nested = ["anyOf", "oneOf"]
                    .iter()
                    .filter_map(|key| schema.get(*key)?.as_array());
                let mut nested = nested.flatten().peekable();
                nested.peek().is_none() || nested.any(|schema| self.admits(self.resolve(schema), node))
            }
        }
    }

    /// What a schema wants, in words.
    fn expected(&self, schema: &'s Json) -> String {
        if let Some(title) = schema.get("title").and_then(Json::as_str) {
            return title.to_owned();
        }
        let name = |name: &str| match name {
            "integer" | "number" => "a number",
            "boolean" => "true or false",
            "string" => "a text",
            "array" => "a list",
            "object" => "a map",
            _ => "nothing",
        };
        match schema.get("type") {
            Some(Json::String(one)) => name(one).to_owned(),
            Some(Json::Array(several)) => {
                let wanted = several
                    .iter()
                    .filter_map(Json::as_str)
                    .filter(|name| *name != "null");
                wanted.map(name).collect::<Vec<_>>().join(" or ")
            }
            _ => {
                let nested = ["anyOf", "oneOf"]
                    .iter()
                    .filter_map(|key| schema.get(*key)?.as_array());
                let nested = nested.flatten().map(|schema| self.expected(self.resolve(schema)));
                nested
                    .filter(|name| name != "nothing")
                    .collect::<Vec<_>>()
                    .join(" or ")
            }
        }
    }

    fn integer(&self, schema: &'s Json, value: i128, node: &Node, mistakes: &mut Mistakes) -> Node {
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64).map(i128::from);
        let by_format = match schema.get("format").and_then(Json::as_str) {
            Some("uint8") => i128::from(u8::MAX),
            Some("uint16") => i128::from(u16::MAX),
            Some("uint32") => i128::from(u32::MAX),
            _ => i128::from(u64::MAX),
        };
        let minimum = bound("minimum").unwrap_or(0);
        let maximum = bound("maximum").unwrap_or(by_format);
        if (minimum..=maximum).contains(&value) {
            return node.clone();
        }
        mistakes.add(
            node.at,
            format!("{} is out of range", super::mistake::number(value)),
            format!("it must be {minimum} to {maximum:#x}"),
        );
        self.stand_in(schema)
    }

    fn list(&self, schema: &'s Json, list: &[Node], node: &Node, mistakes: &mut Mistakes) -> Node {
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if u64::try_from(list.len()).is_ok_and(|length| length < least) {
            mistakes.add(
                node.at,
                "this list is empty",
                format!("write at least {least} entry"),
            );
            return self.stand_in(schema);
        }
        let items = schema.get("items");
        let kept = list.iter().map(|entry| match items {
            Some(items) => self.node(items, entry, mistakes),
            None => entry.clone(),
        });
        Node {
            at: node.at,
            value: Value::List(kept.collect()),
        }
    }

    fn map(&self, schema: &'s Json, node: &Node, mistakes: &mut Mistakes) -> Node {
        let Value::Map(map) = &node.value else {
            return self.stand_in(schema);
        };
        let properties = schema.get("properties").and_then(Json::as_object);
        let mut kept: Vec<(Key, Node)> = Vec::new();
        for (key, value) in map {
            let entry = properties
                .and_then(|properties| properties.get(&key.text))
                .or_else(|| by_pattern(schema, &key.text))
                .or_else(|| {
                    schema
                        .get("additionalProperties")
                        .filter(|schema| schema.is_object())
                });
            if let Some(entry) = entry {
                kept.push((key.clone(), self.node(entry, value, mistakes)));
                continue;
            }
            let known = || properties.into_iter().flat_map(|properties| properties.keys());
            mistakes.add(
                key.at,
                format!("`{}` is not a key here", key.text),
                suggest(&key.text, known().map(String::as_str), "the keys"),
            );
            let meant = nearest(&key.text, known().map(String::as_str)).filter(|meant| {
                let mut keys = map.iter().chain(&kept).map(|(key, _)| key.text.as_str());
                !keys.any(|key| key == *meant)
            });
            let entry = meant.and_then(|meant| Some((meant, properties?.get(meant)?)));
            // At the top nothing is doubted: absent keys are reported there.
            let top = std::ptr::eq(schema, self.root);
            match entry {
                Some((meant, entry)) => {
                    let value = if self.admits(self.resolve(entry), value) {
                        self.node(entry, value, mistakes)
                    } else {
                        self.stand_in(entry)
                    };
                    if !top {
                        mistakes.doubt(key.at);
                    }
                    if matches!(value.value, Value::Integer(_) | Value::Bool(_)) {
                        mistakes.doubt(value.at);
                    }
                    let key = Key {
                        at: key.at,
                        text: meant.to_owned(),
                    };
                    kept.push((key, value));
                }
                None if !top => mistakes.doubt(node.at),
                None => {}
            }
        }
        for name in required(schema) {
            if kept.iter().any(|(key, _)| key.text == name) {
                continue;
            }
            let property = properties.and_then(|properties| properties.get(name));
            let meaning = property
                .and_then(|property| property.get("description"))
                .and_then(Json::as_str);
            mistakes.add(
                node.at,
                format!("`{name}` is missing"),
                meaning.map_or_else(
                    || format!("add `{name}: ..`"),
                    |meaning| format!("add `{name}: ..` ({})", meaning.trim_end_matches('.')),
                ),
            );
            kept.push(self.absent(schema, name));
        }
        Node {
            at: node.at,
            value: Value::Map(kept),
        }
    }
}

/// The keys that a schema requires.
fn required(schema: &Json) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Json::as_array);
    names.into_iter().flatten().filter_map(Json::as_str)
}

/// The schema of a key by its beginning: the patterns here are `^prefix\..+$`.
fn by_pattern<'s>(schema: &'s Json, key: &str) -> Option<&'s Json> {
    let patterns = schema.get("patternProperties")?.as_object()?;
    patterns.iter().find_map(|(pattern, schema)| {
        let prefix = pattern.strip_prefix('^')?.strip_suffix(".+$")?.replace('\\', "");
        (key.len() > prefix.len() && key.starts_with(&prefix)).then_some(schema)
    })
}

/// Decodes the percent escapes that a reference may hold; definitions have blanks in
/// their names.
fn unescape(pointer: &str) -> String {
    pointer.replace("%20", " ")
}
