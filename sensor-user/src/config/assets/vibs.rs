//! `asset_policy.known_good_vibs`: which VIBs may be on ESXi hosts, and the zones that they are known to ask for.

use std::collections::HashMap;

use crate::config::list::is_domain;
use crate::config::table::{self, Problems};
use crate::escape::escape;

/// One known good VIB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vib {
    pub name: String,
    pub zones: Vec<String>,
}

/// The table that `esxcli --formatter=csv software vib list` prints, with a column `zones` beside it: what else stands
/// there is of no use to a sensor.
pub(in crate::config) fn read(path: &str) -> (Vec<Vib>, Problems) {
    let table = table::read("asset_policy.known_good_vibs", path, &[], &["name"], true);
    let mut problems = table.problems;
    let column = |name: &str| table.columns.iter().position(|column| column == name);
    let Some(name_at) = column("name") else { return (Vec::new(), problems) };
    let zones_at = column("zones");
    let mut vibs = Vec::new();
    let mut seen = HashMap::new();
    for (line, cells) in &table.rows {
        let name = cells[name_at].clone();
        if name.is_empty() || name.chars().nth(200).is_some() {
            problems.push(*line, "a VIB needs its `name`, of at most 200 characters");
        } else if let Some(first) = seen.insert(name.clone(), *line) {
            problems.push(*line, &format!("`{}` stands in line {first} too", escape(&name)));
        }
        let cell = zones_at.map_or("", |at| cells[at].as_str());
        let zones = cell.split(|c: char| c == ';' || c.is_whitespace()).filter(|zone| !zone.is_empty());
        let zones: Vec<_> = zones.map(str::to_owned).collect();
        if let Some(wrong) = zones.iter().find(|zone| !is_domain(zone)) {
            problems.push(*line, &format!("zones: `{}` is not allowed: use domain names", escape(wrong)));
        }
        vibs.push(Vib { name, zones });
    }
    (vibs, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Vec<Vib>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vibs.csv");
        std::fs::write(&path, text).unwrap();
        let (vibs, problems) = read(path.to_str().unwrap());
        let short = format!("{}/", dir.path().display());
        (vibs, problems.into_lines().into_iter().map(|line| line.replace(&short, "")).collect())
    }

    #[test]
    fn an_export_with_zones_beside_it_is_read() {
        let text = "AcceptanceLevel,CreationDate,ID,InstallDate,Name,Status,Vendor,Version,Zones,\n\
                    VMwareCertified,2023-01-01,VMW_bootbank_esx-base_8.0.1,2024-01-01,esx-base,,VMware,8.0.1,vmware.com;a.test,\n\
                    PartnerSupported,2023-01-01,X,2024-01-01,qfle3f,,QLC,1.0,,\n";
        let (vibs, problems) = read_text(text);
        assert_eq!(problems, [""; 0]);
        assert_eq!(vibs.len(), 2);
        assert_eq!(
            (vibs[0].name.as_str(), &vibs[0].zones[..]),
            ("esx-base", &["vmware.com".to_owned(), "a.test".to_owned()][..])
        );
        assert!(vibs[1].zones.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        for (text, says) in [
            ("vendor,zones\nx,y.test\n", "vibs.csv:1: there is no column `name`"),
            (
                "name,zones\na,b\u{fc}.test\n",
                "vibs.csv:2: zones: `b\u{fc}.test` is not allowed: use domain names",
            ),
            ("name\na\na\n", "vibs.csv:3: `a` stands in line 2 too"),
            ("name,zones\n,a.test\n", "vibs.csv:2: a VIB needs its `name`"),
        ] {
            let (_, problems) = read_text(text);
            assert!(problems.len() == 1 && problems[0].starts_with(says), "{problems:?}");
        }
    }
}
