//! Whether the debug exceptions of this machine are the processor's own. A hypervisor that intercepts
//! #DB delivers it again, and not always as the processor would have.

use super::compare::compare;
use super::layout::{CODE, CODE_64, DATA, LOW};
use super::reference::Reference;
use super::state::{Before, Poke, Registers};
use super::tracee::{NativeError, Tracee};
use spec_model::x86::state::{RAX, RCX, RDI, RSI, RSP};

/// What steps whose debug exception the architecture fixes came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugExceptions {
    /// The steps, in words, that ended otherwise than in the model.
    pub wrong: Vec<&'static str>,
    /// How many were made.
    pub made: usize,
}

/// The step that tells a hypervisor's from the processor's: nothing but an intercept makes INT1 report
/// its own address.
const INT1: &str = "INT1 reports its own address";

impl DebugExceptions {
    /// Whether they must be taken for a hypervisor's.
    #[must_use]
    pub fn are_a_hypervisors(&self) -> bool {
        self.wrong.contains(&INT1)
    }

    /// In one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        if self.wrong.is_empty() {
            return format!(
                "debug exceptions are as the architecture has them in {} steps",
                self.made
            );
        }
        let whose = if self.are_a_hypervisors() {
            "debug exceptions are a hypervisor's"
        } else {
            "debug exceptions are not as the architecture has them"
        };
        format!(
            "{whose}: {}; nothing here is evidence of #DB",
            self.wrong.join(", ")
        )
    }

    /// Makes the steps.
    ///
    /// # Errors
    /// If the process is lost.
    pub fn look(reference: &mut Reference<'_>, tracee: &mut Tracee) -> Result<Self, NativeError> {
        let mut found = Self::default();
        for (words, mut before) in steps() {
            tracee.complete(&mut before);
            let native = tracee.step(&before)?;
            let mut fits = false;
            let mut script = Some(Vec::new());
            while let Some(way) = script {
                let predicted = reference.step(&before, way);
                fits |= predicted.is_ok_and(|predicted| compare(&before, &native, &predicted).is_empty());
                script = reference.next_script();
            }
            found.made += 1;
            if !fits {
                found.wrong.push(words);
            }
        }
        Ok(found)
    }
}

/// Steps with what is wrong if they end otherwise than in the model.
fn steps() -> Vec<(&'static str, Before)> {
    let stack = LOW + 0x1800;
    let flags = |value: u64| Poke {
        address: stack,
        bytes: value.to_le_bytes().to_vec(),
    };
    vec![
        ("a NOP is not followed by one trap", step(&[0x90], Vec::new())),
        (INT1, step(&[0xf1], Vec::new())),
        (
            "MOV SS does not hold the trap off",
            step(&[0x8e, 0xd0], Vec::new()),
        ),
        (
            "POPF that clears TF is not followed by a trap",
            step(&[0x9d], vec![flags(0x202)]),
        ),
        (
            "POPF that leaves TF is not followed by a trap",
            step(&[0x9d], vec![flags(0x302)]),
        ),
        (
            "a repeated MOVSB does not trap between two iterations with RF set",
            step(&[0xf3, 0xa4], Vec::new()),
        ),
    ]
}

fn step(code: &[u8], mut pokes: Vec<Poke>) -> Before {
    let address = CODE[0] + 0x100;
    pokes.push(Poke {
        address,
        bytes: code.to_vec(),
    });
    let mut general = [0; 16];
    general[RAX] = DATA.into();
    general[RCX] = 2;
    general[RSI] = LOW + 0x1000;
    general[RDI] = LOW + 0x2000;
    general[RSP] = LOW + 0x1800;
    Before {
        registers: Registers {
            general,
            rip: address,
            rflags: 0,
            selectors: [DATA, CODE_64, DATA, DATA, 0, 0],
            bases: [0; 2],
        },
        code: code.to_vec(),
        pokes,
    }
}
