//! What the operator sees: log lines, and figures for `/metrics`.

pub mod exposition;
pub mod log;
pub mod meter;
pub mod records;
pub mod spans;
