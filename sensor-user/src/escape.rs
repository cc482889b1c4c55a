//! The one way attacker-chosen bytes (names, paths, command lines) reach a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Makes bytes safe to print: whatever could move the cursor, recolour, reorder or hide text becomes visible.
///
/// Control characters become `\xHH`, bytes that are not UTF-8 too; bidirectional and invisible formatting characters
/// and line separators become `\u{HHHH}`. A backslash stays, since names come in RFC 1035 presentation form (`\000`).
pub fn escape<B: AsRef<[u8]> + ?Sized>(bytes: &B) -> Cow<'_, str> {
    let bytes = bytes.as_ref();
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(hides)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut out, c);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    Cow::Owned(out)
}

fn push(out: &mut String, c: char) {
    if !hides(c) {
        out.push(c);
    } else if (c as u32) < 0x100 {
        let _ = write!(out, "\\x{:02x}", c as u32);
    } else {
        let _ = write!(out, "\\u{{{:04x}}}", c as u32);
    }
}

/// Control characters, and the format characters that reorder or hide text (Unicode TR 36, section 2.6).
pub(crate) fn hides(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(escape("naïve.example.com"), Cow::Borrowed("naïve.example.com")));
        assert_eq!(escape("a\\000b"), "a\\000b");
    }

    #[test]
    fn what_moves_hides_or_reorders_is_shown() {
        let rows: [(&[u8], &str); 7] = [
            (b"\x1b[2Jgone", "\\x1b[2Jgone"),
            (b"a\r\nb\tc\0", "a\\x0d\\x0ab\\x09c\\x00"),
            (b"\x9b31m", "\\x9b31m"),
            ("\u{9b}31m".as_bytes(), "\\x9b31m"),
            ("abc\u{202e}txt.exe".as_bytes(), "abc\\u{202e}txt.exe"),
            ("a\u{200b}b\u{feff}".as_bytes(), "a\\u{200b}b\\u{feff}"),
            (b"\xff\xc3", "\\xff\\xc3"),
        ];
        for (bytes, want) in rows {
            assert_eq!(escape(bytes), want);
        }
    }
}
