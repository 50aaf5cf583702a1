//! Register names.

use std::collections::HashMap;
use std::sync::LazyLock;

use iced_x86::Register;

/// The register of that name in any case: general, segment, control (0, 2, 3, 4, 8) and
/// debug registers (0 to 7), `rip` and `eip`.
pub(super) fn named(name: &str) -> Option<Register> {
    static NAMES: LazyLock<HashMap<String, Register>> = LazyLock::new(|| {
        let known = Register::values().filter(|&register| is_known(register));
        let mut names: HashMap<String, Register> =
            known.map(|register| (name_of(register), register)).collect();
        // iced-x86 calls the low bytes of r8 to r15 r8l to r15l, as Intel's manual does.
        let low = Register::values().filter(|&register| {
            (Register::R8L as usize..=Register::R15L as usize).contains(&(register as usize))
        });
        names.extend(low.map(|register| (name_of(register).replace('l', "b"), register)));
        names
    });
    NAMES.get(&name.to_ascii_lowercase()).copied()
}

/// The name as it is written in assembly text.
pub(super) fn name_of(register: Register) -> String {
    format!("{register:?}").to_ascii_lowercase()
}

fn is_known(register: Register) -> bool {
    use Register::{CR0, CR2, CR3, CR4, CR8, DR0, DR1, DR2, DR3, DR4, DR5, DR6, DR7};
    register.is_gpr()
        || register.is_segment_register()
        || register.is_ip()
        || [CR0, CR2, CR3, CR4, CR8].contains(&register)
        || [DR0, DR1, DR2, DR3, DR4, DR5, DR6, DR7].contains(&register)
}

/// Whether the register exists in 64-bit code only.
pub(super) fn needs_64_bits(register: Register) -> bool {
    let number = register as usize;
    let within = |low: Register, high: Register| (low as usize..=high as usize).contains(&number);
    register.is_gpr64()
        || register.is_ip()
        || register == Register::CR8
        || within(Register::SPL, Register::R15L)
        || within(Register::R8W, Register::R15W)
        || within(Register::R8D, Register::R15D)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cover_the_closed_set() {
        assert_eq!(named("EAX"), Some(Register::EAX));
        assert_eq!(named("r9b"), Some(Register::R9L));
        assert_eq!(named("r9l"), Some(Register::R9L));
        assert_eq!(named("cr1"), None);
        assert_eq!(named("xmm0"), None);
        assert_eq!(named("dr7"), Some(Register::DR7));
        assert!(needs_64_bits(Register::SIL) && needs_64_bits(Register::R15D));
        assert!(!needs_64_bits(Register::BH) && !needs_64_bits(Register::EDI));
    }
}
