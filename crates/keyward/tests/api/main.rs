//! The contract, through a real port and a real database. A file a subject.

#[path = "../support/receiver.rs"]
mod receiver;
#[path = "../support/smtp.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod smtp;
#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod api_keys;
mod audit;
mod auth;
mod cli;
mod contacts;
mod dashboard;
mod deliveries;
mod docs;
mod http;
mod idempotency;
mod limits;
mod operations;
mod people;
mod requests;
mod serve;
mod users;
mod webhooks;
