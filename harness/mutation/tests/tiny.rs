//! A tiny source whose mutants are known, built and run with each of them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use mutation::default::Aliases;
use mutation::find::{Source, find};
use mutation::rewrite::{Switches, render};

/// The source. Its `main` prints what each function makes of a few values.
const TINY: &str = r#"
pub struct Defects;
pub enum Defect { Lost }
impl Defects {
    pub fn has(&self, _: Defect) -> bool {
        false
    }
}

const fn is_even(number: u32) -> bool {
    number & 1 == 0
}

fn kind(number: u32, defects: &Defects) -> Option<u32> {
    if defects.has(Defect::Lost) && number > 7 {
        return None;
    }
    match number {
        0 => None,
        1 if is_even(number + 1) => Some(10),
        _ => Some(20),
    }
}

fn sum(numbers: &[u32]) -> u32 {
    let mut sum = 0;
    for number in numbers {
        if *number > 3 {
            sum += number;
        }
    }
    sum
}

const TABLE: [u32; 2] = [1 + 1, 3];

#[cfg(test)]
mod tests {
    fn nothing_of_this() -> bool {
        true && false
    }
}
"#;

/// What is wanted of it, without the lines.
const MUTANTS: &[&str] = &[
    "Defects::has: body -> true",
    "Defects::has: literal false -> true in false",
    "is_even: binary != in number & 1 == 0",
    "is_even: binary ^ in number & 1",
    "is_even: binary | in number & 1",
    "is_even: body -> false",
    "is_even: body -> true",
    "is_even: literal 0 -> 0x1 in number & 1 == 0",
    "is_even: literal 1 -> 0x0 in number & 1 == 0",
    "kind: arm without 0",
    "kind: arm without 1 if is_even(number + 1)",
    "kind: binary * in number + 1",
    "kind: binary - in number + 1",
    "kind: body -> None",
    "kind: body -> Some(0)",
    "kind: body -> Some(1)",
    "kind: guard false for is_even(number + 1)",
    "kind: guard true for is_even(number + 1)",
    "kind: literal 1 -> 0x0 in 1 if is_even(number + 1) => Some(10),",
    "kind: literal 10 -> 0xb in 1 if is_even(number + 1) => Some(10),",
    "kind: literal 20 -> 0x15 in _ => Some(20),",
    "sum: binary *= in sum += number",
    "sum: binary -= in sum += number",
    "sum: binary < in *number > 3",
    "sum: binary == in *number > 3",
    "sum: binary >= in *number > 3",
    "sum: body -> 0",
    "sum: body -> 1",
    "sum: condition !(*number > 3)",
    "sum: literal 0 -> 0x1 in let mut sum = 0;",
    "sum: literal 3 -> 0x2 in if *number > 3 {",
    "sum: statement without sum += number;",
];

/// Mutants of which nothing that `main` prints tells.
const UNSEEN: &[&str] = &[
    "kind: guard true for is_even(number + 1)",
    "kind: binary - in number + 1",
];

const MAIN: &str = r#"
mod mutation {
    use std::sync::OnceLock;
    static ACTIVE: OnceLock<u32> = OnceLock::new();
    pub fn on(mutant: u32) -> bool {
        *ACTIVE.get_or_init(|| std::env::args().nth(1).unwrap().parse().unwrap()) == mutant
    }
}
fn main() {
    println!("{:?}", [is_even(0), is_even(1), is_even(4)]);
    println!("{:?}", [0, 1, 2, 9].map(|number| kind(number, &Defects)));
    println!("{:?}", [sum(&[]), sum(&[3]), sum(&[1, 4]), sum(&[5, 6])]);
    println!("{:?}", [TABLE, [Defects.has(Defect::Lost).into(), 0]]);
}
"#;

fn tiny() -> Source {
    find("tiny.rs", TINY, &Aliases::default()).expect("it is Rust")
}

fn names(source: &Source) -> Vec<String> {
    let mutants = source.mutants.iter();
    mutants
        .map(|mutant| mutant.name().trim_start_matches("tiny.rs ").to_owned())
        .collect()
}

#[test]
fn the_mutants_of_a_tiny_source_are_found() {
    let found: BTreeSet<String> = names(&tiny()).into_iter().collect();
    let wanted: BTreeSet<String> = MUTANTS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(found, wanted);
}

#[test]
fn each_mutant_does_what_it_says_and_all_are_in_one_program() {
    let source = tiny();
    let switches = Switches {
        number: &|mutant| Some(mutant + 1),
        stays_const: &|_| false,
    };
    let text = render(&source.text, &source.edits, &switches).text + MAIN;
    let folder = tempfile::tempdir().expect("there is room");
    let (file, program) = (folder.path().join("tiny.rs"), folder.path().join("tiny"));
    fs::write(&file, text).expect("it can be written");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(compiler)
        .args([
            "--edition",
            "2024",
            "--cap-lints",
            "allow",
            "-C",
            "debug-assertions=off",
            "-o",
        ])
        .args([&program, &file])
        .status()
        .expect("rustc starts");
    assert!(built.success());
    let output = |mutant: usize| {
        let output = Command::new(&program)
            .arg(mutant.to_string())
            .output()
            .expect("it starts");
        output.stdout
    };
    let pure = output(0);
    for (index, name) in names(&source).iter().enumerate() {
        let unseen = UNSEEN.contains(&name.as_str());
        assert_eq!(output(index + 1) == pure, unseen, "{name}");
    }
}
