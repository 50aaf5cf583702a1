//! The truth table of SMRAM, and what holds whatever is written.

use proptest::prelude::*;

use super::register::{Register, smram};
use super::window::{COMPATIBLE, HIGH, View};
use super::{Chipset, ChipsetError, HostBridge, Implementation, Kind};
use crate::defect::DefectSet;

const TOP: u64 = 16 << 20;

fn bridge(kind: Kind, implementation: Implementation) -> HostBridge {
    let chipset = Chipset {
        kind,
        implementation,
        top_of_memory: TOP,
        registers: Vec::new(),
    };
    HostBridge::new(&chipset, DefectSet::NONE).expect("a chipset as after reset")
}

/// Intel 82441FX datasheet, "SMRAM", table of the combinations of its bits.
#[test]
fn the_compatible_window_follows_the_datasheet_truth_table() {
    use smram::{D_CLS, D_LCK, D_OPEN, G_SMRAME};
    // Bits written, then: seen outside SMM, by code in SMM, by data in SMM.
    let table = [
        (0, false, false, false),
        (D_OPEN, false, false, false),
        (G_SMRAME, false, true, true),
        (G_SMRAME | D_OPEN, true, true, true),
        (G_SMRAME | D_CLS, false, true, false),
        (G_SMRAME | D_LCK, false, true, true),
        (G_SMRAME | D_LCK | D_OPEN, false, true, true),
        (G_SMRAME | D_LCK | D_CLS, false, true, false),
        (G_SMRAME | D_LCK | D_CLS | D_OPEN, false, true, false),
    ];
    for kind in [Kind::I440fx, Kind::Q35] {
        for (bits, outside, code, data) in table {
            let mut bridge = bridge(kind, Implementation::Datasheet);
            bridge.write(Register::Smram, bits.into()).expect("legal bits");
            let sees = |view| bridge.route(COMPATIBLE, view) == Some(COMPATIBLE);
            let seen = [View::Outside, View::Code, View::Data].map(sees);
            assert_eq!(seen, [outside, code, data], "{kind:?} with SMRAM {bits:#x}");
        }
    }
}

#[test]
fn open_and_closed_at_once_is_refused_and_changes_nothing() {
    let mut bridge = bridge(Kind::Q35, Implementation::Datasheet);
    let before = bridge;
    let both = smram::G_SMRAME | smram::D_OPEN | smram::D_CLS;
    let refused = bridge.write(Register::Smram, both.into());
    assert_eq!(refused, Err(ChipsetError::OpenAndClosed));
    assert_eq!(bridge, before);
}

/// One access writes SMRAM and ESMRAMC together: D_LCK locks only what comes after it.
#[test]
fn a_lock_does_not_stop_the_access_that_sets_it() {
    let mut bridge = bridge(Kind::Q35, Implementation::Datasheet);
    assert_eq!(bridge.write_port(0xcf8, 4, 0x8000_009c), Ok(true));
    assert_eq!(bridge.write_port(0xcfc, 4, 0x0001_1a00), Ok(true));
    assert_eq!(bridge.read_port(0xcfc, 4), Some(0x0039_1a00));
    assert_eq!(bridge.route(TOP - 1, View::Outside), None);
    assert_eq!(bridge.route(TOP - 1, View::Data), Some(TOP - 1));
    assert_eq!(bridge.write_port(0xcfc, 4, 0), Ok(true));
    assert_eq!(bridge.read_port(0xcfc, 4), Some(0x0039_1a00));
}

#[test]
fn what_cannot_exist_is_refused() {
    let chipset = |kind, implementation, top_of_memory, esmramc| {
        let registers = vec![(Register::Smram, 0x0a), (Register::Esmramc, esmramc)];
        let chipset = Chipset {
            kind,
            implementation,
            top_of_memory,
            registers,
        };
        HostBridge::new(&chipset, DefectSet::NONE).err()
    };
    use Implementation::{Bochs, Datasheet};
    assert_eq!(
        chipset(Kind::Q35, Bochs, TOP, 0),
        Some(ChipsetError::NoSuchImplementation)
    );
    assert_eq!(
        chipset(Kind::Q35, Datasheet, 0x12345, 0),
        Some(ChipsetError::TopOfMemory(0x12345))
    );
    assert_eq!(
        chipset(Kind::I440fx, Datasheet, TOP, 0),
        Some(ChipsetError::NoSuchRegister("esmramc"))
    );
    let too_large = ChipsetError::SegmentTooLarge {
        size: 8 << 20,
        top: 8 << 20,
    };
    assert_eq!(chipset(Kind::Q35, Datasheet, 8 << 20, 5), Some(too_large));
    assert_eq!(chipset(Kind::Q35, Datasheet, TOP, 5), None);
}

proptest! {
    /// CHIPSET-LOCK-002: what a guest writes after the lock shows no SMRAM outside SMM.
    #[test]
    fn nothing_opens_locked_smram(
        writes in prop::collection::vec((0xcf8_u16..0xd00, prop::sample::select(vec![1_usize, 2, 4]), any::<u32>()), 0..40),
        high in any::<bool>(),
    ) {
        let mut bridge = bridge(Kind::Q35, Implementation::Datasheet);
        let esmramc = if high { 0x81 } else { 0x01 };
        bridge.write(Register::Esmramc, esmramc).expect("T_EN");
        bridge.write(Register::Smram, 0x1a).expect("D_LCK");
        for (port, width, value) in writes {
            // Half of the writes to CF8h select the registers that matter.
            let value = if port == 0xcf8 && value & 1 == 0 { 0x8000_009c } else { value };
            let _ = bridge.write_port(port, width, value.into());
        }
        let window = if high { HIGH } else { COMPATIBLE };
        prop_assert_eq!(bridge.route(window, View::Outside), None);
        prop_assert_eq!(bridge.route(window, View::Code), Some(COMPATIBLE));
        prop_assert_eq!(bridge.route(TOP - 1, View::Outside), None);
        bridge.reset().expect("reset");
        prop_assert_eq!(bridge.route(TOP - 1, View::Outside), Some(TOP - 1));
        prop_assert_eq!(bridge.read(Register::Smram), 2);
    }
}
