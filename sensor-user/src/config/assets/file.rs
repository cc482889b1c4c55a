//! `inventory.file`: assets as rows, with the keys of `[[asset]]` as columns.

use std::collections::HashMap;
use std::fmt::Write as _;

use toml::de::DeTable;

use super::{Asset, KEYS};
use crate::config::entries::{self, Entry as _};
use crate::config::table::{self, Problems};
use crate::config::value::Allowed;
use crate::escape::escape;

/// What stands in a file.
#[derive(Debug)]
pub(in crate::config) struct Rows {
    pub(in crate::config) assets: Vec<Asset>,
    /// Of each.
    pub(in crate::config) lines: Vec<u64>,
    pub(in crate::config) problems: Problems,
}

pub(in crate::config) fn read(path: &str) -> Rows {
    let columns: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    let table = table::read("inventory.file", path, &columns, Asset::NEEDED, false);
    let mut rows = Rows { assets: Vec::new(), lines: Vec::new(), problems: table.problems };
    let mut seen = HashMap::new();
    for (line, cells) in table.rows {
        let asset = match row(&table.columns, &cells) {
            Ok(asset) => asset,
            Err(problems) => {
                for what in &problems {
                    rows.problems.push(line, what);
                }
                continue;
            }
        };
        if let Some(first) = seen.insert(asset.name.clone(), line) {
            let name = escape(&asset.name).into_owned();
            let what = format!("`{name}` stands in line {first} too: one row has all addresses of an asset");
            rows.problems.push(line, &what);
            continue;
        }
        rows.assets.push(asset);
        rows.lines.push(line);
    }
    rows
}

/// A row says what `[[asset]]` with the same keys says, and is refused in the same words.
fn row(columns: &[String], cells: &[String]) -> Result<Asset, Vec<String>> {
    let mut text = String::new();
    for (column, cell) in columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let value = match KEYS.iter().find(|key| key.name == column).map(|key| key.allowed) {
            Some(Allowed::List(_)) => {
                let parts = cell.split(|c: char| c == ';' || c.is_whitespace());
                let parts: Vec<_> = parts.filter(|part| !part.is_empty()).map(quoted).collect();
                format!("[{}]", parts.join(", "))
            }
            Some(Allowed::Integer { .. }) if cell.bytes().all(|byte| byte.is_ascii_digit()) => {
                let digits = cell.trim_start_matches('0');
                if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
            }
            _ => quoted(cell),
        };
        let _ = writeln!(text, "{column} = {value}");
    }
    let mut problems = Vec::new();
    let asset = match DeTable::parse(&text) {
        Ok(table) => entries::one::<Asset>(table.get_ref(), 0, &text, &mut problems),
        Err(error) => return Err(vec![escape(error.message().as_bytes()).into_owned()]),
    };
    if problems.is_empty() {
        return asset.check().map(|()| asset).map_err(|what| vec![what]);
    }
    Err(problems.into_iter().map(|(_, what)| what).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::assets::{Authentication, Platform};

    fn read_text(text: &[u8]) -> Result<Vec<Asset>, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, text).unwrap();
        let rows = read(path.to_str().unwrap());
        if rows.problems.is_empty() {
            assert_eq!(rows.assets.len(), rows.lines.len());
            return Ok(rows.assets);
        }
        let short = format!("{}/", dir.path().display());
        Err(rows.problems.into_lines().into_iter().map(|line| line.replace(&short, "")).collect())
    }

    #[test]
    fn a_row_is_an_asset() {
        let text = "\u{feff}Name,addresses,mac,Platform,role,authentication,resolvers,zones,outbound_dns_volume_bytes\r\n\
                    esx-07,192.0.2.7; 2001:db8::7,00:50:56:00:00:07,esxi,management,authenticated,192.0.2.53,\"corp.example a.test\",0050\r\n\
                    \r\n,,,,,,,,\r\n\"printer, 2nd floor\",192.0.2.0/28,,,,,,,\r\n";
        let assets = read_text(text.as_bytes()).unwrap();
        assert_eq!(assets.len(), 2);
        let esx = &assets[0];
        assert_eq!(
            (esx.name.as_str(), esx.platform, esx.role.as_str()),
            ("esx-07", Platform::Esxi, "management")
        );
        assert_eq!(esx.authentication, Authentication::Authenticated);
        assert_eq!(esx.addresses, ["192.0.2.7", "2001:db8::7"]);
        assert_eq!(
            (&esx.mac[..], &esx.zones[..]),
            (&["00:50:56:00:00:07".to_owned()][..], &["corp.example".to_owned(), "a.test".to_owned()][..])
        );
        assert_eq!(esx.outbound_dns_volume_bytes, Some(50));
        assert_eq!((assets[1].name.as_str(), assets[1].platform), ("printer, 2nd floor", Platform::Unknown));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        for (text, says) in [
            (
                &b"name,addresses\na,10.0.0.0/33\n"[..],
                "a.csv:2: asset.addresses = [\"10.0.0.0/33\"] is not allowed: use a list of",
            ),
            (b"name,addresses\na,10.0.0.1\n\"x\ny\",10.0.0.2\nb,10.0.0.999\n", "a.csv:5: asset.addresses = "),
            (
                b"name,addresses,platform\na,10.0.0.1,vax\n",
                "a.csv:2: asset.platform = \"vax\" is not allowed: use one of",
            ),
            (b"name,addresses\n,10.0.0.1\n", "a.csv:2: an asset needs its `name`"),
            (b"name,addresses\na,\n", "a.csv:2: asset `a` has neither `addresses` nor `mac`"),
            (b"name,addresses\na,10.0.0.1\na,10.0.0.2\n", "a.csv:3: `a` stands in line 2 too"),
            (b"name,addresses\na,10.0.0.1,x\n", "a.csv:2: 3 cells, but the header has 2"),
            (b"name,addresses\na\xff,10.0.0.1\n", "a.csv:2: not UTF-8"),
            (b"name,adresses\n", "a.csv:1: unknown column `adresses` (allowed: name, addresses, "),
            (b"name,name\n", "a.csv:1: two columns are called `name`"),
            (b"addresses\n", "a.csv:1: there is no column `name`"),
            (b"", "a.csv: has no header"),
            (
                b"name,outbound_dns_volume_bytes\na,-3\n",
                "a.csv:2: asset.outbound_dns_volume_bytes = \"-3\" is not allowed",
            ),
            (b"name,a\x1b[2Jb\n", "a.csv:1: unknown column `a\\x1b[2jb`"),
        ] {
            let problems = read_text(text).unwrap_err();
            assert!(problems[0].starts_with(says), "{:?}: {problems:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn what_is_too_much_or_no_file_is_refused() {
        let many = |rows: usize| {
            (0..rows).fold("name,addresses\n".to_owned(), |mut text, row| {
                let [_, a, b, c] = (row as u32).to_be_bytes();
                let _ = writeln!(text, "a{row},10.{a}.{b}.{c}");
                text
            })
        };
        assert_eq!(read_text(many(table::MAX_ROWS).as_bytes()).unwrap().len(), table::MAX_ROWS);
        let problems = read_text(many(table::MAX_ROWS + 1).as_bytes()).unwrap_err();
        assert_eq!(problems, ["a.csv:65538: more than 65536 rows"]);
        let wrong = "name,addresses\n".to_owned() + &"x,y\n".repeat(50);
        let problems = read_text(wrong.as_bytes()).unwrap_err();
        assert_eq!((problems.len(), problems[20].as_str()), (21, "a.csv: 30 more problems"));
        let huge = vec![b'a'; (16 << 20) + 1];
        assert!(read_text(&huge).unwrap_err()[0].ends_with("more than 16 MiB"));
        let empty = tempfile::tempdir().unwrap();
        let gone = empty.path().join("gone");
        for (path, says) in [(gone.to_str().unwrap(), "No such file"), ("/dev/zero", "not a regular file")] {
            let problems = read(path).problems.into_lines();
            assert!(problems[0].starts_with(&format!("inventory.file = \"{path}\": {says}")), "{problems:?}");
        }
    }
}
