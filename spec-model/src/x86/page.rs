//! One page of memory that knows a digest of what it holds.

use std::cell::OnceCell;
use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::xxh3_128;

/// Size of a page in bytes.
pub const PAGE: usize = 4096;

/// The bytes of a page. States that share pages are compared often and pages change rarely,
/// so the digest is kept until somebody writes.
#[derive(Clone, Debug)]
pub struct Page {
    bytes: [u8; PAGE],
    digest: OnceCell<u128>,
}

/// A page of zeros.
pub static ZEROS: [u8; PAGE] = [0; PAGE];

impl Page {
    /// A page of zeros.
    #[must_use]
    pub fn zero() -> Self {
        Self {
            bytes: ZEROS,
            digest: OnceCell::new(),
        }
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> &[u8; PAGE] {
        &self.bytes
    }

    /// What it holds, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE] {
        self.digest = OnceCell::new();
        &mut self.bytes
    }

    fn digest(&self) -> u128 {
        *self.digest.get_or_init(|| xxh3_128(&self.bytes))
    }
}

impl PartialEq for Page {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Page {}

impl Hash for Page {
    /// Feeds the digest of 128 bits: pages with the same digest are taken for equal by whoever
    /// looks at nothing but hashes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.digest());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(page: &Page) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        page.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn the_digest_follows_every_change() {
        let mut page = Page::zero();
        let before = hash(&page);
        page.bytes_mut()[4095] = 1;
        assert_ne!(hash(&page), before);
        assert_ne!(page, Page::zero());
        page.bytes_mut()[4095] = 0;
        assert_eq!(hash(&page), before);
        assert_eq!(page, Page::zero());
    }
}
