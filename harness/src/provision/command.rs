//! Other programs, run to their end.

use std::process::{Command, Stdio};

use super::ProvisionError;

/// Lines of a failed command's error output that go into the message.
const STDERR_LINES: usize = 6;

/// Runs a command and returns its standard output.
///
/// # Errors
/// If the program is not there, cannot be started, or fails; the error quotes the
/// command and the end of what it said.
pub fn output(command: &mut Command) -> Result<String, ProvisionError> {
    let line = line_of(command);
    // Messages are quoted and tables are parsed, so neither may be translated.
    let result = command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").output();
    let output = match result {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ProvisionError::ProgramMissing {
                program: command.get_program().to_string_lossy().into_owned(),
            });
        }
        Err(source) => {
            return Err(ProvisionError::Start {
                command: line,
                source,
            });
        }
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ProvisionError::Command {
        command: line,
        status: output.status,
        stderr: last_lines(&String::from_utf8_lossy(&output.stderr), STDERR_LINES),
    })
}

/// A command as one would type it.
fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// The last `count` lines that are not blank.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_quotes_the_end_of_its_errors() {
        let script = "for i in 1 2 3 4 5 6 7 8; do echo line $i >&2; done; exit 3";
        let error = output(Command::new("sh").args(["-c", script]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("sh -c for i"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("line 8") && !error.contains("line 2\n"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("no-such-program-at-all")).unwrap_err();
        assert!(matches!(error, ProvisionError::ProgramMissing { .. }));
    }

    #[test]
    fn the_last_lines_of_few() {
        assert_eq!(last_lines("a\n\nb\n", 5), "a\nb");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}
