//! Room on the file system of the cache.

use std::path::Path;

use rustix::fs::statvfs;

use super::ProvisionError;

/// Bytes per MiB.
const MIB: u64 = 1 << 20;
/// What fetching QEMU or a kernel takes for a while, in MiB: package lists, packages, and
/// what comes out of them.
pub(super) const NEEDED: u64 = 300;
/// With less than this, in MiB, apt may wait for ever for its own children.
pub(super) const FULL: u64 = 1;

/// What anybody may still write to the file system of a folder, in bytes; none if the
/// system does not say.
pub(super) fn free(folder: &Path) -> Option<u64> {
    let system = statvfs(folder).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Fails if less than `needed` MiB are free. The error asks for [`NEEDED`] at least.
pub(super) fn check(folder: &Path, needed: u64) -> Result<(), ProvisionError> {
    match free(folder).map(|free| free / MIB) {
        Some(free) if free < needed => Err(ProvisionError::NoSpace {
            folder: folder.to_owned(),
            free,
            needed: needed.max(NEEDED),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        let folder = std::env::temp_dir();
        check(&folder, 0).unwrap();
        let error = check(&folder, u64::MAX).unwrap_err();
        assert!(error.to_string().contains("CONFORM_CACHE"), "{error}");
        assert!(free(&folder).is_some());
        assert_eq!(free(Path::new("/no/such/folder")), None);
    }
}
