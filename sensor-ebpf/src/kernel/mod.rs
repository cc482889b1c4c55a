//! Kernel glue: maps, packet access, and what a hook does with a packet.
#![allow(unsafe_code)] // maps, helpers and packet memory; each block names its condition
#![allow(clippy::inline_always)] // see the library

pub(crate) mod observe;

pub(crate) mod access;
pub(crate) mod exec;
pub(crate) mod flow;
pub(crate) mod loopback;
pub(crate) mod maps;
pub(crate) mod novelty;
pub(crate) mod owner;
pub(crate) mod path;
pub(crate) mod process;
pub(crate) mod send;
