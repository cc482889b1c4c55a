//! What may be said of a process: text for findings and the message log, within the privacy settings.

use super::clients::text;
use super::{Cmdline, Image, Settings, mask};

/// An image in words. Strings are attacker-chosen; sinks escape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub exe: Option<String>,
    pub cmdline: Option<String>,
    /// What `interpreter` runs, as it was given.
    pub script: Option<String>,
    pub interpreter: Option<String>,
    pub stdio_socket: Option<bool>,
}

/// Says what a process runs.
pub fn describe(image: &Image, settings: &Settings) -> Description {
    let exe = image.exe.as_deref().map(text);
    let argv = image.cmdline.as_deref();
    // A script's path is part of the command line.
    let script = image.script.as_deref().filter(|_| settings.cmdline != Cmdline::Off).map(text);
    Description {
        cmdline: argv.and_then(|argv| mask::cmdline(argv, settings.cmdline, settings.cmdline_max)),
        interpreter: script.as_ref().and(exe.clone()),
        exe,
        script,
        stdio_socket: image.stdio.map(|bits| bits != 0),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_script_is_told_with_its_interpreter_unless_command_lines_are_off() {
        let image = Image {
            exe: Some(Bytes::from_static(b"/usr/bin/python3.11")),
            cmdline: Some(Bytes::from_static(b"python3\0/opt/tool.py\0--password=x\0")),
            script: Some(Bytes::from_static(b"/opt/tool.py")),
            stdio: Some(1),
        };
        let with = |cmdline| describe(&image, &Settings { cmdline, ..Settings::default() });
        let told = with(Cmdline::Masked);
        assert_eq!(told.cmdline.as_deref(), Some("python3 /opt/tool.py --password=***"));
        assert_eq!(told.script.as_deref(), Some("/opt/tool.py"));
        assert_eq!(told.interpreter, told.exe);
        assert_eq!(told.stdio_socket, Some(true));
        let off = with(Cmdline::Off);
        assert_eq!((off.exe, off.cmdline, off.script, off.interpreter), (told.exe, None, None, None));
        assert_eq!(describe(&Image::default(), &Settings::default()), Description::default());
    }
}
