//! `cargo xtask model [DIR]`: builds the sensor's static character model from public-domain name lists.
//!
//! The result is the same byte for byte on every machine: only IEEE additions, products, quotients and square roots are
//! used, and lists are read in a fixed order.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use flate2::read::GzDecoder;

use crate::data;

/// Lists under CC0 (MISP warning lists), and how much one name of each counts. Host names weigh more than registered
/// domains: what is coded later are sub-names.
const LISTS: [(&str, u32); 4] = [
    ("misp_cisco_top20k.txt.gz", 4),
    ("misp_cloudflare-top20k.txt.gz", 1),
    ("misp_tranco10k.txt.gz", 1),
    ("misp_dynamic-dns.txt.gz", 1),
];

/// Label boundary, letters, digits, hyphen, underscore, anything else; the sensor's `model.rs` has the same.
const SYMBOLS: usize = 40;
/// Costs are in sixteenths of a bit.
const UNIT: i32 = 16;
const HEAD: [u8; 8] = [b'E', b'D', b'M', 1, SYMBOLS as u8, UNIT as u8, 0, 0];

/// Where the model lies in the tree.
pub(crate) const PATH: &str = "sensor-user/src/model/static.bin";

/// Builds the model from the lists in `dir` and writes it into the tree at `root`.
pub(crate) fn run(root: &Path, dir: Option<&Path>) -> Result<()> {
    let dir = dir.map_or_else(|| default_dir(root), Path::to_path_buf);
    let model = build(&dir)?;
    let path = root.join(PATH);
    fs::write(&path, &model).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("{}: {} bytes from {}", path.display(), model.len(), dir.display());
    Ok(())
}

/// The lists' folder: `$EARTHDOG_DATA/names`, else `../shared/data/names` beside the workspace.
pub(crate) fn default_dir(root: &Path) -> PathBuf {
    data::named().unwrap_or_else(|| data::beside(root)).join("names")
}

fn build(dir: &Path) -> Result<Vec<u8>> {
    let mut counts = Counts::default();
    for (list, weight) in LISTS {
        let path = dir.join(list);
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let before = counts.labels;
        for line in BufReader::new(GzDecoder::new(file)).lines() {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            counts.name(line.trim().trim_matches('.'), weight);
        }
        if counts.labels == before {
            bail!("{} holds no names", path.display());
        }
    }
    Ok(counts.table())
}

#[derive(Default)]
struct Counts {
    zero: Vec<u32>,
    one: Vec<u32>,
    two: Vec<u32>,
    labels: u64,
}

impl Counts {
    /// Counts all labels but the top-level one. Reversed addresses are left out: the ledger bounds them by form.
    fn name(&mut self, name: &str, weight: u32) {
        if name.rsplit('.').next() == Some("arpa") || !name.is_ascii() {
            return;
        }
        self.zero.resize(SYMBOLS, 0);
        self.one.resize(SYMBOLS * SYMBOLS, 0);
        self.two.resize(SYMBOLS * SYMBOLS * SYMBOLS, 0);
        let Some((rest, _top)) = name.rsplit_once('.') else { return };
        for label in rest.split('.').filter(|label| !label.is_empty()) {
            self.labels += 1;
            let mut context = [0, 0];
            for symbol in label.bytes().map(|b| symbol(b.to_ascii_lowercase())).chain([0]) {
                self.zero[symbol] += weight;
                self.one[context[1] * SYMBOLS + symbol] += weight;
                self.two[(context[0] * SYMBOLS + context[1]) * SYMBOLS + symbol] += weight;
                context = [context[1], symbol];
            }
        }
    }

    /// Each context's estimate, mixed with that of the next shorter one in proportion to how many different symbols
    /// have followed it (Witten and Bell 1991, method C), down to a uniform one.
    fn table(&self) -> Vec<u8> {
        let steps = steps();
        let mut out = HEAD.to_vec();
        let uniform = vec![1.0 / SYMBOLS as f64; SYMBOLS];
        let zero = mix(&self.zero, &uniform);
        for a in 0..SYMBOLS {
            for b in 0..SYMBOLS {
                let one = mix(&self.one[b * SYMBOLS..][..SYMBOLS], &zero);
                let two = mix(&self.two[(a * SYMBOLS + b) * SYMBOLS..][..SYMBOLS], &one);
                out.extend(two.iter().map(|p| cost(*p, &steps)));
            }
        }
        out
    }
}

fn mix(counts: &[u32], shorter: &[f64]) -> Vec<f64> {
    let total: u32 = counts.iter().sum();
    let kinds = counts.iter().filter(|n| **n > 0).count() as f64;
    let share = if total == 0 { 1.0 } else { kinds / (kinds + f64::from(total)) };
    counts
        .iter()
        .zip(shorter)
        .map(|(n, s)| {
            let own = if total == 0 { 0.0 } else { f64::from(*n) / f64::from(total) };
            (1.0 - share) * own + share * s
        })
        .collect()
}

/// 2 to the power of -i/16, by square roots and products: both are exact to the last bit everywhere.
fn steps() -> Vec<f64> {
    let step = 0.5_f64.sqrt().sqrt().sqrt().sqrt();
    let mut steps = vec![1.0];
    for i in 1..256_usize {
        let whole = if i % 16 == 0 { steps[i - 16] * 0.5 } else { steps[i - 1] * step };
        steps.push(whole);
    }
    steps
}

/// Smallest cost whose probability does not exceed `p`, so that a row's probabilities never sum to more than one.
fn cost(p: f64, steps: &[f64]) -> u8 {
    steps.iter().position(|step| *step <= p).unwrap_or(255) as u8
}

fn symbol(byte: u8) -> usize {
    usize::from(match byte {
        b'a'..=b'z' => byte - b'a' + 1,
        b'0'..=b'9' => byte - b'0' + 27,
        b'-' => 37,
        b'_' => 38,
        _ => 39,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_model_is_what_the_lists_give() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let dir = default_dir(root);
        if !dir.is_dir() {
            assert!(data::named().is_none(), "EARTHDOG_DATA is set, but there is no {}", dir.display());
            eprintln!("skipped: no name lists at {} (set EARTHDOG_DATA)", dir.display());
            return;
        }
        let committed = fs::read(root.join(PATH)).unwrap();
        assert!(build(&dir).unwrap() == committed, "run `cargo xtask model`");
    }

    #[test]
    fn rows_are_probabilities() {
        let mut counts = Counts::default();
        counts.name("www.example.com", 4);
        counts.name("mail.example.com", 4);
        let table = counts.table();
        assert_eq!(table.len(), 8 + SYMBOLS * SYMBOLS * SYMBOLS);
        let steps = steps();
        for row in table[8..].chunks(SYMBOLS) {
            let sum: f64 = row.iter().map(|c| steps[usize::from(*c)]).sum();
            assert!(sum <= 1.0 + 1e-3, "{sum}");
        }
        let www = |a: u8, b: u8, c: u8| table[8 + (symbol(a) * SYMBOLS + symbol(b)) * SYMBOLS + symbol(c)];
        assert!(www(b'w', b'w', b'w') < www(b'w', b'w', b'q'));
    }
}
