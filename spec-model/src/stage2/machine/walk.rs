//! What walks of x86 page tables do to the tables.

use super::super::host::Owner;
use super::super::scenario::{GuestAddress, HostAddress};
use super::super::tables::{ACCESSED, DIRTY, Leads, entry_offset, leads_to};
use super::super::transcript::End;
use super::{EMULATION, Machine, Stop, There};
use crate::defect::Defect;
use crate::error::ModelError;
use crate::stage2::errno::EFAULT;

impl Machine<'_> {
    /// Walks the tables for an access, if the guest uses any, and gives the guest-physical address that they lead to.
    /// The guest has no handlers: a page fault shuts it down.
    ///
    /// S2-WALK-001: the walk sets the accessed bit of the entry, and for a write its dirty bit. S2-WALK-002: a
    /// table in a read-only slot is used as it is and stays so.
    pub(super) fn walk(&mut self, at: GuestAddress, write: bool) -> Result<GuestAddress, Stop> {
        let Some(tables) = self.tables else {
            return Ok(at);
        };
        let There::Memory {
            slot,
            backing,
            page,
            read_only,
        } = self.there(tables.page)
        else {
            return Err(End::InternalError(EMULATION));
        };
        if read_only && self.defects.has(Defect::ReadOnlyTableFails) {
            return Err(End::Shutdown);
        }
        let first = entry_offset(at.bytes());
        let mut old = [0; 4];
        for (byte, offset) in old.iter_mut().zip(first..) {
            let place = HostAddress {
                backing,
                page,
                offset,
            };
            let read = self.host.read(Owner::Parent, place);
            *byte = read.map_err(|_| End::Failed(EFAULT))?;
        }
        let bits = if write { ACCESSED | DIRTY } else { ACCESSED };
        let old = u32::from_le_bytes(old);
        let to = match leads_to(old, at) {
            _ if self.defects.has(Defect::TableFrameIgnored) => at,
            Leads::To(to) => to,
            Leads::Nowhere => return Err(End::Shutdown),
            Leads::Further => {
                let what = format!("the entry {old:#x} of a page directory, which names a page table");
                self.error = Some(ModelError::NotModelled(what));
                return Err(End::Shutdown);
            }
        };
        let new = old | bits;
        let untouchable = read_only && !self.defects.has(Defect::WalkWritesReadOnlyTable);
        if new == old || untouchable || self.defects.has(Defect::WalkSetsNothing) {
            return Ok(to);
        }
        for (byte, offset) in new.to_le_bytes().into_iter().zip(first..) {
            let place = HostAddress {
                backing,
                page,
                offset,
            };
            let written = self.host.write(Owner::Parent, place, byte);
            written.map_err(|_| End::Failed(EFAULT))?;
        }
        if !read_only && !self.defects.has(Defect::WalkNotLogged) {
            self.mark_dirty_in(slot, tables.page);
        }
        Ok(to)
    }
}
