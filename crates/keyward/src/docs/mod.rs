//! Pages for readers: what each error code means.

pub mod errors;
