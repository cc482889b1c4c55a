//! The BPF object inside this binary.

/// ELF as bpf-linker wrote it; empty where the binary was built without a BPF toolchain (`AYA_BUILD_SKIP=1`).
pub static BYTES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/earthdog-ebpf.o"));

/// Whether this binary has no kernel side: it can replay but not run.
pub fn is_stub() -> bool {
    BYTES.is_empty()
}
