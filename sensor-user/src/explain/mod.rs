//! What an analyst reads: the list of findings, one of them explained, and the same as a page.
//!
//! `records` is the rim: findings come from the running sensor, from the store where none runs, or from a file that a
//! replay wrote. `view` makes of a finding, what other days know of it and its rule's page one value; `text`, `page` and
//! `--json` are that value in three forms, so they cannot tell different stories.

pub mod alerts;
pub mod records;

#[cfg(test)]
mod tests;
