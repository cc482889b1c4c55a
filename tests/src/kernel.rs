//! What this machine allows: tests skip aloud where something is refused, and fail under `SENSOR_REQUIRE_KERNEL=1`.

use aya::programs::ProgramType;

/// Unwraps an `Ok`; on an `Err` says "skipped: reason" and returns from the test, or fails it where
/// `SENSOR_REQUIRE_KERNEL=1`.
#[macro_export]
macro_rules! require {
    ($check:expr) => {
        match $check {
            Ok(value) => value,
            Err(reason) => {
                $crate::kernel::skip(&reason);
                return;
            }
        }
    };
}

/// Says why the test does not run; fails where everything has to run.
pub fn skip(reason: &dyn std::fmt::Display) {
    assert!(!required(), "SENSOR_REQUIRE_KERNEL=1, but: {reason}");
    eprintln!("skipped: {reason}");
}

/// Whether skipping is a failure.
pub fn required() -> bool {
    std::env::var_os("SENSOR_REQUIRE_KERNEL").is_some_and(|value| value == "1")
}

/// Whether bpf() loads a program for us.
pub fn bpf() -> Result<(), String> {
    match aya::sys::is_program_supported(ProgramType::Xdp) {
        Ok(true) => Ok(()),
        Ok(false) => Err("this kernel has no XDP".to_owned()),
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Err(format!("bpf() is refused: {error}{cause}"))
        }
    }
}
