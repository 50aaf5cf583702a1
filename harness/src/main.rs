//! The `conform` command.
//!
//! In a booted kernel the same program is process 1 and runs scenarios for the host.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        harness::target::booted::agent_main();
    }
    main_as_command()
}

#[cfg(feature = "suite")]
fn main_as_command() -> ExitCode {
    harness::cli::main()
}

/// This build has the init program only.
#[cfg(not(feature = "suite"))]
fn main_as_command() -> ExitCode {
    eprintln!("this is the init program of booted kernels; `cargo conform` builds the command");
    ExitCode::from(2)
}
