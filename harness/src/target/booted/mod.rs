//! Kernels booted under an emulator.
/// x
pub fn agent_main() -> ! { loop {} }
