//! earthdog's kernel side as a library: the packet parser and the ABI, compiled for BPF and for the host.
//!
//! `no_std`, no allocation, no dependency on aya: the same functions run in the kernel over packet memory and in user
//! space over a captured frame, and tests compare the two.

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))] // `describe::hidden`
#![allow(clippy::inline_always)] // a BPF call takes five scalar arguments at most and starts the verifier anew

pub mod frame;

pub mod plain;

pub mod question;

pub mod describe;

pub mod novelty;

pub mod record;

pub mod abi;

pub mod limits;
