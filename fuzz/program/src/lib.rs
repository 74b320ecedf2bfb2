//! What the targets share: a whole server.

pub mod served;
