//! The list of irrelevant mutants fits the model as it is.

use std::path::Path;

use mutation::irrelevant::{Irrelevant, LIST};
use mutation::model::Model;

#[test]
fn each_entry_is_about_a_mutant_and_has_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let model = Model::read(&root).expect("the model is Rust");
    let mutants: Vec<_> = model.mutants().map(|(_, mutant)| mutant).collect();
    let list = Irrelevant::read(LIST).expect("it is a list");
    assert_eq!(list.mistakes(&mutants), Vec::<String>::new());
}
