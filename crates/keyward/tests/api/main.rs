//! The contract, through a real port and a real database. A file a subject.

#[path = "../support/crash/mod.rs"]
mod crash;
#[path = "../support/faults.rs"]
mod faults;
#[path = "../support/hostile.rs"]
mod hostile;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/receiver.rs"]
mod receiver;
#[path = "../support/search.rs"]
mod search;
#[path = "../support/smtp.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod smtp;
#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod alerts;
mod api_keys;
mod audit;
mod auth;
mod backup;
mod broken_off;
mod cli;
mod confirmations;
mod contacts;
mod dashboard;
mod deliveries;
mod disk;
mod docs;
mod doctor;
mod http;
mod idempotency;
mod kills;
mod limits;
mod metrics;
mod operations;
mod ops;
mod people;
mod requests;
mod secrets;
mod serve;
mod sessions;
mod starts;
mod strangers;
mod time;
mod tls;
mod traces;
mod twice;
mod upgrade;
mod users;
mod webhooks;
mod who;
