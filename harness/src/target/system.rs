//! What a system says about itself: which kernel, which build of KVM with which parameters, on
//! what.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::kernel_log::Watched;

/// Modules that are KVM, on any architecture.
const MODULES: [&str; 4] = ["kvm", "kvm_amd", "kvm_intel", "kvm_pvm"];

/// Digits of a build that are shown.
const SHOWN: usize = 12;

/// A system, from its own mouth. Of what is not known nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct System {
    /// Which build of the kernel, as `uname -v` prints it.
    pub version: String,
    /// Architecture, as `uname -m` prints it.
    pub machine: String,
    /// What the kernel calls the processor.
    pub processor: String,
    /// KVM's modules; those that are built in, too, if they have parameters.
    pub modules: Vec<Module>,
    /// The emulator that all of it runs on, with its version, if the harness started one.
    pub emulator: Option<String>,
    /// How much is seen of what the kernel complains of.
    pub complaints: Watched,
}

/// A module of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Module {
    /// Its name.
    pub name: String,
    /// The fingerprint of its sources; none if it is built in or was built without
    /// `CONFIG_MODULE_SRCVERSION_ALL`.
    pub source_version: Option<String>,
    /// The linker's fingerprint of the module; none if it is built in.
    pub build_id: Option<String>,
    /// Its parameters that can be read.
    pub parameters: BTreeMap<String, String>,
}

impl System {
    /// The one that this process runs on.
    #[must_use]
    pub fn own() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let names = rustix::system::uname();
        Self {
            version: names.version().to_string_lossy().into_owned(),
            machine: names.machine().to_string_lossy().into_owned(),
            processor: processor(&cpuinfo),
            modules: MODULES.into_iter().filter_map(module).collect(),
            emulator: None,
            complaints: Watched::Unknown,
        }
    }

    /// The builds of KVM's modules, in a few words; nothing if they have none.
    #[must_use]
    pub fn builds(&self) -> String {
        let build = |module: &Module| {
            let build = module.source_version.as_ref().or(module.build_id.as_ref())?;
            Some(format!("{} {}", module.name, build.get(..SHOWN).unwrap_or(build)))
        };
        self.modules
            .iter()
            .filter_map(build)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// The first processor's name; on arm64, where there is none, who made it and which part it is.
fn processor(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(key, _)| key.trim() == name);
        found.map(|(_, value)| value.trim().to_owned())
    };
    field("model name")
        .or_else(|| {
            let (implementer, part) = (field("CPU implementer")?, field("CPU part")?);
            Some(format!("implementer {implementer}, part {part}"))
        })
        .unwrap_or_default()
}

fn module(name: &str) -> Option<Module> {
    let folder = Path::new("/sys/module").join(name);
    if !folder.is_dir() {
        return None;
    }
    let read = |path: &Path| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let parameters = fs::read_dir(folder.join("parameters"))
        .into_iter()
        .flatten()
        .flatten();
    Some(Module {
        name: name.to_owned(),
        source_version: read(&folder.join("srcversion")),
        build_id: fs::read(folder.join("notes/.note.gnu.build-id"))
            .ok()
            .and_then(|note| build_id(&note)),
        parameters: parameters
            .filter_map(|entry| {
                let value = read(&entry.path())?;
                Some((entry.file_name().to_string_lossy().into_owned(), value))
            })
            .collect(),
    })
}

/// The description of an ELF note with the name `GNU` (elf(5), "Notes"), in hexadecimal.
fn build_id(note: &[u8]) -> Option<String> {
    let length = note.get(4..8)?.try_into().ok().map(u32::from_le_bytes)?;
    let description = note.get(16..)?.get(..usize::try_from(length).ok()?)?;
    (note.get(12..16)? == b"GNU\0").then(|| description.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_have_a_name_or_a_part() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: AMD EPYC\n"), "AMD EPYC");
        assert_eq!(
            processor("CPU implementer\t: 0x41\nCPU part\t: 0xd08\n"),
            "implementer 0x41, part 0xd08"
        );
        assert_eq!(processor(""), "");
    }

    #[test]
    fn a_build_id_is_what_the_note_says() {
        let note = [
            &[4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0][..],
            b"GNU\0",
            &[0xab, 0x01, 9],
        ]
        .concat();
        assert_eq!(build_id(&note).as_deref(), Some("ab01"));
        assert_eq!(build_id(&note[..17]), None);
        assert_eq!(build_id(&[]), None);
    }

    #[test]
    fn this_system_says_which_kernel_it_has() {
        let own = System::own();
        assert!(!own.version.is_empty() && !own.machine.is_empty(), "{own:?}");
    }
}
