//! Code that runs only while a defect of the model is switched on. The suite's own test of the
//! defects is about it, and no case can be: it is left alone.

use std::collections::HashSet;

use syn::{BinOp, Expr, Pat, Stmt, UnOp};

/// Names of variables that are true only with a defect.
#[derive(Clone, Debug, Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// Notes a variable that is true only with a defect.
    pub fn note(&mut self, statement: &Stmt) {
        if let Stmt::Local(local) = statement
            && let Some(init) = &local.init
            && let Pat::Ident(name) = &local.pat
            && self.never(&init.expr)
        {
            self.0.insert(name.ident.to_string());
        }
    }

    /// Whether an expression is false without defects.
    #[must_use]
    pub fn never(&self, expression: &Expr) -> bool {
        match expression {
            Expr::Paren(inner) => self.never(&inner.expr),
            Expr::Group(inner) => self.never(&inner.expr),
            Expr::MethodCall(call) if call.method == "broken" => true,
            Expr::MethodCall(call) if call.method == "has" => call.args.iter().any(is_defect),
            Expr::Path(path) => path
                .path
                .get_ident()
                .is_some_and(|name| self.0.contains(&name.to_string())),
            Expr::Unary(unary) => matches!(unary.op, UnOp::Not(_)) && self.always(&unary.expr),
            Expr::Binary(binary) => match binary.op {
                BinOp::And(_) => self.never(&binary.left) || self.never(&binary.right),
                BinOp::Or(_) => self.never(&binary.left) && self.never(&binary.right),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether an expression is true without defects.
    #[must_use]
    pub fn always(&self, expression: &Expr) -> bool {
        match expression {
            Expr::Paren(inner) => self.always(&inner.expr),
            Expr::Group(inner) => self.always(&inner.expr),
            Expr::Unary(unary) => matches!(unary.op, UnOp::Not(_)) && self.never(&unary.expr),
            Expr::Binary(binary) => match binary.op {
                BinOp::And(_) => self.always(&binary.left) && self.always(&binary.right),
                BinOp::Or(_) => self.always(&binary.left) || self.always(&binary.right),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Whether an expression is a defect of the model.
fn is_defect(expression: &Expr) -> bool {
    match expression {
        Expr::Path(path) => path
            .path
            .segments
            .first()
            .is_some_and(|first| first.ident == "Defect"),
        _ => false,
    }
}
