//! Where the cgroup2 hierarchy is: found in mountinfo, never assumed.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Every cgroup2 directory has this file, and only those.
const MARK: &str = "cgroup.controllers";

/// The root of the whole hierarchy, or why it cannot be used.
pub fn root() -> Result<PathBuf, String> {
    choose(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), is_cgroup2)
}

/// Whether this is a directory of a cgroup2 hierarchy.
pub fn is_cgroup2(path: &Path) -> bool {
    path.join(MARK).exists()
}

/// The mount point of the cgroup2 hierarchy whose root this process sees. A mount with another root shows only a part
/// (a container's), and attaching there would miss everything outside. A mount over a parent directory hides the
/// hierarchy although mountinfo lists it (`ip netns exec` does that to /sys).
fn choose(mountinfo: &str, visible: impl Fn(&Path) -> bool) -> Result<PathBuf, String> {
    let mut why = "there is no cgroup2 mount (mount -t cgroup2 none DIR)".to_owned();
    // id parent major:minor root mount-point options [fields…] - type source options
    for line in mountinfo.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let mut fields = front.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        if back.split(' ').next() != Some("cgroup2") {
            continue;
        }
        let point = unescape_octal(point);
        if root != "/" {
            why = format!("cgroup2 at {} shows a part of the hierarchy only", point.display());
        } else if visible(&point) {
            return Ok(point);
        } else {
            why = format!("the cgroup2 mount at {} is hidden by another mount", point.display());
        }
    }
    Err(format!("{why}; --cgroup PATH names a directory"))
}

/// mountinfo writes space, tab, newline and backslash as `\ooo`.
fn unescape_octal(text: &str) -> PathBuf {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits =
            bytes.get(at + 1..at + 4).filter(|d| byte == b'\\' && d.iter().all(|d| (b'0'..b'8').contains(d)));
        let value = digits.map(|d| d.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0')));
        out.push(value.map_or(byte, |value| value as u8));
        at += if value.is_some() { 4 } else { 1 };
    }
    OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_hierarchy_counts() {
        let all = |_: &Path| true;
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(choose(hybrid, all), Ok("/sys/fs/cgroup/uni fied".into()));
        let inner = "41 31 0:38 /.. /sys/fs/cgroup rw - cgroup2 none rw\n\
             50 31 0:38 / /cg rw - cgroup2 none rw\n";
        assert_eq!(choose(inner, all), Ok("/cg".into()));
        let part = "41 31 0:38 /docker/x /sys/fs/cgroup rw - cgroup2 none rw\n";
        assert!(choose(part, all).unwrap_err().contains("a part of the hierarchy only; --cgroup PATH"));
        assert!(choose("", all).unwrap_err().contains("no cgroup2 mount"));
        assert!(choose("garbage - cgroup2\n1 - - -\n", all).is_err());
    }

    #[test]
    fn a_hidden_mount_gives_way_to_a_visible_one() {
        let two = "41 31 0:38 / /hidden rw - cgroup2 none rw\n50 31 0:38 / /cg rw - cgroup2 none rw\n";
        assert_eq!(choose(two, |path| path == Path::new("/cg")), Ok("/cg".into()));
        assert!(choose(two, |_| false).unwrap_err().contains("is hidden by another mount"));
    }
}
