//! Kernel modules: which ones KVM needs and in what order they load.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::ProvisionError;
use super::elf::Elf;

/// The modules that are wanted for themselves; both, because only the booted processor
/// decides which one loads.
const VENDOR_MODULES: [&str; 2] = ["kvm_amd", "kvm_intel"];

/// A kernel module is never this large, decompressed, in bytes; a damaged archive may be.
const LARGEST_MODULE: u64 = 256 << 20;

/// Where to look for modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In the folder itself.
    Folder,
    /// In everything below it, which must be a tree of modules or a built kernel tree.
    Tree,
}

/// Nothing below this depth of a tree matters.
const DEEPEST: usize = 8;

/// Name of a module by its file name, as the kernel compares it: `-` and `_` are the same.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file
        .split_once(".ko")
        .filter(|(_, rest)| rest.is_empty() || matches!(*rest, ".xz" | ".zst" | ".gz"))?;
    Some(stem.0.replace('-', "_"))
}

/// Contents of a module, decompressed if its name ends in `.xz`.
///
/// # Errors
/// If it cannot be read, or is compressed in another way.
pub fn read(path: &Path) -> Result<Vec<u8>, ProvisionError> {
    let io = |source| ProvisionError::io("read", path, source);
    let bad = |problem: String| ProvisionError::Module {
        path: path.to_owned(),
        problem,
    };
    let mut contents = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => {
            let file = File::open(path).map_err(io)?;
            lzma_rust2::XzReader::new(file, true)
                .take(LARGEST_MODULE)
                .read_to_end(&mut contents)
                .map_err(io)?;
        }
        Some("zst" | "gz") => {
            return Err(bad(
                "its compression is not supported; decompress it in place".to_owned()
            ));
        }
        _ => contents = fs::read(path).map_err(io)?,
    }
    Elf::parse(&contents).map_err(|error| bad(error.to_string()))?;
    Ok(contents)
}

/// The modules that a module names in `depends=` of its `.modinfo` section (Linux
/// `scripts/mod/modpost.c`, `add_depends`).
fn dependencies(path: &Path) -> Result<Vec<String>, ProvisionError> {
    let bad = |problem: &str| ProvisionError::Module {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    let contents = read(path)?;
    let elf = Elf::parse(&contents).map_err(|error| bad(&error.to_string()))?;
    let modinfo = elf.section(".modinfo").map_err(|error| bad(&error.to_string()))?;
    let modinfo = modinfo.ok_or_else(|| bad("it has no .modinfo section, so it is not a kernel module"))?;
    let depends = modinfo
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"depends="))
        .unwrap_or_default();
    Ok(String::from_utf8_lossy(depends)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect())
}

/// Paths of the modules that KVM needs, in the order in which they load, out of those
/// found in `folder`. Empty if there is no KVM module, as in a kernel with
/// KVM built in.
///
/// # Errors
/// If a module cannot be read, or names another one that is not there.
pub fn load_order(folder: &Path, reach: Reach) -> Result<Vec<PathBuf>, ProvisionError> {
    let mut found = BTreeMap::new();
    let depth = match reach {
        Reach::Folder => 0,
        Reach::Tree => DEEPEST,
    };
    collect(folder, depth, &mut found)?;
    let mut order = Vec::new();
    for name in VENDOR_MODULES {
        if found.contains_key(name) {
            visit(name, &found, &mut Vec::new(), &mut order)?;
        }
    }
    Ok(order)
}

fn collect(folder: &Path, depth: usize, found: &mut BTreeMap<String, PathBuf>) -> Result<(), ProvisionError> {
    let io = |source| ProvisionError::io("list", folder, source);
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        // Not following links: `build` and `source` lead out into whole kernel trees.
        let kind = entry.file_type().map_err(io)?;
        let path = entry.path();
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        } else if kind.is_file()
            && let Some(name) = module_name(&path)
        {
            found.insert(name, path);
        }
    }
    Ok(())
}

/// Appends a module after everything that it depends on. `above` holds the modules
/// that are waiting for this one.
fn visit(
    name: &str,
    found: &BTreeMap<String, PathBuf>,
    above: &mut Vec<String>,
    order: &mut Vec<PathBuf>,
) -> Result<(), ProvisionError> {
    let Some(path) = found.get(name) else {
        return Err(ProvisionError::ModuleMissing {
            name: name.to_owned(),
            needed_by: above.last().cloned().unwrap_or_default(),
        });
    };
    if order.contains(path) || above.iter().any(|waiting| waiting == name) {
        return Ok(());
    }
    above.push(name.to_owned());
    for dependency in dependencies(path)? {
        visit(&dependency, found, above, order)?;
    }
    above.pop();
    order.push(path.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest relocatable object with a `.modinfo` section.
    fn module(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let (names_at, info_at) = (64, 64 + names.len());
        let table_at = info_at + modinfo.len();
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x28..0x30].copy_from_slice(&(table_at as u64).to_le_bytes());
        file[0x3c] = 3;
        file[0x3e] = 2;
        file.extend_from_slice(names);
        file.extend_from_slice(modinfo);
        for (name, at, size) in [
            (0, 0, 0),
            (1, info_at, modinfo.len()),
            (10, names_at, names.len()),
        ] {
            let mut header = [0; SECTION];
            header[0] = name;
            header[0x18..0x20].copy_from_slice(&(at as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend_from_slice(&header);
        }
        file
    }
    const SECTION: usize = 64;

    fn tree(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        for (file, depends) in modules {
            let info = format!("license=GPL\0depends={depends}\0name=x\0");
            fs::write(folder.path().join("sub").join(file), module(info.as_bytes())).unwrap();
        }
        folder
    }

    fn names(paths: &[PathBuf]) -> Vec<String> {
        paths.iter().filter_map(|path| module_name(path)).collect()
    }

    #[test]
    fn dependencies_load_first_and_unneeded_modules_not_at_all() {
        let folder = tree(&[
            ("kvm-amd.ko", "kvm,ccp"),
            ("kvm-intel.ko", "kvm"),
            ("kvm.ko", "irqbypass"),
            ("irqbypass.ko", ""),
            ("ccp.ko", ""),
            ("dccp.ko", ""),
        ]);
        let order = load_order(folder.path(), Reach::Tree).unwrap();
        assert_eq!(names(&order), ["irqbypass", "kvm", "ccp", "kvm_amd", "kvm_intel"]);
    }

    #[test]
    fn a_missing_dependency_is_named() {
        let folder = tree(&[("kvm-amd.ko", "kvm")]);
        let error = load_order(folder.path(), Reach::Tree).unwrap_err().to_string();
        assert!(error.contains("`kvm`") && error.contains("`kvm_amd`"), "{error}");
    }

    #[test]
    fn no_modules_is_a_kernel_with_kvm_built_in() {
        assert_eq!(
            load_order(tree(&[]).path(), Reach::Tree).unwrap(),
            Vec::<PathBuf>::new()
        );
    }

    #[test]
    fn folders_below_are_looked_into_only_if_asked() {
        let folder = tree(&[("kvm-amd.ko", "")]);
        let near = load_order(folder.path(), Reach::Folder).unwrap();
        let far = load_order(folder.path(), Reach::Tree).unwrap();
        assert_eq!((near.len(), far.len()), (0, 1));
    }

    #[test]
    fn a_circle_ends() {
        let folder = tree(&[("kvm-amd.ko", "kvm"), ("kvm.ko", "kvm-amd")]);
        assert_eq!(
            names(&load_order(folder.path(), Reach::Tree).unwrap()),
            ["kvm", "kvm_amd"]
        );
    }

    #[test]
    fn what_is_no_module_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvm-amd.ko");
        fs::write(&path, "text").unwrap();
        assert!(
            load_order(folder.path(), Reach::Tree)
                .unwrap_err()
                .to_string()
                .contains("ELF")
        );
        let zst = folder.path().join("kvm.ko.zst");
        fs::write(&zst, "text").unwrap();
        assert!(read(&zst).unwrap_err().to_string().contains("decompress"));
    }
}
