//! How something was run: by which command, and with which of those options that change what a
//! target can run.

use spec_model::scenario::Observe;

use crate::target::{Mode, RunOptions};

/// The commands that run something on targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `conform run`.
    Run,
    /// `conform explore`.
    Explore,
    /// `conform sequences`.
    Sequences,
    /// `conform gates`.
    Gates,
}

impl Command {
    /// Every command.
    pub const ALL: [Self; 4] = [Self::Run, Self::Explore, Self::Sequences, Self::Gates];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Explore => "explore",
            Self::Sequences => "sequences",
            Self::Gates => "gates",
        }
    }

    /// What the name of an entry starts with. `run` is so common that it is left out.
    fn prefix(self) -> String {
        match self {
            Self::Run => String::new(),
            other => format!("{} ", other.name()),
        }
    }
}

/// A command with options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct How {
    command: Command,
    /// As on the command line, each with a blank first; none change anything where it is empty.
    options: String,
}

impl How {
    /// A command without any such option.
    #[must_use]
    pub const fn plain(command: Command) -> Self {
        Self {
            command,
            options: String::new(),
        }
    }

    /// A command with these options.
    #[must_use]
    pub fn with(command: Command, options: RunOptions) -> Self {
        let mut text = String::new();
        if options.mode != Mode::Normal {
            text += &format!(" --{}", options.mode.name());
        }
        if options.observe == Observe::Ends {
            text += " --observe ends";
        }
        if options.fresh_vm {
            text += " --fresh-vm";
        }
        if options.allow_host_risk {
            text += " --allow-host-risk";
        }
        Self {
            command,
            options: text,
        }
    }

    /// The command.
    #[must_use]
    pub const fn command(&self) -> Command {
        self.command
    }

    /// Whether it is the command without such options.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.options.is_empty()
    }

    /// What a baseline calls a target that is run on like this.
    #[must_use]
    pub fn key(&self, target: &str) -> String {
        format!("{}{target}{}", self.command.prefix(), self.options)
    }

    /// The same without the options.
    pub(super) fn plain_key(&self, target: &str) -> String {
        Self::plain(self.command).key(target)
    }

    /// The target of an entry that a run like this is held against: one of this command with the same options,
    /// or with none.
    pub(super) fn target_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        let (command, rest) = command_of(key);
        let (target, options) = match rest.find(" --") {
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        };
        (command == self.command && (options.is_empty() || options == self.options)).then_some(target)
    }
}

/// The command of an entry, and the rest of its name.
pub(super) fn command_of(key: &str) -> (Command, &str) {
    let mut others = Command::ALL
        .into_iter()
        .filter(|command| *command != Command::Run);
    let found = others.find_map(|command| Some((command, key.strip_prefix(&command.prefix())?)));
    found.unwrap_or((Command::Run, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_called_as_the_command_line_is() {
        let plain = How::plain(Command::Run);
        assert_eq!(plain.key("kvm"), "kvm");
        let ends = RunOptions {
            observe: Observe::Ends,
            ..RunOptions::default()
        };
        let ends = How::with(Command::Gates, ends);
        assert_eq!(
            ends.key("svm@debian:6.12"),
            "gates svm@debian:6.12 --observe ends"
        );
        let fresh = RunOptions {
            mode: Mode::Migrate,
            fresh_vm: true,
            ..RunOptions::default()
        };
        let fresh = How::with(Command::Run, fresh);
        assert_eq!(fresh.key("kvm"), "kvm --migrate --fresh-vm");
        assert_eq!(How::with(Command::Run, RunOptions::default()), plain);
    }

    #[test]
    fn a_run_is_held_against_entries_of_its_command_and_options_or_none() {
        let ends = How {
            command: Command::Sequences,
            options: " --observe ends".to_owned(),
        };
        for (key, target) in [
            ("sequences kvm", Some("kvm")),
            ("sequences kvm --observe ends", Some("kvm")),
            ("sequences svm@/a b/vmlinuz", Some("svm@/a b/vmlinuz")),
            ("sequences kvm --fresh-vm", None),
            ("gates kvm", None),
            ("kvm", None),
        ] {
            assert_eq!(ends.target_of(key), target, "{key}");
        }
        assert_eq!(How::plain(Command::Run).target_of("gates kvm"), None);
        assert_eq!(How::plain(Command::Run).target_of("kvm"), Some("kvm"));
    }
}
