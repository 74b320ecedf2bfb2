//! What the operator sees: log lines.

pub mod log;
pub mod records;
