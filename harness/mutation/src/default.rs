//! Values that a function can return instead of doing its work. The choice is that of
//! cargo-mutants.

use std::collections::HashSet;

use syn::visit::Visit;
use syn::{GenericArgument, ItemType, PathArguments, ReturnType, Type};

/// Names of types of a crate that stand for a `Result`.
#[derive(Debug, Default)]
pub struct Aliases {
    results: HashSet<String>,
}

impl Aliases {
    /// Notes the aliases that a file declares.
    pub fn add(&mut self, file: &syn::File) {
        self.visit_file(file);
    }
}

impl Visit<'_> for Aliases {
    fn visit_item_type(&mut self, item: &ItemType) {
        if last_name(&item.ty).is_some_and(|name| name == "Result") {
            self.results.insert(item.ident.to_string());
        }
    }
}

/// The last name of a path.
fn last_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

/// Values of what a function returns, as they are written. Some may turn out to be none.
#[must_use]
pub fn values(output: &ReturnType, aliases: &Aliases) -> Vec<String> {
    match output {
        ReturnType::Default => vec!["()".to_owned()],
        ReturnType::Type(_, ty) => of_type(ty, aliases),
    }
}

fn of_type(ty: &Type, aliases: &Aliases) -> Vec<String> {
    let several = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    match ty {
        Type::Tuple(tuple) if tuple.elems.is_empty() => several(&["()"]),
        Type::Tuple(tuple) => {
            let parts: Option<Vec<String>> = tuple
                .elems
                .iter()
                .map(|part| of_type(part, aliases).into_iter().next())
                .collect();
            parts.map_or_else(Vec::new, |parts| vec![format!("({},)", parts.join(", "))])
        }
        Type::Array(_) => several(&["Default::default()"]),
        Type::Paren(inner) => of_type(&inner.elem, aliases),
        Type::Reference(reference) => match last_name(&reference.elem).as_deref() {
            Some("str") => several(&["\"\""]),
            _ => match &*reference.elem {
                Type::Slice(_) if reference.mutability.is_none() => several(&["&[]"]),
                _ => Vec::new(),
            },
        },
        Type::Path(path) => {
            let Some(last) = path.path.segments.last() else {
                return Vec::new();
            };
            let inner = || -> Vec<String> {
                match &last.arguments {
                    PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
                        Some(GenericArgument::Type(ty)) => of_type(ty, aliases),
                        _ => Vec::new(),
                    },
                    _ => several(&["()"]),
                }
            };
            let wrapped = |constructor: &str| -> Vec<String> {
                let values = inner().into_iter();
                values.map(|value| format!("{constructor}({value})")).collect()
            };
            match last.ident.to_string().as_str() {
                "bool" => several(&["true", "false"]),
                "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => several(&["0", "1"]),
                "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => several(&["0", "1", "-1"]),
                "Option" => [several(&["None"]), wrapped("Some")].concat(),
                "Box" => wrapped("Box::new"),
                "Result" => wrapped("Ok"),
                alias if aliases.results.contains(alias) => wrapped("Ok"),
                _ => several(&["Default::default()"]),
            }
        }
        _ => Vec::new(),
    }
}
