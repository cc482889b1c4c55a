//! Which kernels there are, and their packages: downloaded and unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::cache::{self, Cache};
use crate::process;

/// One line of the matrix.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) release: &'static str,
    /// Debian suite that has it, asked where the machine's own sources do not.
    suite: &'static str,
    /// Why it is in the matrix.
    pub(super) covers: &'static str,
    /// Owner sources that must work there (`live.owner_source`).
    pub(super) sources: &'static [&'static str],
    /// What each source costs a send is measured there.
    pub(super) costs: bool,
}

const SOURCES: &[&str] = &["auto", "current_task", "fentry", "kprobe", "sock_addr"];

const fn kernel(release: &'static str, suite: &'static str, covers: &'static str) -> Kernel {
    Kernel { release, suite, covers, sources: SOURCES, costs: false }
}

pub(super) const KERNELS: [Kernel; 4] = [
    kernel("5.10", "bullseye", "oldest; no frags, no tcx"),
    kernel("6.1", "bookworm", "frags; no tcx"),
    Kernel { costs: true, ..kernel("6.12", "trixie", "tcx") },
    kernel("7.3", "experimental", "newest"),
];

/// What is needed to boot one.
#[derive(Debug)]
pub(super) struct Image {
    /// Full version, as `uname -r` says.
    pub(super) version: String,
    pub(super) kernel: PathBuf,
    /// lib/modules/<version>.
    pub(super) modules: PathBuf,
}

pub(super) fn find(release: &str) -> Result<&'static Kernel> {
    let known = KERNELS.map(|kernel| kernel.release).join(", ");
    let kernel = KERNELS.iter().find(|kernel| kernel.release == release);
    kernel.with_context(|| format!("no kernel {release} in the matrix; there are {known}"))
}

/// Fetches it unless the cache has it.
pub(super) fn fetch(cache: &Cache, kernel: &Kernel) -> Result<Image> {
    let folder = cache.path(&format!("vm/kernels/{}", kernel.release));
    if !folder.is_dir() {
        let _lock = cache.lock()?;
        let apt = Apt::open(cache)?
            .context("kernels for the VMs come as Debian packages: apt and dpkg are needed")?;
        apt.update()?;
        match packages(&apt, kernel.release)? {
            packages if !packages.is_empty() => unpack(&apt, &packages, &folder)?,
            _ => {
                let lists = format!("vm/apt-{}", kernel.suite);
                let apt = apt.of_suites(cache, &lists, &[kernel.suite])?.context("no apt")?;
                apt.update()?;
                let packages = packages(&apt, kernel.release)?;
                if packages.is_empty() {
                    bail!(
                        "neither this machine's package sources nor {} have a kernel {}",
                        kernel.suite,
                        kernel.release
                    );
                }
                unpack(&apt, &packages, &folder)?;
            }
        }
    }
    Image::open(&folder).with_context(|| format!("{}: remove the folder to fetch it again", folder.display()))
}

impl Image {
    fn open(folder: &Path) -> Result<Self> {
        let base = [folder.join("lib/modules"), folder.join("usr/lib/modules")];
        let base = base.iter().find(|base| base.is_dir()).context("no modules")?;
        let modules = fs::read_dir(base)?.next().context("no modules")??.path();
        let version = modules.file_name().context("no version")?.to_string_lossy().into_owned();
        let candidates = [
            folder.join("boot").join(format!("vmlinuz-{version}")),
            modules.join("vmlinuz.unsigned"),
            modules.join("vmlinuz"),
        ];
        let kernel = candidates.into_iter().find(|path| path.is_file()).context("no kernel image")?;
        Ok(Self { version, kernel, modules })
    }
}

fn unpack(apt: &Apt, packages: &[String], folder: &Path) -> Result<()> {
    let partial = cache::partial(folder)?;
    for package in packages {
        eprintln!("setup: kernel for a VM: {package}");
        apt.unpack_alone(package, &partial)?;
    }
    cache::commit(folder)
}

/// The newest cloud kernel of a release. From 7.x image and modules are apart.
fn packages(apt: &Apt, release: &str) -> Result<Vec<String>> {
    let newest = |prefix: &str| -> Result<Option<String>> {
        let start = format!("{prefix}{release}");
        let mut names = apt.names(&start)?;
        let cloud = "-cloud-amd64";
        names.retain(|name| {
            let rest = &name[start.len()..];
            rest.starts_with(['.', '+', '-'])
                && (rest.ends_with(cloud) || rest.ends_with(&format!("{cloud}-unsigned")))
                && !rest.contains("-rt")
                && apt.knows(name)
        });
        // An unsigned image is the same one without the wrapper for secure boot.
        Ok(names.into_iter().max_by_key(|name| (numbers(name), name.ends_with("-unsigned"))))
    };
    if let Some(image) = newest("linux-image-")?
        && image.ends_with("-unsigned")
    {
        return Ok(vec![image]);
    }
    let split = [newest("linux-binary-unsigned-")?, newest("linux-modules-")?];
    Ok(split.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default())
}

/// Numbers in a name, for comparing versions.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Modules in the order to load them, each behind those it needs, unpacked.
pub(super) fn modules(cache: &Cache, image: &Image, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    walk(&image.modules, &mut files)?;
    let mut loaded: Vec<(String, Vec<u8>)> = Vec::new();
    let mut wanted: Vec<String> = names.iter().rev().map(|&name| name.to_owned()).collect();
    while let Some(name) = wanted.pop() {
        if loaded.iter().any(|(known, _)| *known == name) {
            continue;
        }
        // What is not there is built in.
        let Some(file) = files.iter().find(|file| module_name(file) == name) else { continue };
        let bytes = if file.extension().is_some_and(|extension| extension == "xz") {
            let output =
                Command::new(cache.path("vm/bin/busybox")).arg("unxz").arg("-c").arg(file).output()?;
            output.stdout
        } else {
            fs::read(file)?
        };
        let needs: Vec<_> =
            needs(&bytes).into_iter().filter(|need| !loaded.iter().any(|(known, _)| known == need)).collect();
        let missing = needs.iter().any(|need| files.iter().any(|file| module_name(file) == *need));
        if missing {
            wanted.push(name);
            wanted.extend(needs);
            continue;
        }
        loaded.push((name, bytes));
    }
    Ok(loaded)
}

/// `depends=a,b` in the module's .modinfo.
fn needs(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let value = module[at + key.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(value);
    text.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

fn module_name(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split(".ko").next().unwrap_or_default().replace('-', "_")
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else if entry.file_name().to_string_lossy().contains(".ko") {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Libraries that a program is linked to, with the loader, as (path in the guest, path here).
pub(super) fn libraries(program: &Path, root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let folders = ["usr/lib", "lib"].map(|base| root.join(base).join("x86_64-linux-gnu"));
    let path = std::env::join_paths(&folders)?;
    let text = process::output(Command::new("ldd").arg(program).env("LD_LIBRARY_PATH", path))?;
    Ok(text.lines().filter_map(library).collect())
}

/// `libz.so.1 => /lib/…/libz.so.1 (0x…)` or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn library(line: &str) -> Option<(String, PathBuf)> {
    let line = line.trim().rsplit_once(" (")?.0;
    match line.split_once(" => ") {
        Some((name, path)) => Some((format!("lib/x86_64-linux-gnu/{name}"), path.into())),
        None => line.strip_prefix('/').map(|inside| (inside.to_owned(), line.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let names = [
            "linux-image-6.12.94+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.107+deb12-cloud-amd64-unsigned",
        ];
        assert!(numbers(names[0]) < numbers(names[1]));
    }

    #[test]
    fn dependencies_of_a_module_are_read() {
        assert_eq!(needs(b"x\0depends=llc,stp-x\0name=bridge\0"), ["llc", "stp_x"]);
        assert!(needs(b"x\0depends=\0").is_empty());
    }

    #[test]
    fn ldd_lines_are_read() {
        let loader = library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)").unwrap();
        assert_eq!(
            loader,
            ("lib64/ld-linux-x86-64.so.2".to_owned(), PathBuf::from("/lib64/ld-linux-x86-64.so.2"))
        );
        let z = library("\tlibz.so.1 => /c/root/lib/libz.so.1 (0x00007f)").unwrap();
        assert_eq!(z, ("lib/x86_64-linux-gnu/libz.so.1".to_owned(), PathBuf::from("/c/root/lib/libz.so.1")));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f)"), None);
    }
}
