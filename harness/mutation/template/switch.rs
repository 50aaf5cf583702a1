//! Which mutant is on. Written into a copy of the model by `cargo mutation`.

use std::cell::{Cell, RefCell};

/// No mutant is on, and those that are asked for are noted.
pub const NOTE: u32 = u32::MAX;

struct Switch {
    active: Cell<u32>,
    fuel: Cell<u64>,
}

thread_local! {
    static SWITCH: Switch = const {
        Switch {
            active: Cell::new(0),
            fuel: Cell::new(u64::MAX),
        }
    };
    static ASKED: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
}

/// Whether a mutant is on. Ends a run that has asked too often: it is in a loop.
#[inline]
pub fn on(mutant: u32) -> bool {
    SWITCH.with(|switch| {
        let fuel = switch.fuel.get();
        if fuel == 0 {
            std::panic::resume_unwind(Box::new("does not end"));
        }
        switch.fuel.set(fuel - 1);
        let active = switch.active.get();
        if active == NOTE {
            note(mutant);
            return false;
        }
        active == mutant
    })
}

#[cold]
fn note(mutant: u32) {
    ASKED.with_borrow_mut(|asked| {
        let index = mutant as usize;
        if asked.len() <= index {
            asked.resize(index + 1, false);
        }
        asked[index] = true;
    });
}

/// Switches a mutant on, or [`NOTE`], for as many questions.
pub fn start(mutant: u32, fuel: u64) {
    SWITCH.with(|switch| {
        switch.active.set(mutant);
        switch.fuel.set(fuel);
    });
}

/// Switches it off. Gives what is left of the questions, and what was noted.
pub fn stop() -> (u64, Vec<u32>) {
    let left = SWITCH.with(|switch| {
        switch.active.set(0);
        switch.fuel.replace(u64::MAX)
    });
    let asked = ASKED.take();
    let numbers = asked.iter().enumerate().filter(|(_, asked)| **asked);
    (left, numbers.map(|(number, _)| number as u32).collect())
}
