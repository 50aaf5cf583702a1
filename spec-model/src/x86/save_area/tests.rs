use quickcheck::quickcheck;

use super::*;

#[test]
fn every_byte_belongs_to_exactly_one_row() {
    for layout in LAYOUTS {
        let mut next = 0;
        for row in layout.rows {
            assert_eq!(
                row.index(),
                next,
                "{}: gap or overlap at {:04x} ({})",
                layout.name,
                row.offset,
                row.name
            );
            next += usize::from(row.width);
        }
        assert_eq!(next, SAVE_AREA_SIZE, "{} ends early", layout.name);
    }
}

#[test]
fn rows_of_state_name_a_field_that_fits() {
    for layout in LAYOUTS {
        for row in layout.rows.iter().filter(|row| row.content == Content::State) {
            assert!(
                Field::named(row.name).is_some(),
                "{}: no field {}",
                layout.name,
                row.name
            );
            assert!(row.width <= 8);
        }
    }
}

quickcheck! {
    /// Decoding what was encoded and encoding it again gives the same bytes.
    fn encode_after_restore_is_the_identity(seed: Vec<u64>) -> bool {
        LAYOUTS.iter().all(|layout| {
            let mut state = VcpuState::default();
            for (index, row) in layout.rows.iter().filter(|row| row.restored).enumerate() {
                let value = seed.get(index % seed.len().max(1)).copied().unwrap_or(0).rotate_left(index as u32);
                match row.content {
                    Content::State => {
                        let field = Field::named(row.name).expect("checked above");
                        let bits = u32::from(field.bits).min(u32::from(row.width) * 8);
                        field.write(&mut state, value & u64::MAX >> (64 - bits));
                    }
                    Content::Attributes { segment, .. } => {
                        state.segment_mut(segment).attributes = attributes_from(value << 8);
                    }
                    _ => {}
                }
            }
            let area = layout.encode(&state, Extras::default());
            let mut restored = VcpuState::default();
            layout.restore(&area, &mut restored);
            layout.encode(&restored, Extras::default()) == area
        })
    }
}
