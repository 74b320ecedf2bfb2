//! What the targets share: an input cut into pieces, and a verifier that knows a few keys.

pub mod pieces;
pub mod world;
