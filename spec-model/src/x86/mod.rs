//! The x86 processor, one module per chapter of the manuals.

pub mod field;
pub mod save_area;
pub mod segment;
pub mod state;
