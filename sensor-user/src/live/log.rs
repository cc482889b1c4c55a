//! What the kernel programs have to say themselves, on rare paths only, into tracing.

use aya::Ebpf;
use aya_log::EbpfLogger;

use crate::escape::escape;

/// The programs' log ring, emptied with the others. Held for as long as the programs are.
pub struct KernelLog(EbpfLogger<ToTracing>);

impl std::fmt::Debug for KernelLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KernelLog")
    }
}

impl KernelLog {
    /// Takes the log map out of the object.
    pub fn take(bpf: &mut Ebpf) -> Result<Self, aya_log::Error> {
        EbpfLogger::init_with_logger(bpf, ToTracing).map(Self)
    }

    /// Passes on what has come.
    pub fn drain(&mut self) {
        self.0.flush();
    }
}

/// tracing's lines on stderr. A second call changes nothing.
pub fn to_stderr() {
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).try_init();
}

/// aya-log speaks the log crate's language.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let text = escape(&text);
        match record.level() {
            log::Level::Error => tracing::error!(target: "kernel", "{text}"),
            log::Level::Warn => tracing::warn!(target: "kernel", "{text}"),
            _ => tracing::info!(target: "kernel", "{text}"),
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use log::Log as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_kernel_message_becomes_one_escaped_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, || {
            let record = log::Record::builder()
                .args(format_args!("exec of 7 lost\n\x1b[2J"))
                .level(log::Level::Warn)
                .build();
            ToTracing.log(&record);
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.contains("WARN kernel: exec of 7 lost"), "{text:?}");
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}
