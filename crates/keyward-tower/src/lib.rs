//! The API-key door for any [tower](https://docs.rs/tower-service) service.
//!
//! [`AuthLayer`] gives each request an identifier and a time, verifies its key, spends from its
//! account's window, refuses in the contract's words or passes the request on with a [`Passage`],
//! and dresses every answer in the headers of the guide. What the inner service fails with is an
//! [`ApiError`], and this crate alone writes those out.
//!
//! It does no I/O and needs no runtime; time and random bytes come from [`Surroundings`].

mod answer;
pub mod client_addr;
pub mod code;
pub mod envelope;
pub mod error;
pub mod headers;
mod json;
pub mod layer;
pub mod request_id;
pub mod trace;

pub use code::Code;
pub use error::ApiError;
pub use layer::{
    Access, Answered, Auth, AuthLayer, Door, Inner, Observer, Passage, Peer, Routes, Surroundings,
};
pub use request_id::RequestId;
pub use trace::{TraceId, TraceParent};
