//! The runs without sabotage: what is broken later must be whole first.

use std::sync::LazyLock;

use harness::target::kvm::Kvm;

use super::booted;
use super::conform::{Conform, Finished};
use super::outcome::{Outcome, Row};

static LOCAL: LazyLock<Finished> = LazyLock::new(|| {
    let mut conform = Conform::run(&["--target", "kvm"]);
    conform.sabotaged("");
    conform.finish()
});

/// What the local device does with all cases.
pub fn local() -> &'static Finished {
    &LOCAL
}

/// Whether the local device has SMM.
pub fn local_has_smm() -> bool {
    Kvm::open().is_ok_and(|kvm| kvm.identity().smm)
}

/// Why the local device cannot be sabotaged.
pub fn no_local() -> Option<String> {
    Kvm::open().err().map(|error| error.to_string())
}

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "kvm::nothing-broken".to_owned(),
            wanted: "exit 0".to_owned(),
            run: Box::new(|| whole(&LOCAL)),
            not_run: no_local(),
        },
        Row {
            name: "svm::nothing-broken".to_owned(),
            wanted: "exit 0".to_owned(),
            run: Box::new(|| whole(booted::control())),
            not_run: booted::no_kernel(),
        },
    ]
}

fn whole(finished: &Finished) -> Outcome {
    let mut problem = None;
    if finished.status != Some(0) {
        problem = Some("without any sabotage the exit status is not 0, so the rows prove little".to_owned());
    } else if !finished.applied.is_empty() {
        problem = Some("something was broken although nothing was to be".to_owned());
    }
    Outcome {
        seen: finished.in_short(),
        problem,
        output: finished.text.clone(),
    }
}
