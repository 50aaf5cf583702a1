//! The x86 processor, one module per chapter of the manuals.

pub mod control;
pub mod debug;
pub mod decode;
pub mod decode_cache;
pub mod delivery;
mod double_fault;
pub mod exception;
pub mod execute;
pub mod field;
pub mod init;
mod injection;
pub mod instruction_set;
pub mod local_apic;
pub mod machine;
pub mod machine_check;
pub mod memory;
pub mod page;
pub mod paging;
pub mod processor;
pub mod save_area;
pub mod segment;
pub mod segmentation;
pub mod smm;
pub mod state;
pub mod step;
mod vendor_decoding;
pub mod xen_pv;
