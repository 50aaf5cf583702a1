//! Case files about stage-2 mappings: they have `steps` instead of `machine` and `code`.

mod arm64;
mod keys;
mod print;
mod read;
mod syntax;

pub(super) use print::print;
pub(super) use read::read;
pub(super) use syntax::Stage2File;
