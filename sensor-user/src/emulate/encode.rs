//! Bytes as characters of host names.

/// RFC 4648 section 6, in lower case as tunnels write it.
pub const BASE32: &str = "abcdefghijklmnopqrstuvwxyz234567";
/// RFC 4648 section 5.
pub const BASE64URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Letters and digits that cannot be mistaken for each other (draft-msporny-base58).
pub const BASE58: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
pub const BASE36: &str = "0123456789abcdefghijklmnopqrstuvwxyz";
pub const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

pub fn hex(bytes: &[u8]) -> String {
    bits("0123456789abcdef", bytes)
}

/// Without padding.
pub fn base32(bytes: &[u8]) -> String {
    bits(BASE32, bytes)
}

/// Without padding.
pub fn base64url(bytes: &[u8]) -> String {
    bits(BASE64URL, bytes)
}

/// A number of a whole power of two for each character, first bits first; the last one is filled with zeros.
pub fn bits(alphabet: &str, bytes: &[u8]) -> String {
    let alphabet = alphabet.as_bytes();
    let width = alphabet.len().ilog2();
    let mut out = String::new();
    let (mut held, mut count) = (0_u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        count += 8;
        while count >= width {
            count -= width;
            out.push(char::from(alphabet[(held >> count) as usize & (alphabet.len() - 1)]));
        }
        held &= (1 << count) - 1;
    }
    if count > 0 {
        out.push(char::from(alphabet[(held << (width - count)) as usize & (alphabet.len() - 1)]));
    }
    out
}

/// The bytes as one number, written with as many digits as the alphabet has characters.
pub fn number(alphabet: &str, bytes: &[u8]) -> String {
    let alphabet = alphabet.as_bytes();
    let base = alphabet.len() as u32;
    let mut digits: Vec<u32> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % base;
            carry /= base;
        }
        while carry > 0 {
            digits.push(carry % base);
            carry /= base;
        }
    }
    digits.iter().rev().map(|digit| char::from(alphabet[*digit as usize])).collect()
}

/// Cut into labels of at most so many characters.
pub fn labels(text: &str, longest: usize) -> String {
    let labels: Vec<_> =
        text.as_bytes().chunks(longest).map(|label| String::from_utf8_lossy(label).into_owned()).collect();
    labels.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 section 10 and the draft's own examples.
    #[test]
    fn published_vectors() {
        assert_eq!(hex(b"foobar"), "666f6f626172");
        let encoded = [b"f".as_slice(), b"fo", b"foo", b"foob", b"fooba", b"foobar"].map(base32);
        assert_eq!(encoded, ["my", "mzxq", "mzxw6", "mzxw6yq", "mzxw6ytb", "mzxw6ytboi"]);
        assert_eq!(base64url(b"foob"), "Zm9vYg");
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        assert_eq!(number(BASE58, b"Hello World!"), "2NEpo7TZRRrLZSi2U");
        assert_eq!(number(BASE36, &[1, 0, 0]), "1ekg");
        assert_eq!(labels("abcdefg", 3), "abc.def.g");
    }
}
