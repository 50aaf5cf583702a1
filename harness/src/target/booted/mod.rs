//! Kernels booted under an emulator.
