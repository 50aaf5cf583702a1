//! What one page of host memory holds.

use std::collections::BTreeMap;

use super::scenario::PAGE_SIZE;

/// Contents of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    fill: u8,
    bytes: BTreeMap<u16, u8>,
}

impl Page {
    pub(super) fn filled(fill: u8) -> Self {
        Self {
            fill,
            bytes: BTreeMap::new(),
        }
    }

    pub(super) fn byte(&self, offset: u16) -> u8 {
        self.bytes.get(&offset).copied().unwrap_or(self.fill)
    }

    pub(super) fn set(&mut self, offset: u16, byte: u8) {
        self.bytes.insert(offset, byte);
    }

    /// Whether all bytes are the same, however they got there.
    pub(super) fn holds_what(&self, other: &Self) -> bool {
        (0..PAGE_SIZE as u16).all(|offset| self.byte(offset) == other.byte(offset))
    }

    /// Number of bytes that are not zero.
    pub(super) fn count_nonzero(&self) -> u64 {
        let unwritten = if self.fill == 0 {
            0
        } else {
            PAGE_SIZE - self.bytes.len() as u64
        };
        unwritten + self.bytes.values().filter(|byte| **byte != 0).count() as u64
    }

    /// Stretches that are not `fill`.
    pub(super) fn changes(&self, fill: u8) -> Vec<(u16, Vec<u8>)> {
        let mut changes: Vec<(u16, Vec<u8>)> = Vec::new();
        let offsets = 0..PAGE_SIZE as u16;
        let candidates: Vec<u16> = if self.fill == fill {
            self.bytes.keys().copied().collect()
        } else {
            offsets.collect()
        };
        for offset in candidates {
            let byte = self.byte(offset);
            if byte == fill {
                continue;
            }
            match changes.last_mut() {
                Some((start, bytes)) if usize::from(*start) + bytes.len() == usize::from(offset) => {
                    bytes.push(byte);
                }
                _ => changes.push((offset, vec![byte])),
            }
        }
        changes
    }
}
