//! earthdog: a packet enters at the top of this list and an alert leaves at the bottom.
//!
//! Effects are at the rim (`source`, `live`, `sink`, `store`'s file, `clock`); everything between is a function of (record, state, now).

pub mod cli;

pub mod config;

pub mod exit;

pub mod progress;

pub mod source;

pub mod emulate;

pub mod replay;

pub mod clock;

pub mod live;

pub mod event;

pub mod pipeline;

pub mod reassemble;

pub mod dns;

pub mod zone;

pub mod attribute;
pub mod inventory;

pub mod fold;

pub mod model;

pub mod index;

pub mod ledger;

pub mod detect;

pub mod rules;

pub mod verdict;

pub mod exception;
pub mod limits;

pub mod attack;

pub mod report;

pub mod finding;

pub mod logged;

pub mod escape;

pub mod sink;

pub mod store;

pub mod explain;

pub mod top;

pub mod selftest;

pub mod coverage;

pub mod diagnose;
