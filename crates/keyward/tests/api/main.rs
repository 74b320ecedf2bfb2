//! The contract, through a real port and a real database. A file a subject.

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod cli;
mod contacts;
mod dashboard;
mod docs;
mod http;
mod limits;
mod operations;
mod requests;
mod serve;
