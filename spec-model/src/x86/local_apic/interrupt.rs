//! Requested interrupts, their priority and their service.

use super::{LocalApic, Mode};

impl LocalApic {
    /// Requests an interrupt, edge triggered (APIC-INT-001).
    pub fn request(&mut self, vector: u8) {
        set(&mut self.irr, vector);
        clear(&mut self.tmr, vector);
    }

    /// Processor priority: the higher of the task's and of that in service (APIC-INT-002).
    #[must_use]
    pub fn processor_priority(&self) -> u8 {
        let in_service = highest(&self.isr).map_or(0, |vector| vector & 0xf0);
        if self.tpr >> 4 >= in_service >> 4 {
            self.tpr
        } else {
            in_service
        }
    }

    /// The highest requested vector, if its class is above the processor priority
    /// (APIC-INT-002, APIC-INT-005). Nothing else is looked at: not IF, not shadows.
    #[must_use]
    pub fn deliverable(&self) -> Option<u8> {
        if self.mode() == Mode::Disabled {
            return None;
        }
        highest(&self.irr).filter(|vector| vector >> 4 > self.processor_priority() >> 4)
    }

    /// With a defect bits 3:0 of the task priority are lost where the hypervisor takes the priority from
    /// CR8, which it does unless a requested interrupt is held by it.
    pub(in crate::x86) fn lose_priority_subclass(&mut self) {
        let is_held = highest(&self.irr).is_some_and(|vector| vector >> 4 <= self.tpr >> 4);
        if !is_held {
            self.tpr &= 0xf0;
        }
    }

    /// Moves a requested interrupt into service (APIC-INT-001).
    pub fn begin_service(&mut self, vector: u8) {
        clear(&mut self.irr, vector);
        set(&mut self.isr, vector);
    }

    /// End of interrupt: the highest vector in service is done (APIC-INT-003).
    pub fn end_of_interrupt(&mut self) {
        if let Some(vector) = highest(&self.isr) {
            clear(&mut self.isr, vector);
        }
    }
}

fn highest(vectors: &[u32; 8]) -> Option<u8> {
    let (word, bits) = vectors.iter().enumerate().rev().find(|(_, bits)| **bits != 0)?;
    Some((word as u32 * 32 + 31 - bits.leading_zeros()) as u8)
}

fn set(vectors: &mut [u32; 8], vector: u8) {
    vectors[usize::from(vector >> 5)] |= 1 << (vector & 0x1f);
}

fn clear(vectors: &mut [u32; 8], vector: u8) {
    vectors[usize::from(vector >> 5)] &= !(1 << (vector & 0x1f));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_needs_a_class_above_the_priority() {
        let mut apic = LocalApic::after_reset(0);
        apic.request(0x35);
        assert_eq!(apic.deliverable(), Some(0x35));
        apic.tpr = 0x2f;
        assert_eq!(apic.deliverable(), Some(0x35));
        apic.tpr = 0x30;
        assert_eq!(apic.deliverable(), None);
        apic.tpr = 0;
        apic.begin_service(0x35);
        apic.request(0x3f);
        assert_eq!(apic.deliverable(), None, "the same class waits");
        apic.request(0x40);
        assert_eq!(apic.deliverable(), Some(0x40));
        apic.end_of_interrupt();
        apic.begin_service(0x40);
        assert_eq!((apic.processor_priority(), apic.deliverable()), (0x40, None));
    }

    #[test]
    fn every_vector_has_its_bit() {
        for vector in 0..=u8::MAX {
            let mut vectors = [0; 8];
            set(&mut vectors, vector);
            assert_eq!(highest(&vectors), Some(vector));
            clear(&mut vectors, vector);
            assert_eq!(vectors, [0; 8]);
        }
    }
}
