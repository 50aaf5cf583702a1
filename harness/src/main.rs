//! The `conform` command.
//!
//! In a booted kernel the same program is process 1 and runs scenarios for the host.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        harness::target::booted::agent_main();
    }
    harness::cli::main()
}
