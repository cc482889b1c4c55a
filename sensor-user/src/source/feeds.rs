//! Domain lists as files: one domain per line, `#`, `;` and `//` begin a comment; `*.` or a dot in front says nothing more,
//! since everything below a listed domain matches anyway.
//!
//! A line that is no domain is counted and the first are named; the rest of the file counts. A file that changes is read
//! anew; one that cannot be read any more leaves what it said before.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::list::is_domain;
use crate::detect::reputation::Feed;
use crate::dns::Canonical;
use crate::escape::escape;

/// Files to keep an eye on.
#[derive(Debug)]
pub struct Feeds {
    files: Vec<Listed>,
    max_domains: usize,
}

#[derive(Debug)]
struct Listed {
    path: PathBuf,
    /// When it was last read: its time and length.
    stamp: Option<(SystemTime, u64)>,
}

/// What was read, and what there is to say of it.
#[derive(Debug)]
pub struct Loaded {
    pub feed: Feed,
    /// A line for each file with something wrong.
    pub warnings: Vec<String>,
}

/// Longest line; a domain name has 253 characters.
const LINE_MAX: u64 = 4096;
/// Wrong lines named for each file.
const NAMED: usize = 3;

impl Feeds {
    pub fn new(paths: &[String], max_domains: usize) -> Self {
        let files = paths.iter().map(|path| Listed { path: path.into(), stamp: None }).collect();
        Self { files, max_domains }
    }

    /// Reads all of them if one has changed since; `None` if none has.
    pub fn changed(&mut self) -> Option<Loaded> {
        let mut is_news = false;
        for file in &mut self.files {
            // A file that is gone is no news: what it said goes on until it is back.
            let stamp = file.path.metadata().ok().and_then(|data| Some((data.modified().ok()?, data.len())));
            if stamp.is_some() && stamp != file.stamp {
                (file.stamp, is_news) = (stamp, true);
            }
        }
        is_news.then(|| self.read())
    }

    /// Reads all of them; an error names the first that cannot be.
    pub fn load(&mut self) -> Result<Loaded, String> {
        for file in &self.files {
            if let Err(error) = File::open(&file.path) {
                return Err(format!("reputation.domain_reputation_feed: {}: {error}", shown(&file.path)));
            }
        }
        Ok(self.changed().unwrap_or_else(|| self.read()))
    }

    fn read(&self) -> Loaded {
        let mut loaded = Loaded { feed: Feed::default(), warnings: Vec::new() };
        for file in &self.files {
            let name = shown(&file.path);
            let feed = &mut loaded.feed;
            feed.begin(name.clone());
            let mut take = |domain: &Canonical| feed.push(domain, self.max_domains);
            match File::open(&file.path).and_then(|file| domains(BufReader::new(file), &mut take)) {
                Ok(wrong) => loaded.warnings.extend(wrong.warning(&name)),
                Err(error) => loaded.warnings.push(format!("feed {name}: {error}")),
            }
        }
        loaded.feed.sort();
        if loaded.feed.left_out > 0 {
            let count = loaded.feed.left_out;
            loaded.warnings.push(format!("feeds: {count} domains beyond reputation.max_domains left out"));
        }
        loaded
    }
}

/// Lines that are no domain.
#[derive(Debug, Default)]
struct Wrong {
    count: u64,
    /// Numbers of the first.
    first: Vec<u64>,
}

impl Wrong {
    fn note(&mut self, number: u64) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(number);
        }
    }

    fn warning(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self.first.iter().map(ToString::to_string).collect();
        let wrong = self.count;
        let more = if wrong > self.first.len() as u64 { ", …" } else { "" };
        (wrong > 0).then(|| format!("feed {name}: {wrong} lines are no domain: {}{more}", lines.join(", ")))
    }
}

fn domains(mut text: impl BufRead, take: &mut dyn FnMut(&Canonical)) -> io::Result<Wrong> {
    let mut wrong = Wrong::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if text.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let is_long = line.len() as u64 == LINE_MAX && !line.ends_with(b"\n");
        if is_long {
            text.skip_until(b'\n')?;
        }
        let Some(entry) = std::str::from_utf8(&line).ok().map(entry).filter(|_| !is_long) else {
            wrong.note(number);
            continue;
        };
        if entry.is_empty() {
            continue;
        }
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        // One label alone would match a whole top-level domain.
        if is_domain(domain) && domain.trim_end_matches('.').contains('.') {
            take(&Canonical::from_text(domain));
        } else {
            wrong.note(number);
        }
    }
    Ok(wrong)
}

/// A line without its comment.
fn entry(line: &str) -> &str {
    let end = ["#", ";", "//"].iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
    line[..end].trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_domains_comments_or_named() {
        let text = "\u{feff}# list\nevil.example\n*.bad.test ; why\n.worse.test.\r\n\ncom\na b.example\nb\u{fc}cher.example\n";
        let mut names = Vec::new();
        let wrong = domains(text.as_bytes(), &mut |domain| names.push(domain.to_string())).unwrap();
        assert_eq!(names, ["evil.example", "bad.test", "worse.test"]);
        assert_eq!(wrong.warning("x").unwrap(), "feed x: 3 lines are no domain: 6, 7, 8");
    }

    #[test]
    fn a_line_without_end_and_bytes_that_are_no_text_do_not_stop_it() {
        let mut text = vec![b'a'; 100_000];
        text.extend_from_slice(b"\n\xff\xfe.example\nlast.example");
        let mut count = 0;
        let wrong = domains(&text[..], &mut |_| count += 1).unwrap();
        assert_eq!((count, wrong.count), (1, 2));
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_one_that_goes_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let mut feeds = Feeds::new(&[path.to_str().unwrap().to_owned()], 10);
        assert!(feeds.load().unwrap_err().contains("list"), "a feed that is not there");
        std::fs::write(&path, "evil.example\n").unwrap();
        assert_eq!(feeds.load().unwrap().feed.len(), 1);
        assert!(feeds.changed().is_none());
        std::fs::write(&path, "evil.example\nbad.example\nno domain\n").unwrap();
        let loaded = feeds.changed().unwrap();
        assert_eq!((loaded.feed.len(), loaded.warnings.len()), (2, 1));
        std::fs::remove_file(&path).unwrap();
        assert!(feeds.changed().is_none());
    }
}
