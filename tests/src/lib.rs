//! Test kit: packets byte for byte, hosts of their own, peers and the sensor under test.
//!
//! Everything a guard here makes (namespace, link, cgroup, process) goes away with it; nothing touches the machine's
//! own interfaces or its cgroup root. Tests that attach programs or push traffic begin with
//!
//! ```no_run
//! use earthdog_tests::{host, peer, require, serial};
//!
//! let _alone = serial::lock();
//! let (client, server) = require!(host::pair());
//! let iodine = require!(peer::find("iodine"));
//! ```

pub use earthdog::emulate::{self, hazard, message};

pub mod packet;

pub mod capture;

pub mod derive;

pub mod corpus;
pub mod fuzz;

pub mod deadline;
pub mod kernel;
pub mod object;
pub mod serial;
pub mod shape;
pub mod verified;

pub mod outputs;

pub mod collector;
pub mod sinks;

pub mod attached;
pub mod drop_all;
pub mod generator;
pub mod host;
pub mod iodine;
pub mod machine;
pub mod peer;
pub mod process;
pub mod quartiles;
pub mod replayed;
pub mod rows;
pub mod sensor;
pub mod size;
pub mod traffic;
pub mod words;

pub mod truth;
