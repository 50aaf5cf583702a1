//! The mutants of a source.

use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, Attribute, BinOp, Block, Expr, Pat, Stmt, UnOp};

use crate::default::{self, Aliases};
use crate::defect_code::Names;
use crate::mutant::{self, Mutant, Operator};
use crate::operator;
use crate::rewrite::{Edit, What};

/// Traits whose implementations are for people who read them.
const DIAGNOSTICS: [&str; 3] = ["Display", "Debug", "Error"];
/// Characters of a change after which its name goes no further.
const LONGEST_NAME: usize = 90;

/// A source and its mutants.
#[derive(Debug)]
pub struct Source {
    /// Path below `spec-model/src`.
    pub file: String,
    /// The text as it is.
    pub text: String,
    /// The mutants, in the order in which they are found.
    pub mutants: Vec<Mutant>,
    /// For each the function, if that is `const`.
    pub constant: Vec<Option<String>>,
    /// Where the mutants go.
    pub edits: Vec<Edit>,
}

/// Finds the mutants of a source.
///
/// # Errors
/// If it cannot be read as Rust.
pub fn find(file: &str, text: &str, aliases: &Aliases) -> syn::Result<Source> {
    let syntax = syn::parse_file(text)?;
    let mut finder = Finder {
        aliases,
        source: Source {
            file: file.to_owned(),
            text: text.to_owned(),
            mutants: Vec::new(),
            constant: Vec::new(),
            edits: Vec::new(),
        },
        types: Vec::new(),
        functions: Vec::new(),
        names: Names::default(),
    };
    finder.visit_file(&syntax);
    mutant::number(&mut finder.source.mutants);
    Ok(finder.source)
}

struct Finder<'a> {
    aliases: &'a Aliases,
    source: Source,
    /// The types whose implementations surround this place.
    types: Vec<String>,
    /// The functions that do, and whether each is `const`.
    functions: Vec<(String, bool)>,
    /// What is true only with defects here.
    names: Names,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test") || path.is_ident("cfg")
    })
}

/// Where a piece of syntax is.
fn range(syntax: &impl Spanned) -> Range<usize> {
    syntax.span().byte_range()
}

/// Whether a condition also binds something, and so is no expression by itself.
fn binds(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        Expr::Paren(inner) => binds(&inner.expr),
        _ => false,
    }
}

/// Whether another mutant does what the negation of an expression does.
fn is_negated_elsewhere(expression: &Expr) -> bool {
    match expression {
        Expr::Unary(unary) => matches!(unary.op, UnOp::Not(_)),
        Expr::Binary(binary) => matches!(binary.op, BinOp::Eq(_) | BinOp::Ne(_)),
        Expr::Paren(inner) => is_negated_elsewhere(&inner.expr),
        _ => false,
    }
}

/// The guard of an arm.
fn guard(arm: &Arm) -> Option<&Expr> {
    match &arm.pat {
        Pat::Guard(guarded) => Some(&guarded.guard),
        _ => None,
    }
}

impl Finder<'_> {
    fn text(&self, syntax: &impl Spanned) -> &str {
        &self.source.text[range(syntax)]
    }

    /// Text in one line, as names have it.
    fn squeezed(text: &str) -> String {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() <= LONGEST_NAME {
            return line;
        }
        let start: String = line.chars().take(LONGEST_NAME).collect();
        format!("{start}...")
    }

    fn mutant(&mut self, at: &impl Spanned, operator: Operator, change: String) -> usize {
        let function = self.functions.last();
        let name = function.map_or("", |(name, _)| name);
        let function_name = match self.types.last() {
            Some(ty) => format!("{ty}::{name}"),
            None => name.to_owned(),
        };
        let constant = function
            .filter(|(_, constant)| *constant)
            .map(|(name, _)| name.clone());
        self.source.constant.push(constant);
        self.source.mutants.push(Mutant {
            file: self.source.file.clone(),
            line: at.span().start().line,
            function: function_name,
            operator,
            change,
            occurrence: 1,
        });
        self.source.mutants.len() - 1
    }

    fn edit(&mut self, range: Range<usize>, what: What) {
        self.source.edits.push(Edit { range, what });
    }

    fn function(&mut self, signature: &syn::Signature, block: &Block) {
        let name = signature.ident.to_string();
        if let Some(constant) = &signature.constness {
            self.edit(range(constant), What::Const(name.clone()));
        }
        self.functions.push((name.clone(), signature.constness.is_some()));
        let outside = std::mem::take(&mut self.names);
        if !block.stmts.is_empty() && name != "default" {
            self.body(signature, block);
        }
        self.visit_block(block);
        self.names = outside;
        self.functions.pop();
    }

    fn body(&mut self, signature: &syn::Signature, block: &Block) {
        let whole = self.text(block);
        let inside = whole
            .trim_start_matches('{')
            .trim_end_matches('}')
            .trim()
            .to_owned();
        let values = default::values(&signature.output, self.aliases);
        let values = values.into_iter().filter(|value| *value != inside);
        let values: Vec<(usize, String)> = values
            .map(|value| {
                let mutant = self.mutant(&signature.ident, Operator::Body, format!("-> {value}"));
                (mutant, value)
            })
            .collect();
        let start = range(block).start + 1;
        self.edit(start..start, What::Body(values));
    }

    /// A condition, which may be a chain with bindings.
    fn condition(&mut self, condition: &Expr) {
        if self.names.never(condition) || self.names.always(condition) {
            return;
        }
        match condition {
            Expr::Binary(binary) if binds(condition) => {
                self.condition(&binary.left);
                self.condition(&binary.right);
            }
            Expr::Let(_) => {}
            _ if is_negated_elsewhere(condition) => {}
            _ => {
                let change = format!("!({})", Self::squeezed(self.text(condition)));
                let mutant = self.mutant(condition, Operator::Condition, change);
                self.edit(range(condition), What::Condition(mutant));
            }
        }
    }

    fn arm(&mut self, arm: &Arm, others_take_it: bool) {
        let pattern = Self::squeezed(self.text(&arm.pat));
        match guard(arm) {
            Some(guard) if binds(guard) => {}
            Some(guard) => {
                let shown = Self::squeezed(self.text(guard));
                let always = self.mutant(guard, Operator::Guard, format!("true for {shown}"));
                let never = self.mutant(guard, Operator::Guard, format!("false for {shown}"));
                let arm = others_take_it
                    .then(|| self.mutant(&arm.pat, Operator::Arm, format!("without {pattern}")));
                self.edit(range(guard), What::Guard { always, never, arm });
            }
            None if others_take_it => {
                let mutant = self.mutant(&arm.pat, Operator::Arm, format!("without {pattern}"));
                let end = range(&arm.pat).end;
                self.edit(end..end, What::Arm(mutant));
            }
            None => {}
        }
    }

    /// Statements whose deletion is tried: calls and assignments.
    fn statement(&mut self, statement: &Stmt) {
        let Stmt::Expr(expression, Some(_)) = statement else {
            return;
        };
        let does_something = match expression {
            Expr::Call(_) | Expr::MethodCall(_) | Expr::Assign(_) => true,
            Expr::Binary(binary) => operator::assigns(&binary.op),
            Expr::Try(tried) => matches!(*tried.expr, Expr::Call(_) | Expr::MethodCall(_)),
            _ => false,
        };
        if does_something {
            let change = format!("without {}", Self::squeezed(self.text(statement)));
            let mutant = self.mutant(statement, Operator::Statement, change);
            self.edit(range(statement), What::Statement(mutant));
        }
    }

    /// A literal with another value. Its line is part of the name, since many are the same.
    fn literal(&mut self, literal: &syn::ExprLit, other: &str) -> usize {
        let line = self.source.text.lines().nth(literal.span().start().line - 1);
        let line = Self::squeezed(line.unwrap_or_default());
        let change = format!("{} -> {other} in {line}", self.text(literal));
        self.mutant(literal, Operator::Literal, change)
    }

    fn implementation(&mut self, item: &syn::ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.types
            .push(name.unwrap_or_else(|| Self::squeezed(self.text(&*item.self_ty))));
        visit::visit_item_impl(self, item);
        self.types.pop();
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    // Constants, and what is not executed at all.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_item_macro(&mut self, _: &'ast syn::ItemMacro) {}
    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
    fn visit_angle_bracketed_generic_arguments(&mut self, _: &'ast syn::AngleBracketedGenericArguments) {}

    /// A table, which is a constant.
    fn visit_expr_reference(&mut self, reference: &'ast syn::ExprReference) {
        if !matches!(*reference.expr, Expr::Array(_)) {
            self.visit_expr(&reference.expr);
        }
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let of_trait = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
        let diagnostic = of_trait.is_some_and(|last| DIAGNOSTICS.iter().any(|name| last.ident == name));
        if !diagnostic && !is_test(&item.attrs) {
            self.implementation(item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            // A function inside a method belongs to no type.
            let types = std::mem::take(&mut self.types);
            self.function(&item.sig, &item.block);
            self.types = types;
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig, &item.block);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        for statement in &block.stmts {
            self.names.note(statement);
            self.statement(statement);
            self.visit_stmt(statement);
        }
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        // What is the same without defects whatever stands in it.
        if !self.names.never(expression) && !self.names.always(expression) {
            visit::visit_expr(self, expression);
        }
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        self.condition(&branch.cond);
        self.visit_expr(&branch.cond);
        if !self.names.never(&branch.cond) {
            self.visit_block(&branch.then_branch);
        }
        if let Some((_, otherwise)) = &branch.else_branch
            && !self.names.always(&branch.cond)
        {
            self.visit_expr(otherwise);
        }
    }

    fn visit_expr_while(&mut self, repeated: &'ast syn::ExprWhile) {
        self.condition(&repeated.cond);
        visit::visit_expr_while(self, repeated);
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        self.visit_expr(&expression.expr);
        let has_wildcard = expression.arms.iter().any(|arm| matches!(arm.pat, Pat::Wild(_)));
        for arm in &expression.arms {
            if guard(arm).is_some_and(|guard| self.names.never(guard)) {
                continue;
            }
            self.arm(arm, has_wildcard && !matches!(arm.pat, Pat::Wild(_)));
            if let Some(guard) = guard(arm) {
                self.visit_expr(guard);
            }
            self.visit_expr(&arm.body);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        if !self.names.never(&call.receiver) {
            for argument in &call.args {
                self.visit_expr(argument);
            }
        }
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        if !binds(&binary.left) && !binds(&binary.right) {
            let (left, right) = (
                self.text(&*binary.left).to_owned(),
                self.text(&*binary.right).to_owned(),
            );
            let assigns = operator::assigns(&binary.op);
            let shown = Self::squeezed(&format!("{left} {} {right}", operator::symbol(&binary.op)));
            let others: Vec<(usize, String)> = operator::others(&binary.op)
                .iter()
                .map(|other| {
                    let mutant = self.mutant(&binary.op, Operator::Binary, format!("{other} in {shown}"));
                    let text = match assigns {
                        true => format!("{left} {other} {right}"),
                        false => format!("({left}) {other} ({right})"),
                    };
                    (mutant, text)
                })
                .collect();
            self.edit(range(binary), What::Choice(others));
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        if matches!(unary.op, UnOp::Not(_) | UnOp::Neg(_)) {
            let without = self.text(&*unary.expr).to_owned();
            let shown = format!("-> {}", Self::squeezed(&without));
            let mutant = self.mutant(unary, Operator::Unary, shown);
            self.edit(range(unary), What::Choice(vec![(mutant, without)]));
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_lit(&mut self, literal: &'ast syn::ExprLit) {
        if let Some(other) = operator::other_literal(&literal.lit) {
            let mutant = self.literal(literal, &other);
            self.edit(range(literal), What::Choice(vec![(mutant, other)]));
        }
    }

    fn visit_expr_cast(&mut self, cast: &'ast syn::ExprCast) {
        // A literal has the type of the cast.
        let Expr::Lit(literal) = &*cast.expr else {
            return visit::visit_expr_cast(self, cast);
        };
        if let Some(other) = operator::other_literal(&literal.lit) {
            let mutant = self.literal(literal, &other);
            let other = format!("{other} as {}", self.text(&*cast.ty));
            self.edit(range(cast), What::Choice(vec![(mutant, other)]));
        }
    }

    fn visit_expr_struct(&mut self, structure: &'ast syn::ExprStruct) {
        if let Some(rest) = &structure.rest {
            let path = self.text(&structure.path).to_owned();
            let fields: Vec<String> = structure
                .fields
                .iter()
                .map(|field| self.text(field).to_owned())
                .collect();
            let rest = self.text(&**rest).to_owned();
            let mut others = Vec::new();
            for (index, field) in fields.iter().enumerate() {
                let change = format!("without {}", Self::squeezed(field));
                let mutant = self.mutant(&structure.fields[index], Operator::Field, change);
                let kept: Vec<&str> = fields
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != index)
                    .map(|(_, field)| field.as_str())
                    .collect();
                others.push((mutant, format!("{path} {{ {}, ..{rest} }}", kept.join(", "))));
            }
            self.edit(range(structure), What::Choice(others));
        }
        visit::visit_expr_struct(self, structure);
    }
}
