//! Labels that are hardly different from each other: spellings of one name, as who watches over a brand asks for.

/// Longest label that is compared.
const MAX: usize = 63;

/// Whether one label is another but for a letter or two, by how long they are: added, left out, or others.
pub(super) fn is_near(a: &[u8], b: &[u8]) -> bool {
    let longest = a.len().max(b.len());
    let most: u8 = match longest {
        0..5 => 0,
        5..8 => 1,
        _ => 2,
    };
    if longest > MAX || a.len().abs_diff(b.len()) > usize::from(most) {
        return false;
    }
    // Rows of the distance (Levenshtein 1966); a row that is over the limit everywhere stays so.
    let mut row = [0_u8; MAX + 1];
    for (index, cell) in row.iter_mut().enumerate() {
        *cell = index as u8;
    }
    for (index, from) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = index as u8 + 1;
        let mut least = row[0];
        for (place, to) in b.iter().enumerate() {
            let changed = corner + u8::from(from != to);
            corner = row[place + 1];
            row[place + 1] = changed.min(corner + 1).min(row[place] + 1);
            least = least.min(row[place + 1]);
        }
        if least > most {
            return false;
        }
    }
    row[b.len()] <= most
}

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn spellings_are_near_and_words_are_not() {
        for (a, b, near) in [
            ("silverbridge", "silverbrudge", true),
            ("silverbridge", "silvebridgee", true),
            ("silverbridge", "silverbridge", true),
            ("silverbridge", "silvergarden", false),
            ("silverbridge", "silverbridges2x", false),
            ("abcde", "abxde", true),
            ("abcde", "axxde", false),
            ("abc", "abd", false),
            ("qzkwvnxb", "tmfhrpjd", false),
        ] {
            assert_eq!(is_near(a.as_bytes(), b.as_bytes()), near, "{a} {b}");
            assert_eq!(is_near(b.as_bytes(), a.as_bytes()), near, "{b} {a}");
        }
        assert!(is_near(&[b'a'; 63], &[b'a'; 63]) && !is_near(&[b'a'; 64], &[b'a'; 64]));
    }
}
