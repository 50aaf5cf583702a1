//! Runs cases on the model with mutants in it. Written by `cargo mutation`.

fn main() -> std::process::ExitCode {
    mutation_trial::main(mutation_trial::Switch {
        note: spec_model::mutation::NOTE,
        start: spec_model::mutation::start,
        stop: spec_model::mutation::stop,
    })
}
