//! Pages for readers: how to begin, the reference, and what each error code means.

pub mod errors;
pub mod guide;
pub mod reference;
