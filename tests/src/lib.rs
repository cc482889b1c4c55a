//! Test kit: packets byte for byte, namespaces, peers and the sensor under test.
//!
//! Everything a guard here makes (namespace, link, cgroup, process) it removes again when dropped; nothing touches
//! the machine's own interfaces or its cgroup root.

pub mod message;
pub mod packet;
